"""Ends the runs of this machine whose process is gone, so that none holds a place in the queue and `notify_failures` tells."""

import dagster as dg

from sft_pipeline.lineage.processes.run_process import end_dead_runs

NAME = "end_dead_runs"


def build() -> dg.SensorDefinition:
    """The sensor, running: it starts nothing."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends the runs of this machine whose process is gone. Starts nothing.",
    )
    def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_dead_runs(context.instance)
        for line in ended:
            context.log.warning(line)
        return dg.SkipReason("\n".join(ended) or "every run under way has its process")

    return dead_runs

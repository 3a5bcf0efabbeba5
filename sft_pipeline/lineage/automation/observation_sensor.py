"""Records what the specifications say, so that Dagster shows which assets an edit makes stale. Starts nothing."""

import json
from pathlib import Path

import dagster as dg

from sft_pipeline.lineage.automation.sensor_tick import Tick
from sft_pipeline.lineage.resources import Project
from sft_pipeline.lineage.specifications import observe
from sft_pipeline.provenance.hashing import hash_value

NAME = "observe_specifications"


def build() -> dg.SensorDefinition:
    """The sensor, running: it starts nothing."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Records what each specification says when it has changed; the assets that it decides show as stale. "
        "Starts nothing.",
    )
    def specifications(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
        tick, root = Tick(context, NAME), Path(project.root)
        seen, now = tick.remembered(str) or {}, {}
        for name, experiment in tick.experiments(root).items():
            now[name] = hash_value(experiment.model_dump(mode="json"))
            if seen.get(name) != now[name] and (changed := observe(context.instance, name, experiment, root)):
                tick.log(f"{name}: {', '.join(changed)} changed")
        return tick.result(json.dumps(now))

    return specifications

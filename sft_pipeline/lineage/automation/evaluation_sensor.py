"""Re-evaluates an adapter when its stored gate no longer rests on the scorers, items, decoding and engine of now."""

from pathlib import Path

import dagster as dg

from sft_pipeline.errors import PipelineError
from sft_pipeline.lineage.automation.gate_changes import ADAPTER, GATE, changes, problems
from sft_pipeline.lineage.automation.sensor_tick import Tick
from sft_pipeline.lineage.resources import Project

NAME = "re_evaluate_on_change"


def build() -> dg.SensorDefinition:
    """The sensor over the job `re_evaluate`, stopped."""

    # Without the recompute tag: only what has changed is recomputed, and a run that finds no change costs nothing.
    @dg.sensor(
        name=NAME,
        job_name="re_evaluate",
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Re-evaluates an adapter when a scorer, the test split, the prompt, the decoding, the criteria, the "
        "returned files of a review or the engine's version is another than the one its stored gate rests on.",
    )
    def on_change(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
        tick, store = Tick(context, NAME), project.artifacts()
        for name, experiment in tick.experiments(Path(project.root)).items():
            try:
                if store.pointer(ADAPTER, name) is None:
                    continue
                if store.pointer(GATE, name) is None:
                    tick.log(f"{name}: its adapter has no gate yet; materialize it once by hand")
                    continue
                content, changed = changes(store, name, experiment, Path(project.root))
                if not changed or tick.busy(name):
                    continue
                why = "; ".join(changed)
                if against := problems(store, name):
                    tick.log(f"{name}: {why}; not evaluated: {'; '.join(against)}")
                    continue
            except (PipelineError, OSError, dg.Failure) as error:
                tick.log(f"{name}: {error}")
                continue
            tick.request_run(name, content, why)
        return tick.result()

    return on_change

"""Runs the lineage of a specification that is new or has changed, and records what each says for Dagster's staleness.

The content of a specification is what it says: comments, layout and the order of its keys do not count.
"""

import json
from pathlib import Path

import dagster as dg

from sft_pipeline.lineage.automation.sensor_tick import Tick
from sft_pipeline.lineage.io_managers import serve_pages
from sft_pipeline.lineage.resources import Project
from sft_pipeline.lineage.specifications import observe
from sft_pipeline.provenance.hashing import hash_value

NAME, OBSERVER = "run_new_specifications", "observe_specifications"


def build(loaded: list[str]) -> dg.SensorDefinition:
    """The sensor over the job `full_lineage`, stopped.

    Args:
        loaded: the experiments that the code location knows as partitions.
    """

    @dg.sensor(
        name=NAME,
        job_name="full_lineage",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Runs the whole lineage of a specification that appears under specs/ or changes. What is there at its "
        "first tick is noted and not run; what changes while it is switched off is run once it is on again, unless its cursor "
        "is deleted first.",
    )
    def new_specifications(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
        tick, root = Tick(context, NAME), Path(project.root)
        found = {n: hash_value(e.model_dump(mode="json")) for n, e in tick.experiments(root).items()}
        seen = tick.remembered(str)
        if seen is None:
            tick.log(f"{len(found)} specifications noted; from now on, a new one or a change starts a run")
            return tick.result(json.dumps(found))
        for name, content in found.items():
            if seen.get(name) == content or tick.busy(name):
                continue
            new = "" if name in loaded else "; reload the code location to see it as a partition in the UI"
            tick.request_run(name, content, f"its specification {'has changed' if name in seen else 'is new'}{new}")
            seen[name] = content
        for name in sorted(seen):
            if not (root / "specs" / f"{name}.yaml").is_file() and (left := len(project.artifacts().assets(name))):
                tick.log(f"{name}: its specification was deleted; {left} of its artifacts remain in the store")
        return tick.result(json.dumps(seen))

    return new_specifications


def build_observer() -> dg.SensorDefinition:
    """The sensor, on from the start: it starts no run."""

    @dg.sensor(
        name=OBSERVER,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Records what each specification says when it has changed; the assets that it decides show as stale. "
        "Starts no run. Serves the stored pages on this machine where nobody else does.",
    )
    def specifications(context: dg.SensorEvaluationContext, project: Project) -> dg.SensorResult:
        tick, root = Tick(context, OBSERVER), Path(project.root)
        seen, now = tick.remembered(str) or {}, {}
        if problem := serve_pages(project.artifacts()):
            tick.log(problem)
        for name, experiment in tick.experiments(root).items():
            now[name] = hash_value(experiment.model_dump(mode="json"))
            if seen.get(name) != now[name] and (changed := observe(context.instance, name, experiment, root)):
                tick.log(f"{name}: {', '.join(changed)} changed")
        return tick.result(json.dumps(now))

    return specifications

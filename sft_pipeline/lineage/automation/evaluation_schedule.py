"""Re-evaluates the adapters that are there, week by week: does the verdict still hold on this machine?"""

from pathlib import Path

import dagster as dg

from sft_pipeline.errors import PipelineError
from sft_pipeline.lineage.automation.gate_changes import ADAPTER, problems
from sft_pipeline.lineage.resources import Project
from sft_pipeline.lineage.tags import PARTITION, RECOMPUTE
from sft_pipeline.specification import specifications

NAME = "re_evaluate_weekly"

CRON = "0 3 * * 1"
"""Mondays at three, UTC."""


def build() -> dg.ScheduleDefinition:
    """The schedule over the job `re_evaluate`, stopped."""

    # Nothing that the answers depend on has changed, so a run without the tag would only find its stored results.
    @dg.schedule(
        name=NAME,
        job_name="re_evaluate",
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Mondays: answers and gate of every stored adapter are recomputed. Costs the device time of all of "
        "them.",
    )
    def weekly(context: dg.ScheduleEvaluationContext, project: Project) -> list[dg.RunRequest] | dg.SkipReason:
        store = project.artifacts()
        asked: list[dg.RunRequest] = []
        notes: list[str] = []
        for name in specifications(Path(project.root))[0]:
            try:
                pointer = store.pointer(ADAPTER, name)
                if pointer is None:
                    continue
                if against := problems(store, name):
                    notes += [f"{name}: not evaluated: {reason}" for reason in against]
                    continue
            except (PipelineError, OSError) as error:
                notes.append(f"{name}: not evaluated: {error}")
                continue
            when = context.scheduled_execution_time.isoformat()
            asked.append(
                dg.RunRequest(run_key=f"{name}:{pointer.digest}:{when}", tags={PARTITION: name, RECOMPUTE: "true"})
            )
        for note in notes:
            context.log.warning(note)
        return asked or dg.SkipReason("\n".join(notes) or "there is no stored adapter")

    return weekly

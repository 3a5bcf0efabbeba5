"""What every tick of a sensor does: request runs, none of them twice, and log what it did not request and why.

The memory is the run storage, not the cursor: the newest run that a sensor requested names by its tag the content that it
was requested for. So a lost cursor, a daemon that restarts and a tick that is evaluated twice request nothing new, while
content that changes back and forth is requested every time.
"""

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import dagster as dg
from pydantic import TypeAdapter, ValidationError

from sft_pipeline.errors import SpecificationError
from sft_pipeline.lineage.tags import PARTITION
from sft_pipeline.specification import load, specifications

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment

V = TypeVar("V")

CONTENT = "sft_pipeline/content"
"""Run tag: hash of the content because of which a sensor requested the run."""

SENSOR = "dagster/sensor_name"
"""Run tag that the daemon sets."""

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class Tick:
    """One evaluation of a sensor.

    Args:
        context: the sensor's context.
        sensor: its name, by which the runs that it requested are found again.
    """

    def __init__(self, context: dg.SensorEvaluationContext, sensor: str):
        self._context = context
        self._sensor = sensor
        self._requests: list[dg.RunRequest] = []
        self._notes: list[str] = []

    def log(self, note: str) -> None:
        """Log what the operator should know: in the tick's log, and as its skip reason if it requests no run."""
        self._notes.append(note)

    def remembered(self, values: type[V]) -> dict[str, V] | None:
        """What the cursor holds by experiment; None where there is none, or where it cannot be read, which is logged."""
        if self._context.cursor is None:
            return None
        try:
            return TypeAdapter(dict[str, values]).validate_json(self._context.cursor)  # type: ignore[valid-type]
        except ValidationError:
            self.log("the cursor could not be read and is reset")
            return None

    def experiments(self, root: Path) -> "dict[str, Experiment]":
        """The experiments under `root`/specs that can be run; those that cannot be read are logged and left out."""
        found = {}
        names, problems = specifications(root)
        for problem in problems:
            self.log(problem)
        for name in names:
            try:
                experiment = load(root / "specs" / f"{name}.yaml")
            except SpecificationError as error:
                self.log(str(error))
                continue
            if not experiment.plan_only:
                found[name] = experiment
        return found

    def busy(self, experiment: str) -> bool:
        """Whether a run of the experiment is under way, which is logged: its result is not known yet."""
        under_way = dg.RunsFilter(tags={PARTITION: experiment}, statuses=UNDER_WAY)
        for run in self._context.instance.get_runs(under_way, limit=1):
            self.log(f"{experiment}: run {run.run_id[:8]} is under way; checked again when it has ended")
            return True
        return False

    def request_run(self, experiment: str, content: str, why: str) -> None:
        """Request a run of the sensor's job, unless the newest one that it requested was for the same content."""
        mine = dg.RunsFilter(tags={PARTITION: experiment, SENSOR: self._sensor})
        last = next(iter(self._context.instance.get_runs(mine, limit=1)), None)
        if last and last.tags.get(CONTENT) == content:
            self.log(
                f"{experiment}: {why}; run {last.run_id[:8]} was started for exactly this and is {last.status.value}. "
                "Materialize it by hand to try again"
            )
            return
        self._context.log.info(f"{experiment}: {why}")
        self._requests.append(
            dg.RunRequest(
                run_key=f"{experiment}:{content}:{last.run_id if last else 'first'}",
                tags={PARTITION: experiment, CONTENT: content},
            )
        )

    def result(self, cursor: str | None = None) -> dg.SensorResult:
        """What the sensor returns."""
        if not self._requests:
            return dg.SensorResult(skip_reason="\n".join(self._notes) or "nothing has changed", cursor=cursor)
        for note in self._notes:
            self._context.log.warning(note)
        return dg.SensorResult(run_requests=self._requests, cursor=cursor)

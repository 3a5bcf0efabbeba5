"""Ticks of the schedule and the sensors over a project of its own, with the runs that they ask for recorded as a daemon does."""

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from sft_pipeline.definitions import build_defs
from sft_pipeline.lineage.resources import Project


class Ticks:
    """Evaluates ticks of one sensor after the other, with the cursor that the last one left."""

    def __init__(self, project, instance, sensor):
        self.project, self.instance, self.sensor = project, instance, sensor
        self.cursor = None

    def evaluate(self) -> dg.SensorResult:
        """One tick, by the definitions of now; its cursor is kept, its requests are not followed."""
        defs = build_defs(root=self.project, store=self.project / "store")
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            definitions=defs,
            resources={"project": Project(root=str(self.project), store=str(self.project / "store"))},
        )
        result = defs.get_repository_def().get_sensor_def(self.sensor)(context)
        self.cursor = result.cursor
        return result

    def __call__(self, ends="SUCCESS") -> tuple[list[str], str]:
        """One tick and what the daemon makes of it: experiments for which a run was started, and why none was.

        Runs with a known run_key are not started again; the others end at once with the status `ends`.
        """
        result = self.evaluate()
        started = []
        for request in result.run_requests or []:
            assert not self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key})), request.run_key
            own = {"dagster/run_key": request.run_key, "dagster/sensor_name": self.sensor}
            create_run_for_test(self.instance, tags={**request.tags, **own}, status=dg.DagsterRunStatus[ends])
            started.append(request.tags["dagster/partition"])
        return started, result.skip_reason.skip_message if result.skip_reason else ""


@pytest.fixture
def ticks(toy_project, instance):
    """Ticks of the named sensor over the toy project."""
    return lambda sensor: Ticks(toy_project, instance, sensor)

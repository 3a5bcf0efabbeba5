"""Which runs `end_dead_runs` ends, and which it leaves alone; with a process that is really killed: test_executor.py."""

import socket
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from sft_pipeline.definitions import build_defs
from sft_pipeline.lineage.automation.dead_runs_sensor import NAME
from sft_pipeline.lineage.processes.run_process import hold

STARTED = dg.DagsterRunStatus.STARTED
RECORD = f"4711 {socket.gethostname()}"


@pytest.fixture
def recorded(instance):
    """A run with the given status, as a process that is gone has left it: a record that nobody holds."""

    def make(status=STARTED, record=RECORD):
        run = create_run_for_test(instance, status=status, tags={"dagster/partition": "toy"}).run_id
        file = Path(instance.storage_directory()) / run / "process"
        file.parent.mkdir(parents=True)
        file.write_text(record)
        return run

    return make


@pytest.fixture
def tick(toy_project, instance):
    """One tick of the sensor; gives what it said."""
    sensor = build_defs(root=toy_project, store=toy_project / "store").get_repository_def().get_sensor_def(NAME)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    return lambda: sensor(dg.build_sensor_context(instance=instance)).skip_message


def status(instance, run):
    return instance.get_run_by_id(run).status.value


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [("STARTED", "FAILURE"), ("CANCELING", "CANCELED")])
def test_a_run_without_its_process_ends_once_and_says_what_to_do(recorded, tick, instance, before, after):
    run = recorded(status=dg.DagsterRunStatus[before])
    told = tick()
    assert told.startswith(f"run {run[:8]}: process 4711 on this machine") and "Materialize again" in told
    assert status(instance, run) == after
    (event,) = instance.all_logs(run, of_type=dg.DagsterEventType[f"RUN_{after}"])
    assert "process 4711" in event.message  # what notify_failures posts
    assert tick() == "every run under way has its process"


def test_a_run_of_another_host_or_without_a_whole_record_is_not_judged(recorded, tick, instance):
    runs = [recorded(record=record) for record in ("4711 another-host", "4711", "")]
    runs.append(create_run_for_test(instance, status=STARTED).run_id)
    tick()
    assert {status(instance, run) for run in runs} == {"STARTED"}


def test_a_run_that_is_not_executed_yet_or_no_longer_is_not_judged(recorded, tick, instance):
    runs = {name: recorded(status=dg.DagsterRunStatus[name]) for name in ("NOT_STARTED", "STARTING", "SUCCESS")}
    tick()
    assert {name: status(instance, run) for name, run in runs.items()} == {name: name for name in runs}


@pytest.mark.slow
def test_a_run_that_ends_between_the_look_and_the_judgement_stays_as_it_ended(recorded, tick, instance, monkeypatch):
    run = recorded()
    listed = instance.get_runs

    def ended_since(*given):
        runs = listed(*given)
        instance.report_run_canceled(instance.get_run_by_id(run), "ended")
        return runs

    monkeypatch.setattr(instance, "get_runs", ended_since)
    tick()
    assert status(instance, run) == "CANCELED"


@pytest.mark.slow
def test_where_nothing_can_be_written_the_run_goes_on(instance, tick, monkeypatch, tmp_path):
    run = create_run_for_test(instance, status=STARTED).run_id
    (tmp_path / "a file").touch()
    monkeypatch.setattr(instance, "storage_directory", lambda: str(tmp_path / "a file"))
    hold(instance, run)
    tick()
    assert status(instance, run) == "STARTED"

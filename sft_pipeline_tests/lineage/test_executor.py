"""The real executor over pretended devices: two runs at once, one device, a step that is killed, and a run that is."""

import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest

from sft_pipeline.errors import SpecificationError
from sft_pipeline.lineage.executor import _configuration, _makes_with_a_model
from sft_pipeline.lineage.processes.devices import DECLARED, LEASES, VISIBLE, lease
from sft_pipeline.lineage.processes.run_process import end_dead_runs
from sft_pipeline_tests.lineage import pretended

RUN = """
import dagster as dg
from sft_pipeline_tests.lineage import pretended
with dg.DagsterInstance.get() as instance:
    done = dg.execute_job(dg.reconstructable(pretended.pretended), instance=instance)
    raise SystemExit(0 if done.success else 1)
"""


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Starts a run of the pretended job in a process of its own."""
    (tmp_path / "home").mkdir()
    for name, value in {
        "DAGSTER_HOME": str(tmp_path / "home"),
        "PRETENDED_LOG": str(tmp_path / "log"),
        "PRETENDED_SECONDS": "0.5",
        LEASES: str(tmp_path / "leases"),
        VISIBLE: "7",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(DECLARED, raising=False)
    with dg.DagsterInstance.get():
        pass  # two runs at once must not both make the tables
    running = []

    def start():
        process = subprocess.Popen([sys.executable, "-c", RUN], stderr=subprocess.DEVNULL)
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_one_device_is_held_by_one_step_at_a_time_in_two_runs_and_seen_by_no_other(start, tmp_path):
    runs = [start(), start()]
    assert [run.wait(600) for run in runs] == [0, 0]
    said = pretended.read(tmp_path / "log")
    assert {line["sees"] for line in said if line["event"] == "start"} == {""}
    assert {line["sees"] for line in said if line["event"] == "leased"} == {"7"}
    held = sorted((line["at"], line["event"]) for line in said if line["event"] != "start")
    assert [event for _, event in held] == ["leased", "done"] * 6
    assert len({line["pid"] for line in said}) == 8  # every step had a process of its own


def test_a_negative_number_of_steps_is_refused():
    with pytest.raises(SpecificationError, match="cuda_steps must not be negative"):
        _configuration({"cuda_steps": -1, "max_concurrent": 0})


@pytest.mark.slow
def test_two_devices_work_at_once_and_a_killed_step_and_the_steps_of_a_killed_run_give_theirs_back(
    start, tmp_path, monkeypatch
):
    monkeypatch.setenv(VISIBLE, "3,7")
    monkeypatch.setenv("PRETENDED_SECONDS", "600")
    process, log, until = start(), tmp_path / "log", time.monotonic() + 240

    def leased():
        return [line for line in pretended.read(log) if line["event"] == "leased"] if log.exists() else []

    while len(leased()) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert {line["sees"] for line in leased()} == {"3", "7"}
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert end_dead_runs(instance) == []
        os.kill(leased()[0]["pid"], signal.SIGKILL)
        process.kill()  # at once, or its next step takes the device
        process.wait()
        assert instance.get_run_by_id(run.run_id).status.value == "STARTED"
        (line,) = end_dead_runs(instance)
        assert f"run {run.run_id[:8]}: process {process.pid} on this machine" in line
        assert instance.get_run_by_id(run.run_id).status.value == "FAILURE"
        assert end_dead_runs(instance) == []
    with lease(2, print) as taken:  # the other step was told to end
        assert set(taken) == {"3", "7"}
    assert {line["event"] for line in pretended.read(log)} == {"start", "leased"} and len(leased()) == 2


@pytest.mark.slow
def test_libraries_are_imported_before_for_a_run_that_makes_something_with_a_model_and_for_no_other(
    toy_project, materialize
):
    run = dg.DagsterRun("full_lineage", tags={"dagster/partition": "toy"})
    guard = run._replace(asset_selection=frozenset(map(dg.AssetKey, ("base_model", "base_model_guard"))))
    assert _makes_with_a_model(run) and _makes_with_a_model(guard)  # nothing is stored yet
    assert not _makes_with_a_model(run._replace(asset_selection=frozenset([dg.AssetKey("raw_dataset")])))
    assert materialize(toy_project, "base_model,base_model_guard").result.success
    assert not _makes_with_a_model(guard) and _makes_with_a_model(run)
    assert _makes_with_a_model(guard._replace(tags=guard.tags | {"sft_pipeline/recompute": "true"}))
    spec = toy_project / "specs" / "toy.yaml"
    spec.write_text(spec.read_text().replace("layers: 1", "layers: 2"))
    assert _makes_with_a_model(guard)

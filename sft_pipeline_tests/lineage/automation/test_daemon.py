"""SIGKILL of the real daemon while a sensor asks for runs: afterwards every content was asked for once, nothing is held."""

import fcntl
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import WorkspaceFileTarget

from sft_pipeline.lineage.automation.sensor_tick import CONTENT, UNDER_WAY
from sft_pipeline.lineage.automation.specification_sensor import NAME
from sft_pipeline.lineage.processes.devices import DECLARED, LEASES, VISIBLE
from sft_pipeline.lineage.tags import PARTITION

pytestmark = pytest.mark.slow

HOME = Path(__file__).resolve().parents[3] / "dagster_home"

# The real sensor, looking every second, over a lineage of one asset that imports no torch, and one that holds the device.
LOCATION = """
import time
import dagster as dg
from sft_pipeline.lineage.automation import specification_sensor
from sft_pipeline.lineage.processes.devices import lease
from sft_pipeline.lineage.presentation import build_assets
from sft_pipeline.lineage.io_managers import ArtifactIOManager
from sft_pipeline.lineage.resources import Project
from sft_pipeline.lineage.specifications import experiments
from sft_pipeline.provenance.store import default_store
from sft_pipeline.specification import project_root

partitions = experiments(project_root())
project = Project(root=str(project_root()), store=str(default_store()))

@dg.asset(partitions_def=partitions, io_manager_key="nothing")
def holds_the_device(context: dg.AssetExecutionContext) -> None:
    with lease(1, context.log.info):
        time.sleep(0.3)

sensor = specification_sensor.build(partitions.get_partition_keys())
sensor._min_interval = 1
defs = dg.Definitions(
    assets=[next(a for a in build_assets(partitions) if a.key == dg.AssetKey("raw_dataset")), holds_the_device],
    jobs=[dg.define_asset_job("full_lineage", selection="*")],
    sensors=[sensor],
    resources={"project": project, "io_manager": ArtifactIOManager(project=project), "nothing": dg.mem_io_manager},
    executor=dg.in_process_executor,
)
"""


@pytest.fixture
def workspace(toy_project, monkeypatch):
    """A code location over the toy project in which the sensor can be switched on, and a DAGSTER_HOME that waits less."""
    home = toy_project / "home"
    home.mkdir()
    text = (HOME / "dagster.yaml").read_text()
    # A run that was only half handed over costs the first of these; on a slow machine another needs as long to start.
    for setting, (seconds, less) in {"start_timeout_seconds": (180, 45), "poll_interval_seconds": (60, 5)}.items():
        assert f"{setting}: {seconds}" in text
        text = text.replace(f"{setting}: {seconds}", f"{setting}: {less}")
    (home / "dagster.yaml").write_text(text)
    for name, value in {
        "DAGSTER_HOME": str(home),
        DECLARED: "0",
        VISIBLE: "",
        LEASES: str(toy_project / "leases"),
    }.items():
        monkeypatch.setenv(name, value)
    (toy_project / "location.py").write_text(LOCATION)
    (toy_project / "workspace.yaml").write_text("load_from: [{python_file: location.py}]")
    return toy_project / "workspace.yaml"


@pytest.fixture
def sensor(workspace):
    """The instance, and the sensor as the daemon knows it, switched on."""
    with dg.DagsterInstance.get() as instance:
        with create_test_daemon_workspace_context(WorkspaceFileTarget([str(workspace)]), instance) as context:
            (location,) = context.create_request_context().code_locations
            sensor = location.get_repository("__repository__").get_sensor(NAME)
            instance.start_sensor(sensor)
        yield instance, sensor


@pytest.fixture
def start(workspace):
    """Starts the daemon, and ends all that is left of it and of what it started."""
    started = []

    def start():
        with open(workspace.parent / "daemon.log", "a") as log:
            command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(workspace)]
            started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        return started[-1]

    yield start
    for daemon in started:
        try:
            os.killpg(daemon.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        daemon.wait()


def wait_for(what, seconds=400):
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until
        time.sleep(0.2)  # each look reads the database
    return found


def test_a_killed_daemon_goes_on_where_it_was_and_asks_for_nothing_twice(start, sensor, toy_project):
    instance, remote = sensor
    origin, selector = remote.get_remote_origin_id(), remote.selector_id
    specs, moments = toy_project / "specs", random.Random()

    def ticks(*statuses):
        return instance.get_ticks(origin, selector, statuses=list(statuses) or None, limit=100)

    def state():
        return instance.get_instigator_state(origin, selector)

    daemon = start()
    wait_for(lambda: ticks(TickStatus.SKIPPED))  # what is there was noted
    noted = wait_for(lambda: state().instigator_data.cursor)
    last, asked = ticks()[0].tick_id, {"a", "b"}
    for name in asked:
        shutil.copy(specs / "toy.yaml", specs / f"{name}.writing")
        (specs / f"{name}.writing").rename(specs / f"{name}.yaml")
    wait_for(lambda: ticks()[0].tick_id != last)
    time.sleep(moments.uniform(0, 1.5))  # in the tick, in making the runs, or in taking them from the queue
    daemon.kill()
    daemon.wait()
    start()

    wait_for(lambda: {run.tags[PARTITION] for run in instance.get_runs()} == asked)
    wait_for(lambda: not instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY)))
    wait_for(lambda: ticks()[0].status == TickStatus.SKIPPED)  # what was interrupted has ended: all is quiet now

    def forgotten():
        """The skip reason of a tick that began with the first cursor: one that was under way writes its own over it."""
        instance.update_instigator_state(state().with_data(state().instigator_data._replace(cursor=noted)))
        last = ticks()[0].tick_id
        wait_for(lambda: ticks()[0].tick_id > last and ticks()[0].status != TickStatus.STARTED)
        return "was started for exactly this" in (ticks()[0].skip_reason or "") and ticks()[0].skip_reason

    # Dagster resumes an interrupted tick by its own record. Without that and the cursor only the runs are remembered.
    reason = wait_for(forgotten)
    runs = instance.get_runs()
    assert len({(run.tags[PARTITION], run.tags[CONTENT]) for run in runs}) == len(runs) == len(asked)
    assert reason.count("was started for exactly this") == len(asked)
    for run in runs:
        # What the dead daemon had half handed over is ended by run monitoring; nothing else may stop a run.
        errors = [log.message for log in instance.all_logs(run.run_id) if log.level >= logging.ERROR]
        assert run.is_success or any("taking longer than 45 seconds to start" in error for error in errors), errors
    assert {tick.status for tick in ticks()[1:]} <= {TickStatus.SUCCESS, TickStatus.SKIPPED}
    locks = [*toy_project.glob("leases/*.lock"), *toy_project.glob("store/work/**/*.lock")]
    assert {lock.name for lock in locks} >= {"0.lock"}
    for lock in locks:
        with open(lock) as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)

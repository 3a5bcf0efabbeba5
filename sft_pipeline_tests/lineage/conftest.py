"""Materializes the toy experiment in one process and keeps what happened."""

import os
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.storage.defs_state.base import DefsStateStorage

from sft_pipeline.definitions import build_defs
from sft_pipeline.provenance.locks import lock
from sft_pipeline_tests.conftest import TOY


class Run:
    """A materialization of an experiment, most often `toy`: its events by asset."""

    def __init__(self, project, instance, selection="*", tags=None, name="toy"):
        self.store = project / "store"
        defs = build_defs(root=project, store=self.store)
        keys = dg.AssetSelection.from_coercible(selection.split(",")).resolve(defs.resolve_asset_graph())
        self.result = defs.resolve_job_def("full_lineage").execute_in_process(
            instance=instance,
            partition_key=name,
            asset_selection=sorted(keys),
            tags=tags,
            raise_on_error=False,
        )
        self.made = {
            event.asset_key.path[-1]: event.step_materialization_data.materialization
            for event in self.result.get_asset_materialization_events()
        }
        self.reused = {name for name, m in self.made.items() if m.metadata["reused"].value}
        self.versions = {name: m.tags["dagster/data_version"] for name, m in self.made.items()}
        self.logs = instance.all_logs(self.result.run_id)
        self.checks = {e.check_name: e for e in self.result.get_asset_check_evaluations()}

    def __getstate__(self):
        """All of it for another process of the suite, but of the result what can be taken there."""
        result = SimpleNamespace(success=self.result.success, dagster_run=self.result.dagster_run)
        return vars(self) | {"result": result}

    def failure(self, step):
        """Message of the step's failure."""
        return self.result.failure_data_for_node(step).user_failure_data.description


# Dagster keeps the storage of state-backed definitions, which this project has none of, in a context variable. An instance
# that nobody closed puts back the one before it when it is collected, at any time; what loads definitions next would then ask
# an instance that is gone. Of the session, since fixtures of a whole module load definitions too.
@pytest.fixture(autouse=True, scope="session")
def no_storage_of_definitions():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DefsStateStorage, "get", lambda: None)
        yield


def instance_in_memory():
    """A Dagster instance whose events lie in memory: SQLite on a disk opens the file again for every event."""
    memory = {"module": "dagster._core.storage.event_log", "class": "InMemoryEventLogStorage"}
    return dg.instance_for_test({"event_log_storage": memory})


@pytest.fixture
def instance():
    """A Dagster instance of the test's own."""
    with instance_in_memory() as it:
        yield it


@pytest.fixture(scope="session")
def toy_lineage(shared, toy_cache):
    """The run that made the whole toy lineage, once for all tests; they read its figures and take copies of its store."""
    project = shared / "toy_lineage"
    made = project / "run.pickle"
    with (shared / "toy_lineage.lock").open("w") as held:
        lock(held)
        if made.exists():
            return pickle.loads(made.read_bytes())
        (project / "specs").mkdir(parents=True)
        (project / "specs" / "toy.yaml").write_text(TOY)
        with pytest.MonkeyPatch.context() as patch, instance_in_memory() as it:
            patch.setenv("SFT_PIPELINE_ROOT", str(project))
            patch.setenv("SFT_PIPELINE_CACHE", str(toy_cache))
            run = Run(project, it)
        made.write_bytes(pickle.dumps(run))
        return run


@pytest.fixture
def made_project(toy_project, toy_lineage):
    """The toy project with its whole lineage stored: artifacts do not depend on where they lie."""
    shutil.copytree(toy_lineage.store, toy_project / "store")
    return toy_project


@pytest.fixture
def materialize(instance):
    """Materializes the selected assets of a project's experiment `toy`; gives the run."""
    return lambda project, selection="*", tags=None: Run(project, instance, selection, tags)


@pytest.fixture
def place(tmp_path):
    """Environment of a run with its own store and Dagster home, whose sensors ask no hub for the bases of `specs/`."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(Path(__file__).resolve().parents[2] / "dagster_home" / "dagster.yaml", home)
    return os.environ | {
        "DAGSTER_HOME": str(home),
        "SFT_PIPELINE_STORE": str(tmp_path / "store"),
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture
def command():
    """The command line of `sft-pipeline` with arguments."""
    return lambda *arguments: [sys.executable, "-m", "sft_pipeline.cli", *arguments]

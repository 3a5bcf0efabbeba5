"""What `gc` and `restore` print, and their exit codes."""

import pytest
from typer.testing import CliRunner

from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.cli import app
from sft_pipeline.provenance.store import Store


@pytest.fixture
def run():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(a) for a in arguments])


@pytest.fixture
def store(toy_project):
    """A store with three versions of a report."""
    store = Store(toy_project / "store")
    for text in ("one", "two", "three"):
        folder = store.new_folder()
        (folder / "diagnosis.txt").write_text(text)
        store.put("training_report", "toy", TrainingReport.finalize(folder, findings=(), metrics={}))
    return store


def test_gc_shows_first_and_removes_on_yes(run, store):
    oldest = store.pointer("training_report", "toy").previous[-1].address
    shown = run("gc", "--keep", 1)
    assert shown.exit_code == 0 and f"objects/training_report/{oldest}" in shown.output
    assert "--yes removes them" in shown.output
    assert "removed" in run("gc", "--keep", 1, "--yes").output
    assert run("gc", "--keep", 1).output == "nothing to remove\n"
    listed = run("restore", "toy", "training_report").output.splitlines()
    assert len(listed) == 3 and listed[0].startswith("current") and listed[0].endswith("whole")
    assert "artifact.json: No such file" in listed[2]


def test_restore_goes_back_to_an_address_and_refuses_what_is_none(run, store):
    before = store.pointer("training_report", "toy").previous[0].address
    done = run("restore", "toy", "training_report", "--address", before[:10])
    assert done.exit_code == 0 and done.output.startswith(f"current  {before[:12]}")
    assert store.get("training_report", "toy", TrainingReport).path("diagnosis.txt").read_text() == "two"
    for asset, address in (("training_report", "xyz"), ("nothing", ""), ("gate_report", "")):
        refused = run("restore", "toy", asset, "--address", address)
        assert refused.exit_code == 2 and "error:" in refused.output
    assert run("restore", "../toy", "training_report").exit_code == 2

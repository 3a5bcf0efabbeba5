"""Which experiment's artifacts belong to a specification: none where the file lies elsewhere than in specs/."""

import json
import shutil

import pytest
import typer
from typer.testing import CliRunner

from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.cli import app
from sft_pipeline.commands.common import stored_name, user_errors
from sft_pipeline.provenance.store import Store


@pytest.fixture
def elsewhere(toy_project):
    """A specification of the name of a stored experiment in another folder; its base would be refused for its type."""
    store = Store(toy_project / "store")
    folder = store.new_folder()
    store.put("base_model", "toy", TrainingReport.finalize(folder, findings=(), metrics={}))
    other = toy_project / "other"
    other.mkdir()
    return shutil.copy(toy_project / "specs" / "toy.yaml", other)


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_name_is_the_experiment_and_a_path_only_within_specs(toy_project, elsewhere, monkeypatch):
    assert stored_name("stage1_qwen2.5_32b") == "stage1_qwen2.5_32b"
    assert stored_name(str(elsewhere)) is None
    monkeypatch.chdir(toy_project)
    assert stored_name("specs/toy.yaml") == stored_name("other/../specs/toy.yaml") == "toy"
    (toy_project / "specs" / "linked.yaml").symlink_to(elsewhere)
    assert stored_name("specs/linked.yaml") == "linked"
    assert stored_name("specs/toy.yml") is None  # no experiment, see specifications()


def test_a_plan_takes_nothing_stored_for_a_specification_from_elsewhere(run, elsewhere):
    done = run("plan", elsewhere)
    assert done.exit_code == 2 and "is not in" in done.output and "data.expected" in done.output


def test_cleaning_takes_no_stored_base_for_a_specification_from_elsewhere(run, toy_project, elsewhere):
    rows = [{"instruction": f"What is {n} and {n}?", "response": f"It is {2 * n}."} for n in range(50)]
    (toy_project / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("clean", toy_project / "rows.jsonl", "--out", toy_project / "a", "--spec", "toy")
    assert done.exit_code == 2 and "is a TrainingReport, not a ModelSnapshot" in done.output
    done = run("clean", toy_project / "rows.jsonl", "--out", toy_project / "b", "--spec", elsewhere)
    assert (toy_project / "b" / "rows.parquet").is_file(), done.output


@pytest.mark.parametrize(
    ("error", "code"),
    [(ZeroDivisionError("division by zero"), 3), (typer.Exit(1), 1), (PermissionError(13, "denied"), 2)],
)
def test_an_error_of_the_code_is_no_verdict(error, code):
    app = typer.Typer()

    @app.command()
    def decide():
        with user_errors():
            raise error

    done = CliRunner().invoke(app, [])
    assert done.exit_code == code
    assert ("ZeroDivisionError" in done.output) is (code == 3)

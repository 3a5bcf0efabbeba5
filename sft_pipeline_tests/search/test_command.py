"""`sft-pipeline search` over a stored report."""

import pytest
import yaml
from typer.testing import CliRunner

from sft_pipeline.artifacts import Confirmation, SearchReport, SearchTrial
from sft_pipeline.cli import app
from sft_pipeline.provenance.store import Store
from sft_pipeline_tests.search.conftest import specification


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """Runs the command on an experiment whose stored search found a winner, or none."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "toy.yaml").write_text(yaml.safe_dump(specification()))
    plain = {name: value for name, value in specification().items() if name != "search"}
    (tmp_path / "specs" / "plain.yaml").write_text(yaml.safe_dump(plain))
    monkeypatch.setenv("SFT_PIPELINE_ROOT", str(tmp_path))
    monkeypatch.setenv("SFT_PIPELINE_STORE", str(tmp_path / "store"))

    def run(winner, *arguments):
        store = Store(tmp_path / "store")
        out = store.new_folder("search-")
        (out / "search.txt").write_text("search: what was found\n")
        (out / "search.html").write_text("")
        if winner is not None:
            (out / SearchReport.SPECIFICATION).write_text("description: the winner\n")
        trial = SearchTrial(number=0, parameters={}, state="complete", figure=1.0)
        found = Confirmation(trial=0, parameters={}, searched=1.0, figure=1.0)
        verdict = "no_better" if winner is None else "better"
        fields = {"verdict": verdict, "winner": winner, "trials": (trial,), "confirmations": (found,)}
        store.put("search_report", "toy", SearchReport.finalize(out, **fields))
        return CliRunner().invoke(app, ["search", *map(str, arguments)])

    return run


def test_a_winner_is_printed_and_written_once(searched, tmp_path):
    out = tmp_path / "specs" / "toy_2.yaml"
    done = searched(0, "toy", "--out", out)
    assert done.exit_code == 0 and "what was found" in done.output, done.output
    assert out.read_text() == "description: the winner\n"
    assert searched(0, "toy", "--out", out).exit_code == 2  # it is there already


def test_where_nothing_is_better_there_is_nothing_to_write(searched, tmp_path):
    out = tmp_path / "toy_2.yaml"
    done = searched(None, "toy", "--out", out)
    assert done.exit_code == 1 and "nothing is better than the default" in done.output and not out.exists()


def test_without_a_declared_search_it_says_so(searched):
    done = searched(0, "plain")
    assert done.exit_code == 2 and "declares no search" in done.output

"""The exit code of `run` where verdict and run disagree."""

import json

import pytest
from typer.testing import CliRunner

from sft_pipeline.cli import app
from sft_pipeline.commands import lineage
from sft_pipeline.evaluation.gate.files_gate import decide_outputs
from sft_pipeline.experiment import Evaluation
from sft_pipeline.provenance.store import Store


@pytest.mark.slow
@pytest.mark.parametrize(("wins", "code", "stopped"), [(200, 2, True), (21, 1, False)])
def test_a_run_that_stops_after_a_gate_that_passed_does_not_exit_with_0(toy_project, monkeypatch, wins, code, stopped):
    def rows(name, wins):
        path = toy_project / f"{name}.jsonl"
        answers = ({"id": str(k), "type": "sum", "output": f"{name} {k}", "success": k < wins} for k in range(300))
        path.write_text("\n".join(map(json.dumps, answers)))
        return path

    def ended(process, wait=lineage._ended):
        """The run stores its gate and then stops."""
        store = Store(toy_project / "store")
        folder = store.new_folder()
        made = decide_outputs(rows("base", 20), rows("sft", wins), None, Evaluation(scorers={}), toy_project, folder)
        store.put("gate_report", "toy", made)
        return wait(process)

    monkeypatch.setattr(lineage, "_ended", ended)
    monkeypatch.setenv("DAGSTER_HOME", str(toy_project / "home"))
    done = CliRunner().invoke(app, ["run", "toy", "--select", "no_such_asset"])
    assert done.exit_code == code, done.output
    assert ("the run stopped; see the lines above" in done.output) == stopped
    assert "gate.html" in done.output


def test_a_specification_of_a_plan_alone_is_not_run():
    done = CliRunner().invoke(app, ["run", "plan2_8bit"])
    assert done.exit_code == 2 and "sft-pipeline plan plan2_8bit" in done.output
    assert "plan only: The 8-bit remedy" in CliRunner().invoke(app, ["specs"]).output

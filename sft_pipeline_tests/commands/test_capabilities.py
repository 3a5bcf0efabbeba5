"""`sft-pipeline capabilities` on a model folder."""

import json
from pathlib import Path

from typer.testing import CliRunner

import sft_pipeline
from sft_pipeline.cli import app

BASE = Path(sft_pipeline.__file__).parent / "embedded" / "shipped_base"


def run(*arguments):
    return CliRunner().invoke(app, ["capabilities", *map(str, arguments)])


def spec(folder, benchmarks):
    path = folder / "evaluation.yaml"
    path.write_text(json.dumps({"evaluation": {"scorers": {}, "capabilities": {"benchmarks": benchmarks}}}))
    return path


def test_a_model_folder_is_measured_and_then_stands_as_a_baseline(tmp_path):
    written = spec(tmp_path, {"world": {"world_seed": 7, "limit": 20}})
    first = run(BASE, "--spec", written, "--out", tmp_path / "first")
    assert first.exit_code == 0, first.output
    assert "100.0 %" in first.output
    baseline = tmp_path / "first" / "baseline_metrics.json"
    again = run(BASE, "--spec", written, "--baseline", baseline, "--out", tmp_path / "second")
    assert again.exit_code == 0, again.output
    figures = json.loads((tmp_path / "second" / "capabilities.json").read_text())
    assert figures["results"][0]["lost"] == figures["results"][0]["won"] == 0


def test_what_cannot_be_measured_is_said(tmp_path):
    nothing = run(BASE, "--spec", spec(tmp_path, {}))
    assert nothing.exit_code == 2 and "declares no benchmark" in nothing.output
    absent = run(tmp_path / "model", "--spec", spec(tmp_path, {"world": {"world_seed": 7}}))
    assert absent.exit_code == 2 and "no such folder" in absent.output
    network = run(BASE, "--spec", spec(tmp_path, {"arc_challenge": {}}))
    assert network.exit_code == 2 and "nothing is fetched from the network" in network.output
    device = run(BASE, "--spec", spec(tmp_path, {"world": {"world_seed": 7}}), "--dtype", "float16")
    assert device.exit_code == 2 and "model.dtype" in device.output
    code = run(BASE, "--spec", spec(tmp_path, {"humaneval": {"items": {"path": "x.jsonl"}}}))
    assert code.exit_code == 2 and "set run_code: true" in code.output

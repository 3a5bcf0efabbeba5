"""Expected figures beside those that came out: every path of the records leads to a figure, and a wrong one is said to."""

import json

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from sft_pipeline.artifacts import AdapterSnapshot
from sft_pipeline.cli import app
from sft_pipeline.experiment import Experiment
from sft_pipeline.report.experiment.expectations import compared, lines
from sft_pipeline.specification import load_by_name, project_root, specifications

DOCUMENT = {
    "description": "x",
    "data": {"source": {"kind": "embedded"}},
    "model": {"source": {"kind": "embedded"}},
    "training": {"epochs": 1},
    "evaluation": {"scorers": {}},
}
ADAPTER = AdapterSnapshot.model_construct(
    steps=20, loss_first=2.0, dev_loss=None, measurements={"tokens": 900, "device": "cpu"}
)


def experiment(**expectations):
    return Experiment.model_validate_json(json.dumps(DOCUMENT | {"expectations": expectations}))


@pytest.mark.parametrize(
    ("figure", "wanted", "measured", "difference"),
    [
        ("lora_adapter.steps", 20, "20", "equal"),
        ("lora_adapter.loss_first", 2.5, "2", "-0.5 (-20.0 %)"),
        ("lora_adapter.loss_first", [1.5, 2.0], "2", "within"),
        ("lora_adapter.loss_first", [2.25, 3.0], "2", "-0.25 beyond the range"),
        ("lora_adapter.measurements.tokens", 0, "900", "+900"),
        ("lora_adapter.measurements.device", 1, "", "not measured"),
        ("lora_adapter.measurements.seconds", 1, "", "not measured"),
        ("lora_adapter.dev_loss", 1, "", "not measured"),
        ("lora_adapter.los_first", 1, "", "lora_adapter has no figure los_first"),
        ("adapter.steps", 1, "", "no figure of adapter can be expected"),
        ("gate_report.overall.lift", 0.1, "", "not made"),
    ],
)
def test_a_figure_is_shown_beside_what_was_expected(figure, wanted, measured, difference):
    (row,) = compared(experiment(**{figure: wanted}), {"lora_adapter": ADAPTER})
    assert row.measured == measured and row.difference.startswith(difference)
    assert lines([row])[0].startswith(f"{figure}  expected ")


@pytest.mark.parametrize(
    "wrong", [{"lora_adapter.steps": [3, 1]}, {"steps": 1}, {"lora_adapter.steps": "many"}, {"a.b": [1, 2, 3]}]
)
def test_what_is_no_expectation_is_refused(wrong):
    with pytest.raises(ValidationError):
        experiment(**wrong)


@pytest.mark.parametrize("name", specifications(project_root())[0])
def test_the_expectations_of_the_project_name_figures_that_there_are(name):
    for row in compared(load_by_name(name, project_root()), {}):
        assert row.difference == "not made", row


@pytest.mark.slow
def test_the_plan_shows_its_own_figures_beside_those_of_the_record():
    done = CliRunner().invoke(app, ["plan", "math_1.5b"])
    assert done.exit_code == 0 and "gate_report.overall.sft_rate " in done.output and "not made" in done.output

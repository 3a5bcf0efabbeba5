"""What a specification may search, and what is refused."""

import json
from itertools import product

import pytest
import yaml

from sft_pipeline.errors import SpecificationError
from sft_pipeline.experiment import Experiment
from sft_pipeline.planning.plan import compute
from sft_pipeline.search.run import of_trial
from sft_pipeline.specification import load, project_root
from sft_pipeline_tests.search.conftest import PARAMETERS, experiment, specification


def refused(tmp_path, **given):
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(specification(**given)))
    with pytest.raises(SpecificationError) as error:
        load(path)
    return str(error.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"training.learning_rate": {"low": 1e-3, "high": 1e-3}}, "the range is empty"),
        ({"training.learning_rate": {"low": 5e-4, "high": 1e-5, "log": True}}, "must be below high"),
        ({"training.learning_rate": {"low": 0.0, "high": 1e-5, "log": True}}, "begins above 0"),
        ({"training.learning_rate": {"low": -1.0, "high": 1e-5}}, "-1.0 is no value of it"),
        ({"training.learning_rate": {"low": "small", "high": 1e-5}}, "search.parameters.training.learning_rate.low"),
        ({"training.learning_rate": {"low": 1e-5}}, "give low and high, or choices"),
        ({"training.learning_rate": {"choices": [1e-5]}}, "at least two different values"),
        ({"training.learning_rate": {"choices": [1e-5, 2e-5], "low": 1e-5}}, "choices stand alone"),
        ({"training.learning_rate": {"low": 1e-5, "high": 1e-4, "step": 1.0}}, "wider than the range"),
        ({"training.batch_size": {"low": 1.5, "high": 4}}, "1.5 is no value of it"),
        ({"training.batch_size": {"low": 1, "high": 4, "step": 0.5}}, "whole numbers"),
        ({"training.schedule": {"low": 1, "high": 4}}, "1 is no value of it"),
        ({"training.schedule": {"choices": ["cosine", "sine"]}}, "'sine' is no value of it"),
        ({"training.learning_rat": {"low": 1e-5, "high": 1e-4}}, "did you mean training.learning_rate?"),
        ({"training.lora.rang": {"low": 1, "high": 4}}, "no specification has this field"),
        ({"training.learning_rate.peak": {"low": 1, "high": 4}}, "is no value of it"),
        ({"learning_rate": {"low": 1e-5, "high": 1e-4}}, "only fields of the training"),
        ({"data.split.seed": {"low": 1, "high": 4}}, "only fields of the training"),
        ({"training.seed": {"low": 1, "high": 4}}, "is not searched"),
        ({"training.epochs": {"low": 1, "high": 4}}, "give exactly one of epochs and max_steps"),
        ({}, "at least 1"),
    ],
)
def test_a_range_that_cannot_be_tried_is_refused_with_its_line(tmp_path, parameters, message):
    said = refused(tmp_path, parameters=parameters)
    assert "toy.yaml:" in said and message in said


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"trials": 0}, "search.trials"),
        ({"budget": {"steps": 0}}, "search.budget.steps"),
        ({"budget": {"hours": 0.0}}, "search.budget.hours"),
        ({"devices": 5}, "devices (5) are more than trials (4)"),
        ({"objective": "dev_success", "pruner": "median"}, "compares dev losses"),
        (
            {"parameters": {"training.max_steps": {"low": 2, "high": 4}}, "trial_steps": 2},
            "trial_steps sets the length",
        ),
        ({"objective": "test_success"}, "search.objective"),
    ],
)
def test_a_search_that_contradicts_itself_is_refused(tmp_path, search, message):
    assert message in refused(tmp_path, **search)


def test_values_take_the_place_of_the_specifications_own():
    before = experiment()
    after = before.with_values({"training.lora.r": 7, "training.max_steps": None, "training.epochs": 2.0})
    assert (after.training.lora.r, after.training.lora.alpha, after.training.epochs) == (7, 8, 2.0)
    assert after.search is None and after.data == before.data


def test_the_parameters_of_the_issue_hold():
    written = specification(
        parameters=PARAMETERS | {"training.learning_rate": {"low": 1e-5, "high": 5e-4, "log": True}}
    )
    found = Experiment.model_validate_json(json.dumps(written)).search
    assert found is not None and found.parameters["training.learning_rate"].ends == (1e-5, 5e-4)


def test_every_trial_of_the_toy_twin_can_be_planned():
    found = load(project_root() / "specs" / "tiny_search.yaml")
    assert found.search is not None
    ends = [p.ends for p in found.search.parameters.values()]
    for values in product(*ends):
        trial = of_trial(found, dict(zip(found.search.parameters, values)))
        planned = compute(trial, [(30, 10)] * 1000, {}, None, None, [(30, 10)] * 80)
        assert planned.steps == 60 and not planned.blocking

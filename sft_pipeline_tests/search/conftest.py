"""A toy search: the tiny base of the training tests, a train and a dev split."""

import json
from pathlib import Path

import pytest

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.experiment import Experiment
from sft_pipeline.search.run import Inputs
from sft_pipeline_tests.training import conftest as training

toy_base = training.toy_base

PARAMETERS = {
    "training.learning_rate": {"low": 1e-4, "high": 5e-2, "log": True},
    "training.lora.r": {"low": 2, "high": 8},
    "training.schedule": {"choices": ["cosine", "constant"]},
}


def specification(training: dict | None = None, **search) -> dict:
    """A specification with a search, as plain values."""
    return {
        "description": "a toy search",
        # The toy rows differ in a number alone, and would all be one near-duplicate.
        "data": {"source": {"kind": "file", "path": "toy.jsonl"}, "duplicates": {"threshold": 1.0}},
        "model": {"source": {"kind": "folder", "path": "toy"}},
        "training": {
            "max_steps": 3,
            "min_coverage": 0.01,
            "lora": {"r": 4, "alpha": 8},
            "batch_size": 4,
            "learning_rate": 5e-4,
            "logging_steps": 1,
            "save_steps": 1,
        }
        | (training or {}),
        "generation": {"max_new_tokens": 4},
        "evaluation": {"scorers": {"default": {"kind": "exact"}}},
        "search": {"parameters": PARAMETERS, "trials": 4, "seeds": 2} | search,
    }


def experiment(**given) -> Experiment:
    """The same, read."""
    return Experiment.model_validate_json(json.dumps(specification(**given)))


@pytest.fixture
def inputs(tmp_path):
    """Makes what a search is made from; takes parts of the section, and the base where one is to be trained."""

    def make(base=None, **search) -> Inputs:
        if base is None:
            (tmp_path / "base").mkdir()
            facts = {"source": "toy", "revision": "", "architecture": "none", "parameters": 0, "vocabulary": 0}
            base = ModelSnapshot.finalize(tmp_path / "base", **facts)
        train = training.split(tmp_path, "train", training.toy_rows(24))
        dev = training.split(tmp_path, "dev", training.toy_rows(40, first=500))
        work = tmp_path / "work"
        work.mkdir()
        return Inputs(experiment(**search), "toy", base, training.passed(tmp_path), train, dev, Path(), work)

    return make

"""Which engine answers, and on what loaded base."""

import importlib.util
from types import SimpleNamespace

import pytest

from sft_pipeline.errors import ModelError
from sft_pipeline.generation import engines
from sft_pipeline.generation.answers import conditions
from sft_pipeline.generation.engines import selection
from sft_pipeline.generation.engines.vllm_engine import VllmEngine


def declared(experiment, generation, model=None):
    values = experiment.model_dump()
    values["generation"] |= generation
    values["model"] |= model or {}
    return type(experiment).model_validate(values)


@pytest.mark.parametrize(
    ("installed", "model", "expected"),
    [
        ({"vllm": "0.32.0"}, {"device": "cuda"}, "vllm"),
        ({"vllm": "0.32.0"}, {"device": "cuda", "quantization": "nf4"}, "vllm"),
        ({"vllm": "0.32.0"}, {"device": "cuda", "quantization": "nf4", "double_quantization": False}, "transformers"),
        ({"vllm": "0.32.0"}, {"device": "cuda", "quantization": "int8"}, "transformers"),
        ({"vllm": "0.32.0"}, {"device": "cpu"}, "transformers"),
        ({}, {"device": "cuda"}, "transformers"),
    ],
)
def test_auto_is_vllm_where_its_cuda_build_can_run_the_model(experiment, monkeypatch, installed, model, expected):
    monkeypatch.setattr(selection, "library_versions", lambda *names: installed)
    assert engines.chosen(declared(experiment, {"engine": "auto"}, model)) == expected


def test_vllm_that_is_declared_and_not_installed_is_an_error_that_names_the_extra(experiment, ending_base, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"sft-pipeline\[vllm\]"):
        engines.open_engine(declared(experiment, {"engine": "vllm"}), ending_base)


def test_precision_and_quantisation_of_the_answers_may_differ_from_those_of_the_training(experiment, ending_base):
    import torch

    other = declared(experiment, {"dtype": "bfloat16", "quantization": "nf4"})
    assert other.model.dtype == "float32" and other.model.quantization == "none"
    with engines.open_engine(other, ending_base) as engine:
        assert engine._model.dtype == torch.bfloat16
        assert torch.uint8 in {p.dtype for p in engine._model.parameters()}


def test_what_decides_a_quantisation_is_part_of_what_both_models_must_share(experiment, ending_base, items):
    def condition(**model):
        changed = experiment.model_copy(update={"model": experiment.model.model_copy(update=model)})
        with engines.open_engine(experiment, ending_base) as engine:
            return conditions(changed, ending_base, items, engine)["quantization"]

    assert condition() == "none"
    assert condition(quantization="nf4") == "nf4, double"
    assert condition(quantization="nf4", double_quantization=False) == "nf4"
    assert condition(quantization="int8", int8_threshold=5.0) == "int8, threshold 5"


def test_another_engine_or_another_version_of_a_library_is_another_condition(experiment, ending_base, items):
    def condition(name, **versions):
        engine = SimpleNamespace(name=name, versions=lambda: versions)
        return conditions(experiment, ending_base, items, engine)["engine"]

    with engines.open_engine(experiment, ending_base) as engine:
        known = conditions(experiment, ending_base, items, engine)["engine"]
    assert known == condition("transformers", **engine.versions())
    assert known != condition("vllm", **engine.versions())
    assert known != condition("transformers", **engine.versions() | {"torch": "another"})


def test_a_quantisation_that_vllm_does_not_have_is_refused_before_it_starts(experiment, ending_base):
    for generation in ({"quantization": "nf4"}, {"quantization": "int8"}):
        spec = engines.inference_settings(declared(experiment, generation))
        with pytest.raises(ModelError, match="on a CUDA device; declared are (nf4|int8)"):
            VllmEngine(ending_base, spec, max_rank=4)
    with pytest.raises(ModelError, match="ranks up to 512"):
        VllmEngine(ending_base, experiment.model, max_rank=600)

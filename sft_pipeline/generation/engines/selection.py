"""Engines: what lets a loaded base model, with or without an adapter, answer prompts."""

import importlib.util

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, Experiment
from sft_pipeline.generation.engines.engine import Engine
from sft_pipeline.generation.engines.transformers_engine import TransformersEngine
from sft_pipeline.generation.engines.vllm_engine import VllmEngine
from sft_pipeline.provenance.environment import library_versions


def inference_settings(experiment: Experiment) -> BaseModelSpec:
    """The base model as it is loaded to answer: as in training, unless the generation declares otherwise."""
    declared = {"dtype": experiment.generation.dtype, "quantization": experiment.generation.quantization}
    return experiment.model.model_copy(update={name: value for name, value in declared.items() if value is not None})


def chosen(experiment: Experiment) -> str:
    """Name of the engine that will answer; nothing is imported for it.

    `auto` is vLLM where its CUDA build is installed, the model runs on a CUDA device, and vLLM can quantise as declared.

    Raises:
        ModelError: vLLM is declared and not installed.
    """
    declared, spec = experiment.generation.engine, inference_settings(experiment)
    if declared == "auto":
        suits = spec.device == "cuda" and spec.quantization != "int8" and "vllm" in library_versions("vllm")
        return "vllm" if suits and (spec.quantization == "none" or spec.double_quantization) else "transformers"
    if declared == "vllm" and importlib.util.find_spec("vllm") is None:
        raise ModelError(
            "generation.engine is vllm, which is not installed. Install the extra (pip install 'sft-pipeline[vllm]', for "
            "CUDA devices), or declare engine: transformers."
        )
    return declared


def open_engine(experiment: Experiment, base: ModelSnapshot) -> Engine:
    """The experiment's engine with the base model; a context manager that frees the device at its end.

    Raises:
        ModelError: the engine is not installed, or cannot run the model as declared.
    """
    if chosen(experiment) == "vllm":
        return VllmEngine(base, inference_settings(experiment), experiment.training.lora.r, experiment.prompt)
    return TransformersEngine(base, inference_settings(experiment), experiment.prompt)


def engine_versions(experiment: Experiment) -> dict[str, dict[str, str]]:
    """The engine that will answer, with the versions of its libraries, before anything is loaded."""
    name = chosen(experiment)
    engine = VllmEngine if name == VllmEngine.name else TransformersEngine
    return {name: engine.versions()}

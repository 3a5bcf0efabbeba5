"""What answers and judgements depend on besides their inputs: specification, files outside of the store, libraries.

It is a part of the key (asset.py) of every step that lets a model answer, or judges, and of what the sensors compare.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sft_pipeline.lineage.resources import user_errors
from sft_pipeline.provenance.environment import library_versions

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


def decoding(experiment: "Experiment") -> dict:
    """What the answers depend on besides the models: another library version may answer differently."""
    from sft_pipeline.generation.engines import engine_versions, inference_settings

    with user_errors():
        engine = engine_versions(experiment)
    return {
        "prompt": experiment.prompt,
        "generation": experiment.generation,
        "model": inference_settings(experiment).loading,
        "engine": engine,
    }


def prompting(experiment: "Experiment", root: Path) -> dict:
    """What the answers of comparators depend on besides model and splits: the search for examples, and decoding."""
    comparators, data = experiment.evaluation.comparators, experiment.data
    if not comparators:
        return {"comparators": None}
    return {**decoding(experiment), "comparators": comparators, "duplicates": data.duplicates, "leakage": data.leakage}


def judging(experiment: "Experiment", root: Path) -> dict:
    """What the verdict depends on besides the answers; not on benchmarks, which are measured beside it."""
    evaluation = experiment.evaluation.model_dump(mode="json", exclude={"capabilities"})
    return {"evaluation": evaluation, **scoring_with(experiment, root)}


def measuring_capabilities(experiment: "Experiment", root: Path) -> dict:
    """What the capability report depends on besides the models: benchmarks with the files as they are now, libraries."""
    from sft_pipeline.capabilities.items import content

    spec = experiment.evaluation.capabilities
    if spec is None:
        return {"capabilities": None}
    with user_errors():
        files = content(spec, root)
    used = library_versions("lm-eval", "datasets", "numpy", "scipy")
    return {
        **decoding(experiment),
        "capabilities": spec.model_dump(mode="json"),
        "files": files,
        "libraries": used,
        "max_length": experiment.training.max_length,
    }


def scoring_with(experiment: "Experiment", root: Path) -> dict:
    """What scorers and statistics go by besides the specification: files outside of the store as they are now, libraries."""
    from sft_pipeline.evaluation.scoring.score import libraries, outside_files

    with user_errors():
        brought = outside_files(experiment.evaluation, root)
    used = libraries(experiment.evaluation) | library_versions("numpy", "scipy", "statsmodels")
    return {"outside_files": brought, "libraries": used}

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


def scoring(experiment: "Experiment", root: Path) -> dict:
    """What the success of an answer depends on besides the answer: scorers, their files as they are now, libraries.

    Raises:
        dagster.Failure: a file that the evaluation names is missing, one with labels or preferences too.
    """
    from sft_pipeline.evaluation.scoring.score import libraries, outside_files

    evaluation = experiment.evaluation
    with user_errors():
        files = outside_files(evaluation, root)
    return {
        "scorers": {name: spec.model_dump(mode="json") for name, spec in evaluation.scorers.items()},
        "run_code": evaluation.run_code,
        "files": {field: content for field, content in files.items() if field.startswith("evaluation.scorers.")},
        "libraries": libraries(evaluation) | library_versions("numpy", "scipy", "statsmodels"),
    }


def judging(experiment: "Experiment", root: Path) -> dict:
    """What the verdict depends on besides the answers; not on what is measured beside it."""
    from sft_pipeline.evaluation.scoring.score import outside_files

    elsewhere = {"capabilities", "series", "review"}  # assets of their own; a review is an input
    evaluation = experiment.evaluation.model_dump(mode="json", exclude=elsewhere)
    return {**scoring(experiment, root), "evaluation": evaluation, "files": outside_files(experiment.evaluation, root)}


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

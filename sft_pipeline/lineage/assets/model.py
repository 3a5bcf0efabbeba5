"""The base model and its guard."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import GuardReport, ModelSnapshot
from sft_pipeline.lineage import asset_checks, metadata
from sft_pipeline.lineage.asset import Check
from sft_pipeline.lineage.step import Work, step
from sft_pipeline.lineage.tags import MODEL

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


def _base(experiment: "Experiment", root: Path) -> dict[str, Any]:
    from sft_pipeline.model.snapshot import pinned

    return {"source": pinned(experiment.model.source)}


def _guarding(experiment: "Experiment", root: Path) -> dict[str, Any]:
    from sft_pipeline.model.loader import versions

    return {"model": experiment.model, "prompt": experiment.prompt, "libraries": versions()}


@step(
    ModelSnapshot,
    group=MODEL,
    docs="docs/tutorial/bring_your_own.md",
    code=["model/snapshot.py"],
    depends=_base,
    reusable=lambda experiment: experiment.model.source.kind != "folder",
    metadata=metadata.model,
    kinds=["safetensors"],
)
def base_model(work: Work) -> ModelSnapshot:
    """Local, hashed snapshot of the base: safetensors and tokenizer, nothing that can run code."""
    from sft_pipeline.model.snapshot import pinned, take

    source = pinned(work.experiment.model.source)
    return take(source, work.root, work.store.cache, work.out, work.folder)


@step(
    GuardReport,
    group=MODEL,
    docs="docs/tutorial/bring_your_own.md",
    code=["model/guard.py"],
    depends=_guarding,
    metadata=metadata.guard,
    checks=[Check(asset_checks.base_is_a_base)],
    kinds=["pytorch"],
    cuda=True,
)
def base_model_guard(work: Work, base_model: ModelSnapshot) -> GuardReport:
    """Is the base a base? Template, token-id and delta checks; sentinels raw and in the training format."""
    from sft_pipeline.model.guard import inspect

    return inspect(base_model, work.experiment.model, work.experiment.prompt, work.out)

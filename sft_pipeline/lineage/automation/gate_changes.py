"""What the stored state says about a fixed adapter: may it be evaluated, and what does its gate rest on?

Nothing is kept beside the artifacts. Each carries the key of all that it was made from (lineage/step.py); the same key,
computed from the specification, the code and the libraries of now, tells whether the gate is still the one of now.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Artifact,
    GuardReport,
    InstructionDataset,
    TrainingPlan,
    TrainingReport,
)
from sft_pipeline.errors import PreconditionError
from sft_pipeline.lineage.dependencies import decoding, judging
from sft_pipeline.lineage.step import key_of
from sft_pipeline.provenance.hashing import hash_value
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import LINEAGE

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment

ADAPTER, GATE = "lora_adapter", "gate_report"

_UPSTREAM = {
    "base_generations": ("base_model", "test_split"),
    "sft_generations": ("base_model", "lora_adapter", "test_split"),
    "gate_report": ("test_split", "base_generations", "sft_generations", "base_model_guard", "training_report"),
}
"""What the gate rests on, and what each of them is made from, as in assets/evaluation.py."""


def _depends(experiment: "Experiment", root: Path) -> dict[str, dict]:
    answers = decoding(experiment)
    return {"base_generations": answers, "sft_generations": answers, "gate_report": judging(experiment, root)}


def objections(store: Store, name: str) -> list[str]:
    """Why the stored adapter may not be evaluated: what a blocking check of an earlier run has stopped stays stopped.

    Raises:
        StoreError: something that an evaluation needs was never materialized, or is damaged.
    """
    from sft_pipeline.generation.answers import check

    adapter = store.describe(ADAPTER, name, AdapterSnapshot)
    diagnosis = store.describe("training_report", name, TrainingReport)
    found = []
    try:
        check(
            store.describe("test_split", name, InstructionDataset),
            store.describe("base_model_guard", name, GuardReport),
            diagnosis,
            adapter,
        )
    except PreconditionError as error:
        found.append(str(error))
    found += [f"plan: {f.evidence}" for f in store.describe("training_plan", name, TrainingPlan).blocking]
    if diagnosis.upstream[ADAPTER] != adapter.version:
        found.append("the stored diagnosis is that of another adapter; materialize training_report")
    return found


def changes(store: Store, name: str, experiment: "Experiment", root: Path) -> tuple[str, list[str]]:
    """What the stored gate no longer rests on.

    Returns:
        Hash of what it would rest on if it were made now, and a sentence for each stored artifact that would be made
        anew; none when the gate is that of now.

    Raises:
        StoreError: one of them was never materialized, or is damaged.
    """
    wanted = set(_UPSTREAM).union(*_UPSTREAM.values())
    stored: dict[str, Artifact] = {a: store.describe(a, name, LINEAGE[a]) for a in sorted(wanted)}
    found, keys = [], {}
    for asset, depends in _depends(experiment, root).items():
        versions = {a: stored[a].version for a in _UPSTREAM[asset]}
        keys[asset] = key_of([asset], asset, depends, versions)
        if keys[asset] != stored[asset].key:
            others = [a for a, version in versions.items() if stored[asset].upstream.get(a) != version]
            because = f"another {' and '.join(others)}" if others else "its code, specification or libraries changed"
            found.append(f"{asset}: {because}")
    return hash_value(keys), found

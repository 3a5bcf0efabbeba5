"""What the stored state says about a fixed adapter: may it be evaluated, and what does its gate rest on?"""

from pathlib import Path
from typing import TYPE_CHECKING

from sft_pipeline.artifacts import AdapterSnapshot, GuardReport, InstructionDataset, TrainingPlan, TrainingReport
from sft_pipeline.errors import PreconditionError
from sft_pipeline.lineage.asset import ASSETS, keys, stale
from sft_pipeline.provenance.hashing import hash_value
from sft_pipeline.provenance.store import Store

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment

ADAPTER, GATE = "lora_adapter", "gate_report"


def problems(store: Store, name: str) -> list[str]:
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
        Hash of what it would rest on if it were made now, and a sentence for each stored artifact that would be
        recomputed; none when the gate is that of now.

    Raises:
        StoreError: one of them was never materialized, or is damaged.
    """
    chain = _rests_on(GATE, experiment)
    found = stale(store, name, experiment, root, chain)
    return hash_value(keys(store, name, experiment, root, chain)), [f"{asset}: {why}" for asset, why in found.items()]


def _rests_on(asset: str, experiment: "Experiment") -> list[str]:
    """The asset after those that it is made from, directly or through others, within its group."""
    found: list[str] = []
    for name in ASSETS[asset].inputs(experiment):
        if ASSETS[name].group == ASSETS[asset].group:
            found += [a for a in _rests_on(name, experiment) if a not in found]
    return [*found, asset]

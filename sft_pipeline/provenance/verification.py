"""Verification of a stored lineage: every file against its hash, every artifact against what it was made from."""

from sft_pipeline import artifacts
from sft_pipeline.errors import StoreError
from sft_pipeline.provenance.store import Store

LINEAGE: dict[str, type[artifacts.Artifact]] = {
    "raw_dataset": artifacts.InstructionDataset,
    "clean_dataset": artifacts.InstructionDataset,
    "train_split": artifacts.InstructionDataset,
    "dev_split": artifacts.InstructionDataset,
    "test_split": artifacts.InstructionDataset,
    "base_model": artifacts.ModelSnapshot,
    "base_model_guard": artifacts.GuardReport,
    "training_plan": artifacts.TrainingPlan,
    "lora_adapter": artifacts.AdapterSnapshot,
    "training_report": artifacts.TrainingReport,
    "base_generations": artifacts.Generations,
    "sft_generations": artifacts.Generations,
    "checkpoint_series": artifacts.SeriesReport,
    "gate_report": artifacts.GateReport,
}
"""Assets and their types, in the order in which data flows."""


def verify_lineage(store: Store, experiment: str) -> tuple[list[str], dict[str, int]]:
    """Check everything that is stored for an experiment.

    Returns:
        What is wrong, a sentence each, and the number of checked files by asset.
    """
    problems: list[str] = []
    damaged: set[str] = set()
    found: dict[str, artifacts.Artifact] = {}
    for asset, kind in LINEAGE.items():
        try:
            if store.pointer(asset, experiment) is not None:
                found[asset] = store.get(asset, experiment, kind, cached=False)
        except StoreError as error:
            damaged.add(asset)
            problems.append(str(error))
    adapter, test = found.get("lora_adapter"), found.get("test_split")
    if (
        adapter
        and adapter.training_data
        and test
        and test.proof
        and test.proof.training_data_sha256 not in ("", *adapter.training_data)
    ):
        problems.append(
            "lora_adapter has learned from other rows than those against which test_split was proven free of leaks; "
            "materialize the splits and all after them."
        )
    for asset, artifact in found.items():
        for name, version in artifact.upstream.items():
            if name not in found and name not in damaged:
                problems.append(
                    f"{asset} was made from a {name} ({version[:12]}…), and no {name} of {experiment} is stored; "
                    f"materialize {name} and then {asset} again."
                )
            elif name in found and found[name].version != version:
                problems.append(
                    f"{asset} was made from another {name} ({version[:12]}…) than the one stored now "
                    f"({found[name].version[:12]}…); materialize {asset} again."
                )
    return problems, {asset: len(artifact.files) for asset, artifact in found.items()}

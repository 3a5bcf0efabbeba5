"""Verification of a stored lineage: every file against its hash, every artifact against what it was made from."""

from sft_pipeline.artifacts import AdapterSnapshot, Artifact, InstructionDataset
from sft_pipeline.artifacts.eligibility import other_training_data
from sft_pipeline.errors import StoreError
from sft_pipeline.provenance.store import Store


def verify_lineage(store: Store, experiment: str) -> tuple[list[str], dict[str, int]]:
    """Check everything that is stored for an experiment.

    Returns:
        What is wrong, a sentence each, and the number of checked files by asset, each asset after what it was made from.

    Raises:
        StoreError: the store cannot be read.
    """
    problems: list[str] = []
    damaged: set[str] = set()
    found: dict[str, Artifact] = {}
    for asset in store.assets(experiment):
        try:
            found[asset] = store.get(asset, experiment, Artifact, cached=False)
        except StoreError as error:
            damaged.add(asset)
            problems.append(str(error))
    adapter, test = found.get("lora_adapter"), found.get("test_split")
    if (
        isinstance(adapter, AdapterSnapshot)
        and isinstance(test, InstructionDataset)
        and other_training_data(test.proof, adapter.training_data)
    ):
        problems.append(
            "lora_adapter was trained on other rows than those against which test_split was proven free of leaks; "
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
    return problems, {asset: len(found[asset].files) for asset in _in_order(found)}


def _in_order(found: dict[str, Artifact]) -> list[str]:
    """The assets, each after what it was made from."""
    ordered: list[str] = []

    def add(asset: str) -> None:
        if asset in found and asset not in ordered:
            for name in found[asset].upstream:
                add(name)
            ordered.append(asset)

    for asset in found:
        add(asset)
    return ordered

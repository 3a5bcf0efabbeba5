"""Verification of a stored lineage: every file against its hash, every artifact against what it was made from."""

from collections.abc import Collection, Mapping

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
    found, damaged = read_lineage(store, experiment)
    problems = [*damaged.values(), *link_problems(found, experiment, damaged)]
    return problems, {asset: len(artifact.files) for asset, artifact in found.items()}


def read_lineage(
    store: Store, experiment: str, assets: Collection[str] | None = None, *, checked: bool = True
) -> tuple[dict[str, Artifact], dict[str, str]]:
    """The stored artifacts with every file checked, each after what it was made from, and what is wrong with the others.

    Args:
        store: the store.
        experiment: the experiment.
        assets: the assets that are read, where they are stored; None: all.
        checked: False reads their descriptions alone; files are neither fetched nor checked.

    Raises:
        StoreError: the store cannot be read.
    """
    found: dict[str, Artifact] = {}
    damaged: dict[str, str] = {}
    for asset in store.assets(experiment):
        if assets is None or asset in assets:
            try:
                if checked:
                    found[asset] = store.get(asset, experiment, Artifact, cached=False)
                else:
                    found[asset] = store.describe(asset, experiment, Artifact)
            except StoreError as error:
                damaged[asset] = str(error)
    return {asset: found[asset] for asset in _in_order(found)}, damaged


def link_problems(found: Mapping[str, Artifact], experiment: str, damaged: Collection[str] = ()) -> list[str]:
    """Artifacts that were made from others than those that are there, and an adapter that learned other rows."""
    problems = []
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
    return problems


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

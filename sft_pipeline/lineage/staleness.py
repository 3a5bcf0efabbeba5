"""Which stored artifacts would be recomputed, and why.

Nothing is kept beside the artifacts. Each carries the key of all that it was made from (asset.py); the same key, computed
from the specification, the code and the libraries of now, tells whether it still stands.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sft_pipeline.artifacts import Artifact
from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.provenance.store import Store

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


def keys(store: Store, name: str, experiment: "Experiment", root: Path, assets: Iterable[str]) -> dict[str, str]:
    """The key that each of the assets would have if it were made now from what is stored.

    Raises:
        StoreError: an input was never materialized, or is damaged.
    """
    found = {}
    for asset in assets:
        inputs = ASSETS[asset].inputs(experiment)
        versions = {a: store.describe(a, name, ASSETS[a].type).version for a in inputs}
        found[asset] = ASSETS[asset].key(experiment, root, versions)
    return found


def stale(
    store: Store, name: str, experiment: "Experiment", root: Path, assets: Iterable[str] | None = None
) -> dict[str, str]:
    """Why each of the assets would be recomputed; those that stand are left out. All stored assets by default.

    Raises:
        StoreError: one of the assets, or an input, was never materialized, or is damaged.
    """
    wanted = list(assets) if assets is not None else [a for a in store.assets(name) if a in ASSETS]
    found = {}
    for asset, key in keys(store, name, experiment, root, wanted).items():
        made = store.describe(asset, name, Artifact)
        if made.key == key:
            continue
        inputs = ASSETS[asset].inputs(experiment)
        others = [a for a in inputs if made.upstream.get(a) != store.describe(a, name, Artifact).version]
        found[asset] = f"another {' and '.join(others)}" if others else "its code, specification or libraries changed"
    return found

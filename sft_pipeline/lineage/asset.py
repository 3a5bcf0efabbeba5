"""The table of assets: an asset is declared once, by the decorator `step` (step.py) on the function that makes it.

Everything else derives from `ASSETS`: the Dagster definitions and checks, the code version, the key under which a result
stands, metadata, documentation link, jobs, and what the sensors compare.

The code version comes from the sources themselves: one that is raised by hand is forgotten by hand, and so is a list of
modules; then an old result passes for a new one. So an asset only declares where its work begins: what that imports counts,
and what is left out says why. The hash ignores comments and docstrings. Plots and texts count as code too: they are part of
what is stored.

Which stored artifacts would be recomputed is kept nowhere: each carries the key of all that it was made from, and the same key,
computed from the specification, the code and the libraries of now, tells whether it still stands (`stale`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from sft_pipeline.artifacts import Artifact
from sft_pipeline.provenance.code import code_hash, members, with_imports
from sft_pipeline.provenance.hashing import hash_value
from sft_pipeline.provenance.store import Store

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


SCORERS = ("evaluation/scorers", "evaluation/scoring/math_equality.py", "evaluation/scoring/sandbox_child.py")
"""Named by whoever scores: evaluation/scoring/score.py imports them by the name that stands in the specification, or runs
them in processes of their own, and no import leads there. The same is true of the engines."""

LEFT_OUT: dict[str, str] = {
    "__init__.py": "the number of a release makes no other result",
    "artifacts": "types; the versions that they make are in the key",
    "dataset/progress.py": "what is shown while it runs",
    "errors.py": "no result comes of an error",
    "experiment": "the schema; the values, defaults included, are in the key",
    "provenance/code.py": "says which code it is",
    "provenance/files.py": "when bytes reach the disk, not which",
    "provenance/locks.py": "who waits for whom",
    "provenance/environment.py": "a record of the machine",
    "provenance/hashing.py": "another hash makes another key by itself",
    "provenance/secrets.py": "what is not shown",
    "specification.py": "reads the values that are in the key",
    "yaml_document.py": "reads the values that are in the key",
}
"""Modules, and folders, that count for no asset, and why not; what they import counts all the same."""


def counted(code: Iterable[str], borders: Collection[str] = ()) -> set[str]:
    """The modules that count where the work begins in `code`, without those that only lie behind `borders`."""
    return with_imports(*code, stop=borders) - members(*LEFT_OUT)


class Check(NamedTuple):
    """A blocking check of an asset.

    Attributes:
        function: takes the asset's artifact, and other assets' artifacts by their name; returns the result.
        several: for a function that yields several results: their names and descriptions.
    """

    function: Callable[..., Any]
    several: Mapping[str, str] = {}


@dataclass(frozen=True)
class Asset:
    """What an asset is.

    Attributes:
        name: its key.
        step: the step that makes it.
        type: the artifact's type.
        group: its group in the UI.
        docs: the page of the documentation that explains it.
        description: a sentence or two for the UI.
        code: modules and folders of the package where its work begins; what they import counts too.
        depends: what the result depends on besides code and inputs, by name, from the specification and the project's
            root folder.
        consumes: assets whose artifacts its step takes.
        deps: assets that must be there and sound before, without being taken.
        metadata: the figures of a materialization for the UI.
        source: file and line of the function that makes it.
        together: all that the same step makes with one key, in order; the asset alone by default.
        borders: modules that are imported on the way and decide nothing of it, and why not.
        kinds: labels in the UI.
        checks: blocking checks.
        inputs_of: those of the consumed assets that the result is made from, where that depends on the experiment.
        reusable: False where the inputs lie outside the store, so that only reading them again can tell.
        freshness: how old it may become before the UI shows it.
    """

    name: str
    step: str
    type: type[Artifact]
    group: str
    docs: str
    description: str
    code: tuple[str, ...]
    depends: "Callable[[Experiment, Path], Mapping[str, Any]]"
    metadata: Callable[[Any], Mapping[str, Any]]
    source: tuple[str, int]
    consumes: tuple[str, ...] = ()
    deps: tuple[str, ...] = ()
    inputs_of: "Callable[[Experiment], tuple[str, ...]] | None" = None
    together: tuple[str, ...] = ()
    borders: Mapping[str, str] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()
    checks: tuple[Check, ...] = ()
    reusable: "Callable[[Experiment], bool]" = lambda experiment: True
    freshness: dg.FreshnessPolicy | None = None

    @cached_property
    def code_version(self) -> str:
        """The version of the code behind it."""
        return code_hash(*sorted(counted(self.code, self.borders)))

    def inputs(self, experiment: "Experiment") -> tuple[str, ...]:
        """Assets whose versions the result depends on."""
        return self.inputs_of(experiment) if self.inputs_of else self.consumes

    def key(self, experiment: "Experiment", root: Path, upstream: Mapping[str, str]) -> str:
        """Hash of all that the step depends on: the stored artifact carries it, and stands while it is the same.

        Args:
            experiment: the specification.
            root: the project's root folder.
            upstream: versions of the inputs, by asset.
        """
        made, depends = list(self.together or (self.name,)), self.decided(experiment, root)
        return hash_value({"assets": made, "code": self.code_version, "depends": depends, "upstream": dict(upstream)})

    def decided(self, experiment: "Experiment", root: Path) -> dict[str, Any]:
        """What the result depends on besides code and inputs, as plain values."""
        return {name: _plain(value) for name, value in self.depends(experiment, root).items()}

    def out(self, *, is_required: bool = True) -> dg.AssetOut:
        """The asset as an output of its step."""
        return dg.AssetOut(
            dagster_type=self.type,
            is_required=is_required,
            kinds=set(self.kinds),
            code_version=self.code_version,
            description=self.description,
            freshness_policy=self.freshness,
        )


ASSETS: dict[str, Asset] = {}
"""All assets by name, in the order in which data flows."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


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

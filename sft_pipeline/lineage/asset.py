"""The table of assets: an asset is declared once, by the decorator `step` (step.py) on the function that makes it.

Everything else derives from `ASSETS`: the Dagster definitions and checks, the code version, the key under which a result
stands, metadata, documentation link, jobs, and what the sensors compare.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from sft_pipeline.artifacts import Artifact
from sft_pipeline.lineage.code_versions import code_version
from sft_pipeline.provenance.hashing import hash_value

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


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
        return code_version(self.code, self.borders)

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
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value

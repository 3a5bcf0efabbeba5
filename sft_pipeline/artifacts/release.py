"""Exports of the gated adapter, and the release."""

from typing import Literal

from pydantic import Field

from sft_pipeline.artifacts.artifact import Artifact, Frozen
from sft_pipeline.artifacts.evaluation import ProtectedResult


class ExportResult(Frozen):
    """One export against the gated adapter, on the same items: `base_…` is the adapter, `sft_…` the export."""

    kind: str
    verdict: Literal["accepted", "inferior", "undecided", "dead_adapter", "equals_base", "not_judged"]
    detail: str = Field(description="Why, in a sentence or two.")
    remedy: str = ""
    margin: float = Field(description="Largest tolerated loss, as a difference of proportions.")
    overall: ProtectedResult | None = Field(None, description="None where there are no answers of the export.")
    protected: tuple[ProtectedResult, ...] = Field((), description="The gate's guarantees, against the gated adapter.")
    changed_share: float | None = Field(None, description="Share of the items whose text differs from the adapter's.")
    base_share: float | None = Field(
        None, description="Share of the items with the base's text, of those where base and adapter differ."
    )
    lost: tuple[str, ...] = Field((), description="Ids of the items that the adapter has right and the export wrong.")
    won: tuple[str, ...] = Field((), description="The reverse.")
    engine: str = Field("", description="What answered.")
    files: tuple[str, ...] = Field((), description="The artifact's files that are the export.")


class ExportReport(Artifact):
    """Exports in a folder each, `<kind>/`, with their answers (`<kind>.parquet`), and `exports.json`."""

    results: tuple[ExportResult, ...] = ()

    @property
    def refused(self) -> tuple[ExportResult, ...]:
        """Exports that must not be shipped."""
        return tuple(result for result in self.results if result.verdict != "accepted")


class ReleaseSnapshot(Artifact):
    """A release folder, as `sft-pipeline release` writes it: `verify.py` in it checks it."""

    kind: Literal["release", "report"]
    verdict: str = Field(description="That of the gate.")

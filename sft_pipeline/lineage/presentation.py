"""How assets show themselves in the UI: who owns them, where they are explained, and links to their pages.

One mapping over all assets. What an asset *is* (group, kinds, description, page) stands where it is declared.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import dagster as dg

from sft_pipeline.errors import SpecificationError
from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.lineage.assets import data, evaluation, model, release, training
from sft_pipeline.lineage.io_managers import STORE_URL, link
from sft_pipeline.lineage.step import STEPS
from sft_pipeline.provenance.code import PACKAGE

# Code references are a beta in this Dagster version, which is pinned.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*CodeReference.*")

GROUPS = (data, model, training, evaluation, release)
"""Modules that declare assets: importing one enters its assets into the table."""

OWNERS = "SFT_PIPELINE_OWNERS"
"""Variable with the owners of all assets, separated by commas: `team:NAME` or e-mail addresses."""

DOCS_URL = "SFT_PIPELINE_DOCS_URL"
"""Variable with the address at which a browser reaches this project's files, such as that of a branch on a forge."""


def build_assets(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The definitions of all assets over the given experiments, with their owners, their page and their code.

    Raises:
        SpecificationError: an owner that is neither a team nor an address, or a URL that cannot be shown.
    """
    owners = _owners()
    link(STORE_URL, "")  # a wrong one is reported now, not after hours of training

    def shown(spec: dg.AssetSpec) -> dg.AssetSpec:
        asset = ASSETS[spec.key.path[-1]]
        docs = {"docs": link(DOCS_URL, asset.docs), **_code(*asset.source)}
        return spec.merge_attributes(owners=owners, metadata=docs)

    return list(dg.map_asset_specs(shown, [build(partitions) for build in STEPS.values()]))


def _code(file: str, line: int) -> dict[str, Any]:
    """The reference to the code that the UI opens: in the forge where its address is known, else the file."""
    reference: dg.LocalFileCodeReference | dg.UrlCodeReference
    reference = dg.LocalFileCodeReference(file_path=file, line_number=line)
    if url := os.environ.get(DOCS_URL):
        within = Path(file).relative_to(PACKAGE.parent).as_posix()
        reference = dg.UrlCodeReference(url=f"{url.rstrip('/')}/{within}#L{line}")
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}


def _owners() -> list[str]:
    owners = [name.strip() for name in os.environ.get(OWNERS, "team:sft-pipeline").split(",") if name.strip()]
    for owner in owners:
        if "@" not in owner and not owner.startswith("team:"):
            raise SpecificationError(f"{OWNERS}: {owner!r} is neither team:NAME nor an e-mail address.")
    return owners

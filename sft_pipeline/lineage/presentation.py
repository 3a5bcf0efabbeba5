"""How assets show themselves in the UI: who owns them, where they are explained, and links to their pages.

One mapping over all assets. What an asset *is* (group, kinds, description, page) stands where it is declared.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import dagster as dg

from sft_pipeline.errors import SpecificationError
from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.provenance.code import PACKAGE
from sft_pipeline.provenance.page_server import address
from sft_pipeline.provenance.store import Store

# Code references are a beta in this Dagster version, which is pinned.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*CodeReference.*")

OWNERS = "SFT_PIPELINE_OWNERS"
"""Variable with the owners of all assets, separated by commas: `team:NAME` or e-mail addresses."""

DOCS_URL = "SFT_PIPELINE_DOCS_URL"
"""Variable with the address at which a browser reaches this project's files, such as that of a branch on a forge."""

STORE_URL = "SFT_PIPELINE_STORE_URL"
"""Variable with the address at which a browser reaches the store's `objects/`, where `sft-pipeline ui` is not it."""


def present(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets with their owners and their page of the documentation.

    Raises:
        SpecificationError: an owner that is neither a team nor an address, or a URL that cannot be shown.
    """
    owners = _owners()
    _link(STORE_URL, "")  # a wrong one is reported now, not after hours of training

    def shown(spec: dg.AssetSpec) -> dg.AssetSpec:
        asset = ASSETS[spec.key.path[-1]]
        docs = {"docs": _link(DOCS_URL, asset.docs), **_code(*asset.source)}
        return spec.merge_attributes(owners=owners, metadata=docs)

    return list(dg.map_asset_specs(shown, assets))


def report_page(path: str, folder: str, store: Store) -> dg.MetadataValue:
    """A page among the files of a stored artifact, as a link.

    It leads to SFT_PIPELINE_STORE_URL, or else to where `sft-pipeline ui` serves the pages of a local store. With a remote
    store and no address it is a path.

    Args:
        path: POSIX path of the page among the artifact's files.
        folder: where these lie: `…/objects/<asset>/<address>/files`.
        store: the store.

    Raises:
        SpecificationError: SFT_PIPELINE_STORE_URL cannot be shown.
    """
    within = "/".join(folder.split("/")[-3:])
    if not os.environ.get(STORE_URL) and not store.remote:
        return dg.MetadataValue.url(f"{address(store.root)}/{quote(f'{within}/{path}')}")
    return _link(STORE_URL, f"{within}/{path}", otherwise=f"{folder}/{path}")


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


def _link(variable: str, path: str, otherwise: str | None = None) -> dg.MetadataValue:
    url = os.environ.get(variable)
    if not url:
        return dg.MetadataValue.path(otherwise or path)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise SpecificationError(f"{variable} must be an http or https address without name and password.")
    return dg.MetadataValue.url(f"{url.rstrip('/')}/{quote(path)}")

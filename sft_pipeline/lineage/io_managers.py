"""How artifacts are stored and read back between assets, and how their pages are linked."""

import os
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlsplit

import dagster as dg

from sft_pipeline.artifacts import Artifact
from sft_pipeline.errors import SpecificationError, StoreError
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.provenance.store import Store
from sft_pipeline.report.page_server import address, server

STORE_URL = "SFT_PIPELINE_STORE_URL"
"""Variable with the address at which a browser reaches the store's `objects/`, where `sft-pipeline ui` is not it."""


class ArtifactIOManager(dg.ConfigurableIOManager):
    """Stores artifacts content-addressed and atomically, and checks every hash when they are read back."""

    project: dg.ResourceDependency[Project]

    def handle_output(self, context: dg.OutputContext, obj: Artifact) -> None:
        """Store `obj` and make it current for its asset and experiment."""
        asset, experiment, store = context.asset_key.path[-1], context.partition_key, self.project.artifacts()
        done = False
        try:
            with user_errors():
                stored = store.put(asset, experiment, obj)
            done = True
        finally:
            # Only now may what the step kept for a restart go: a training that cannot be stored is not lost.
            store.end(asset, experiment, stored=done)
        # A remote store's local folder is a cache of this machine: what is recorded is where the object lies.
        there = f"{store.objects.named(asset, stored.root.parent.name)}/files"
        with user_errors():
            pages = {n: report_page(ref.path, there, store) for n, ref in stored.files.items() if n.endswith(".html")}
            if (pages or asset == "release") and (sheet := experiment_page(experiment, store)):
                pages["experiment"] = sheet
        uri = there if "://" in there else Path(there).as_uri()
        context.add_output_metadata({"folder": dg.MetadataValue.path(there), "dagster/uri": uri, **pages})

    def load_input(self, context: dg.InputContext) -> Artifact:
        """The current artifact of the upstream asset, as the type that the consumer declares."""
        asset = context.asset_key.path[-1]
        with user_errors():
            return self.project.artifacts().get(asset, context.asset_partition_key, context.dagster_type.typing_type)


def serve_pages(store: Store) -> str:
    """Serve a local store's pages from this process, where nobody does and no address is set, so that their links open.

    `sft-pipeline ui` sets one and serves them itself; a code server that was started in any other way serves them from here.

    Returns:
        Why they are not served; empty where they are, or where the links lead elsewhere.
    """
    if os.environ.get(STORE_URL) or store.remote or store.root in _serving:
        return ""
    try:
        pages = server(store.root)
    except StoreError as error:
        return str(error)
    threading.Thread(target=pages.serve_forever, name="stored pages", daemon=True).start()
    _serving[store.root] = pages
    return ""


_serving: dict[Path, ThreadingHTTPServer] = {}


def report_page(path: str, folder: str, store: Store) -> dg.MetadataValue:
    """A page among the files of a stored artifact, as a link.

    It leads to SFT_PIPELINE_STORE_URL, or else to where `sft-pipeline ui` or the code server serves the pages of a local
    store. With a remote store and no address it is a path.

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
    return link(STORE_URL, f"{within}/{path}", otherwise=f"{folder}/{path}")


def experiment_page(experiment: str, store: Store) -> dg.MetadataValue | None:
    """The page of the whole experiment, where the package's own server serves the pages: no other makes it on demand."""
    named = os.environ.get(STORE_URL, "").rstrip("/")
    if store.remote:
        return None
    own = address(store.root)
    if named and not named.endswith(f"/{own.rpartition('/')[2]}"):
        return None
    return dg.MetadataValue.url(f"{named or own}/experiments/{quote(experiment)}.html")


def link(variable: str, path: str, otherwise: str | None = None) -> dg.MetadataValue:
    """`path` below the address that `variable` holds, or without one as a path (`otherwise`, where given)."""
    url = os.environ.get(variable)
    if not url:
        return dg.MetadataValue.path(otherwise or path)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise SpecificationError(f"{variable} must be an http or https address without name and password.")
    return dg.MetadataValue.url(f"{url.rstrip('/')}/{quote(path)}")

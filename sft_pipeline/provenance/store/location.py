"""Where the store lies: a local folder, or a URL and the local folder to work in."""

import os
from pathlib import Path

from sft_pipeline.errors import StoreError
from sft_pipeline.provenance.hashing import hash_bytes
from sft_pipeline.specification import project_root

STORE = "SFT_PIPELINE_STORE"
"""Variable that names the store: a folder, or a URL such as s3://bucket/prefix."""

WORK = "SFT_PIPELINE_WORK"
"""Variable that names the local folder beside a remote store: work folders, locks, scratch and cached objects."""

CACHE = "SFT_PIPELINE_CACHE"
"""Variable that names the folder for what can be rebuilt, such as embedded base models."""


def default_store() -> Path | str:
    """What SFT_PIPELINE_STORE names, or `store/` in the project's root.

    Raises:
        StoreError: it is a URL that holds credentials.
    """
    named = os.environ.get(STORE)
    if named and is_url(named):
        return checked_url(named)
    return folder(STORE) or project_root() / "store"


def folder(variable: str) -> Path | None:
    """The folder that an environment variable names, if it is set."""
    named = os.environ.get(variable)
    return Path(named).expanduser().resolve() if named else None


def is_url(location: str) -> bool:
    """Whether a location is a URL and not a local path."""
    return "://" in location


def checked_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        StoreError: it names a local folder; or it may hold credentials, which would show in metadata and messages. The
            error does not repeat it then.
    """
    if any(mark in url for mark in "@?#"):
        raise StoreError(
            f"the URL in {STORE} holds a '@', '?' or '#': it names a place only. Give user and password, keys and "
            "endpoint by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)."
        )
    if url.startswith(("file:", "local:")):
        raise StoreError(f"{STORE} is {url}: for a local folder give the folder's path, without {url.split('/')[0]}//.")
    return url.rstrip("/")


def work_folder(url: str) -> Path:
    """The local folder for a remote store: one per URL, below SFT_PIPELINE_WORK or `work/` in the project's root."""
    return (folder(WORK) or project_root() / "work") / hash_bytes(url.encode())[:12]

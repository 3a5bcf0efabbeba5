"""Publishes a release on a hub, whole or not at all.

The files are uploaded first and appear with one commit at the end. `upload_folder` would commit in several steps once
hf_xet is installed, so that a break would leave half a release; `create_commit` uploads the same way and commits once.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sft_pipeline.errors import PipelineError
from sft_pipeline.provenance.hashing import files_below, hash_file
from sft_pipeline.provenance.secrets import without_credentials

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

TIMEOUT = 60.0
"""Seconds without an answer to a question about the repository."""

HUBS_OWN = ".gitattributes"
"""The hub's own file, which says which files are large: it makes and changes it."""


class PushError(PipelineError):
    """A release could not be published."""


def push(folder: Path, repo: str, *, revision: str = "main", public: bool = False) -> str:
    """Have the revision of a hub's model repository hold exactly the files of `folder`; returns the commit's address.

    A repository that is missing is made, private unless `public`. The token is that of HF_TOKEN or of `hf auth login`, the
    hub that of HF_ENDPOINT. What the hub then lists is compared with the folder, file by file.

    Args:
        folder: the release.
        repo: OWNER/NAME.
        revision: a branch, which is made where it is missing.
        public: whether the repository may be public.

    Raises:
        PushError: the hub refuses or does not answer, or lists other files afterwards.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    api = HfApi()
    names = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
    with _reaching(repo):
        api.create_repo(repo, private=not public, exist_ok=True)
        info = api.model_info(repo, timeout=TIMEOUT)
        if not public and info.private is False:
            raise PushError(f"{repo} exists and is public: make it private, name another one, or give --public.")
        if revision != "main":
            api.create_branch(repo, branch=revision, exist_ok=True)
        there = set(api.list_repo_files(repo, revision=revision)) - {HUBS_OWN}
        operations = [CommitOperationDelete(name) for name in sorted(there - names.keys())]
        added = [CommitOperationAdd(name, path) for name, path in names.items()]
        title = f"Release {folder.name}"
        commit = api.create_commit(repo, [*operations, *added], commit_message=title, revision=revision)
        entries = api.list_repo_tree(repo, recursive=True, revision=commit.oid)
        listed = {entry.path: entry for entry in entries if isinstance(entry, RepoFile) and entry.path != HUBS_OWN}
    wrong = sorted(names.keys() ^ listed.keys())
    wrong += [name for name, entry in listed.items() if name in names and not _same(entry, names[name])]
    if wrong:
        raise PushError(
            f"{repo} does not hold what was pushed: {', '.join(wrong[:5])}. Push again, and verify a download."
        )
    return str(commit.commit_url)


def _same(entry: "RepoFile", path: Path) -> bool:
    """Whether the hub's hash of a file is that of the local one: SHA-256 of a large file, git's of a small one."""
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == hash_file(path))
    content = path.read_bytes()
    return bool(entry.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest())


@contextmanager
def _reaching(repo: str) -> Iterator[None]:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    unchanged = "Nothing was published: files appear with the last step alone."
    again = "Push again; what was uploaded already is not uploaded twice."
    try:
        yield
    except HFValidationError as error:
        raise PushError(f"{repo!r} is no name of a repository: {error}") from error
    except OfflineModeIsEnabled as error:
        raise PushError(f"{repo} cannot be reached: HF_HUB_OFFLINE is set.") from error
    except (HfHubHTTPError, httpx2.HTTPError, OSError, RuntimeError, ValueError) as error:
        # An upload of a large file that fails is wrapped in an error of its own.
        cause = error if isinstance(error, HfHubHTTPError) else error.__cause__
        response = getattr(cause, "response", None)
        if response is None:
            text = without_credentials(cause or error).rstrip(".")
            raise PushError(f"{repo}: the upload broke off: {text}. {unchanged} {again}") from error
        wait = response.headers.get("retry-after", "")
        hint = {
            401: "The hub does not accept the token: set HF_TOKEN to one with write access.",
            403: "The token may not write there: set HF_TOKEN to one with write access to this repository.",
            404: "There is no such owner, or the token may not see it.",
            429: f"The hub asks to wait{f' {wait} s' if wait.isdecimal() else ''}; push again later.",
        }.get(response.status_code, again)
        raise PushError(f"{repo}: the hub answered {response.status_code}. {hint} {unchanged}") from error

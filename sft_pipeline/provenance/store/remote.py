"""Objects and pointers behind a URL that fsspec opens, such as S3-compatible storage.

    <url>/objects/<asset>/<address>/files/…, artifact.json   written in this order, never changed
    <url>/pointers/<asset>/<experiment>.json                 one small object, replaced whole

There is no rename to make an object appear whole; instead nothing names it before its last byte is there. Reading
downloads into a local cache with the layout of a local store. The cache is never believed: what lies there is hashed at
every read, and what is damaged is downloaded again. Where the remote object is what is damaged, a mark in the cached one
has it uploaded again: sizes alone would say that it is there, and no client hashes what lies on the server.

Connection errors, throttling and errors of the server (5xx) are tried again by the client library, five times with
growing pauses (botocore; AWS_MAX_ATTEMPTS changes it). Anything else fails at once: a second try would not help.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sft_pipeline.artifacts import Artifact
from sft_pipeline.errors import CorruptArtifactError, PipelineError, StoreError
from sft_pipeline.provenance.store.local import LocalObjects, check_description, damage, read_description
from sft_pipeline.provenance.store.work_folders import Work

A = TypeVar("A", bound=Artifact)

DAMAGED = "remote_is_damaged"
"""File beside a cached object whose remote one was found damaged."""

PARALLEL = 4
"""Files of an artifact that are transferred at a time; a large one is held in memory in parts of 50 MB."""


class RemoteObjects:
    """The objects and pointers below a URL, and the cache of objects in a local folder."""

    def __init__(self, url: str, work: Work):
        self._url = url
        self._work = work
        self._cache = LocalObjects(work)

    def named(self, asset: str, address: str) -> str:
        """Where an object lies, for people."""
        return f"{self._url}/objects/{asset}/{address}"

    def write(self, asset: str, address: str, content: bytes, artifact: Artifact) -> Path:
        """Make the object; returns the local folder of its files.

        What was read from the store and is handed on unchanged is only looked for, not uploaded again, unless the remote
        object was found damaged.

        Raises:
            StoreError: the store or the cache cannot be written.
        """
        files = self._cache.write(asset, address, content, artifact)
        damaged = files.with_name(DAMAGED)
        with self._talking("written") as (fs, base):
            there = f"{base}/objects/{asset}/{address}"
            if artifact.root != files or damaged.exists() or not self._complete(fs, there, artifact):
                names = [ref.path for ref in artifact.files.values()]
                if names:
                    local, remote = [str(files / name) for name in names], [f"{there}/files/{name}" for name in names]
                    fs.put(local, remote, batch_size=PARALLEL)
            # Written even when it is there: gc then sees that the object is not an old one.
            fs.pipe_file(f"{there}/artifact.json", content)
        damaged.unlink(missing_ok=True)
        return files

    def open(self, asset: str, address: str, kind: type[A], *, cached: bool = True) -> A:
        """The object as an artifact of type `kind`, every file of it in the cache and checked against its hash.

        Args:
            asset: the asset.
            address: the object.
            kind: type of the artifact.
            cached: False has everything downloaded and checked, whatever the cache holds.

        Raises:
            StoreError: the store cannot be read, or the cache cannot be written.
            CorruptArtifactError: a file of the remote object is missing or is not what was stored.
        """
        if cached:
            try:
                return self._cache.open(asset, address, kind)
            except CorruptArtifactError:
                pass  # not there yet, or damaged: either way the remote object decides
        folder = self._work.new_folder("download-")
        try:
            content, artifact = self._download(asset, address, kind, folder)
            files = self._cache.write(asset, address, content, artifact)
        except CorruptArtifactError:
            place = self._cache.place(asset, address)
            if place.is_dir():
                with self._work.writing():
                    (place / DAMAGED).touch()
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return artifact.model_copy(update={"root": files})

    def describe(self, asset: str, address: str, kind: type[A]) -> A:
        """The object as an artifact of type `kind`; its files are neither fetched nor checked."""
        return read_description(self._description(asset, address), kind, self._work.root)

    def upstream(self, asset: str, address: str) -> dict[str, str]:
        """Versions of what an object was made from, by asset."""
        return json.loads(self._description(asset, address))["upstream"]

    def pointer_name(self, asset: str, experiment: str) -> str:
        """Where a pointer lies, for people."""
        return f"{self._url}/pointers/{asset}/{experiment}.json"

    def pointer(self, asset: str, experiment: str) -> bytes | None:
        """The pointer's bytes, or None where there is none."""
        with self._talking("read") as (fs, base):
            try:
                return fs.cat_file(f"{base}/pointers/{asset}/{experiment}.json")
            except FileNotFoundError as error:
                if "bucket does not exist" in str(error):  # not the same as an empty store
                    raise
                return None

    def swap_pointer(self, asset: str, experiment: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace the pointer by what `change` makes of it. Of two writers at once the last one's stays, whole."""
        text = change(self.pointer(asset, experiment))
        with self._talking("written") as (fs, base):
            fs.pipe_file(f"{base}/pointers/{asset}/{experiment}.json", text)

    def pointers(self) -> Iterator[tuple[str, str]]:
        """Asset and experiment of every pointer."""
        with self._talking("read") as (fs, base):
            names = fs.find(f"{base}/pointers")
        for name in sorted(names):
            asset, file = name.split("/")[-2:]
            yield asset, file.removesuffix(".json")

    def listing(self) -> dict[tuple[str, str], dict[str, int]]:
        """Size of every remote file by its path, by asset and address of its object."""
        with self._talking("read") as (fs, base):
            found = fs.find(f"{base}/objects", detail=True)
            start = len(fs._strip_protocol(f"{base}/objects")) + 1
        objects: dict[tuple[str, str], dict[str, int]] = {}
        for path, info in found.items():
            asset, address, _ = path[start:].split("/", 2)
            objects.setdefault((asset, address), {})[path] = info["size"]
        return objects

    def modified(self, paths: list[str]) -> datetime:
        """When the last of the remote files was written, by the server's clock."""
        with self._talking("read") as (fs, _):
            return max(fs.modified(path) for path in paths)

    def pointers_modified(self) -> datetime:
        """When the last pointer was written, by the server's clock."""
        with self._talking("read") as (fs, base):
            return max(fs.modified(path) for path in fs.find(f"{base}/pointers"))

    def remove(self, paths: list[str]) -> None:
        """Remove remote files, the description first: what is left of a gc that was killed is no object."""
        with self._talking("written") as (fs, _):
            for path in sorted(paths, key=lambda path: not path.endswith("/artifact.json")):
                fs.rm_file(path)

    def _download(self, asset: str, address: str, kind: type[A], folder: Path) -> tuple[bytes, A]:
        content = self._description(asset, address)
        artifact = read_description(content, kind, folder)
        name = self.named(asset, address)
        with self._talking("read") as (fs, base):
            refs = [ref.path for ref in artifact.files.values()]
            remote = [f"{base}/objects/{asset}/{address}/files/{path}" for path in refs]
            local = [str(artifact.root / path) for path in refs]
            artifact.root.mkdir()
            try:
                if refs:
                    fs.get(remote, local, batch_size=PARALLEL)
            except FileNotFoundError as error:
                raise CorruptArtifactError(f"{name}: a file is missing from the remote store: {error}") from error
        if problem := damage(artifact):
            raise CorruptArtifactError(
                f"{problem.replace(str(folder), name)}; this is the remote object, not the cache"
            )
        return content, artifact

    def _description(self, asset: str, address: str) -> bytes:
        name = f"{self.named(asset, address)}/artifact.json"
        with self._talking("read") as (fs, base):
            try:
                content = fs.cat_file(f"{base}/objects/{asset}/{address}/artifact.json")
            except FileNotFoundError as error:
                raise CorruptArtifactError(f"{name} is missing from the remote store") from error
        check_description(content, address, name)
        return content

    def _complete(self, fs: Any, there: str, artifact: Artifact) -> bool:
        sizes = {path.split(f"{there}/", 1)[1]: info["size"] for path, info in fs.find(there, detail=True).items()}
        return all(sizes.get(f"files/{ref.path}") == ref.bytes for ref in artifact.files.values())

    @contextmanager
    def _talking(self, what: str) -> Iterator[tuple[Any, str]]:
        """The file system and the path of the store in it; its errors become ours, with what to do."""
        try:
            from fsspec.core import url_to_fs

            yield url_to_fs(self._url, use_listings_cache=False)
        except PipelineError:
            raise
        except ImportError as error:
            raise StoreError(
                f"{self._url}: {error}. For S3 install the extra: pip install 'sft-pipeline[s3]'"
            ) from error
        except Exception as error:  # each file system has errors of its own; the cause stays attached
            raise StoreError(
                f"the artifact store {self._url} cannot be {what}: {type(error).__name__}: {error}. Check that the "
                "endpoint answers (AWS_ENDPOINT_URL), the bucket exists and the credentials in the environment allow it; "
                "then materialize again, nothing that was stored is lost."
            ) from error

"""Objects and pointers in a local folder: renamed into place, flushed to disk, hashed at every read."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from sft_pipeline.artifacts import Artifact
from sft_pipeline.errors import CorruptArtifactError, StoreError
from sft_pipeline.provenance.files import flush, write
from sft_pipeline.provenance.hashing import hash_bytes, hash_file
from sft_pipeline.provenance.locks import lock
from sft_pipeline.provenance.store.work_folders import Work

A = TypeVar("A", bound=Artifact)


class LocalObjects:
    """The objects and pointers below a folder."""

    def __init__(self, work: Work):
        self._work = work
        self._root = work.root

    def place(self, asset: str, address: str) -> Path:
        """Folder of an object, with `artifact.json` and `files/`."""
        return self._root / "objects" / asset / address

    def named(self, asset: str, address: str) -> str:
        """Where an object lies, for people."""
        return str(self.place(asset, address))

    def write(self, asset: str, address: str, content: bytes, artifact: Artifact) -> Path:
        """Make the object unless it is there and sound; returns the folder of its files.

        A damaged one is moved to `scratch/` for whoever wants to look, until gc.

        Raises:
            StoreError: the store cannot be written.
        """
        place = self.place(asset, address)
        with self._work.writing():
            if artifact.root == place / "files":
                return artifact.root
            if place.exists() and not self._sound(place, artifact):
                self.set_aside(asset, address)
            if not place.exists():
                self._write_object(place, artifact, content)
        return place / "files"

    def set_aside(self, asset: str, address: str) -> None:
        """Move a damaged object to `scratch/`; another process may have done it already."""
        try:
            os.rename(self.place(asset, address), self._work.new_folder("damaged-"))
        except FileNotFoundError:
            return

    def open(self, asset: str, address: str, kind: type[A], *, cached: bool = True) -> A:
        """The object as an artifact of type `kind`, every file of it checked against its hash.

        Raises:
            CorruptArtifactError: a file is missing or is not what was stored.
        """
        place = self.place(asset, address)
        content = self._description(asset, address)
        artifact = read_description(content, kind, place)
        if problem := damage(artifact):
            raise CorruptArtifactError(problem)
        return artifact

    def describe(self, asset: str, address: str, kind: type[A]) -> A:
        """The object as an artifact of type `kind`; its files are neither fetched nor checked."""
        return read_description(self._description(asset, address), kind, self.place(asset, address))

    def upstream(self, asset: str, address: str) -> dict[str, str]:
        """Versions of what an object was made from, by asset."""
        return json.loads(self._description(asset, address))["upstream"]

    def pointer_name(self, asset: str, experiment: str) -> str:
        """Where a pointer lies, for people."""
        return str(self._pointer_path(asset, experiment))

    def pointer(self, asset: str, experiment: str) -> bytes | None:
        """The pointer's bytes, or None where there is none."""
        try:
            return self._pointer_path(asset, experiment).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"the artifact store {self._root} cannot be read: {error}") from error

    def swap_pointer(self, asset: str, experiment: str, change: Callable[[bytes | None], bytes]) -> None:
        """Replace the pointer by what `change` makes of it: one process at a time, and whole or not at all."""
        target = self._pointer_path(asset, experiment)
        with self._work.writing():
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target.parent / ".lock", "a") as file:
                lock(file)
                write(target, change(self.pointer(asset, experiment)))

    def pointers(self) -> Iterator[tuple[str, str]]:
        """Asset and experiment of every pointer."""
        for path in sorted(self._root.glob("pointers/*/[!.]*.json")):
            yield path.parent.name, path.stem

    def objects(self) -> Iterator[tuple[str, str]]:
        """Asset and address of every object."""
        for path in sorted(self._root.glob("objects/*/*")):
            yield path.parent.name, path.name

    def _write_object(self, place: Path, artifact: Artifact, content: bytes) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = self._work.new_folder()
        try:
            new = folder / "object"
            new.mkdir()
            if artifact.root.is_relative_to(self._root):
                os.rename(artifact.root, new / "files")
            else:
                shutil.copytree(artifact.root, new / "files")
            (new / "artifact.json").write_bytes(content)
            for path in sorted(new.rglob("*"), reverse=True):
                if path.is_file():
                    path.chmod(0o444)
                flush(path)
            flush(new)
            try:
                os.rename(new, place)
            except OSError:
                # Another writer of the same content was faster; anything else is an error.
                if not place.exists():
                    raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        flush(place.parent)

    def _description(self, asset: str, address: str) -> bytes:
        path = self.place(asset, address) / "artifact.json"
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CorruptArtifactError(f"{path}: {error.strerror}") from error
        check_description(content, address, str(path))
        return content

    def _sound(self, place: Path, artifact: Artifact) -> bool:
        try:
            content = (place / "artifact.json").read_bytes()
        except OSError:
            return False
        return hash_bytes(content) == place.name and not damage(artifact.model_copy(update={"root": place / "files"}))

    def _pointer_path(self, asset: str, experiment: str) -> Path:
        return self._root / "pointers" / asset / f"{experiment}.json"


def check_description(content: bytes, address: str, name: str) -> None:
    """Check an object's `artifact.json` against its address.

    Raises:
        CorruptArtifactError: it is not what was stored.
    """
    if hash_bytes(content) != address:
        raise CorruptArtifactError(f"{name} was changed after it was stored (its hash is not {address[:12]}…)")


def read_description(content: bytes, kind: type[A], place: Path) -> A:
    """The artifact that `artifact.json` describes, with its files in `place`/files.

    Raises:
        StoreError: another version of the code wrote it, or it names a file outside its folder.
    """
    root = place / "files"
    try:
        artifact = kind.model_validate(json.loads(content) | {"root": root})
    except ValueError as error:
        raise StoreError(
            f"{place}: stored by another version of the code, which this one cannot read: {error}"
        ) from error
    for ref in artifact.files.values():
        if not (root / ref.path).resolve().is_relative_to(root.resolve()):
            raise StoreError(f"{place}: names the file {ref.path!r}, which lies outside the artifact")
    return artifact


def damage(artifact: Artifact) -> str:
    """What is wrong with the artifact's files, or an empty string."""
    for ref in artifact.files.values():
        path = artifact.root / ref.path
        try:
            if path.stat().st_size != ref.bytes or hash_file(path) != ref.sha256:
                return f"{path} was changed after it was stored (its SHA-256 is not {ref.sha256[:12]}…)"
        except OSError as error:
            return f"{path}: {error.strerror}"
    return ""

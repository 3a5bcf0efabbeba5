"""The artifact store: immutable content-addressed folders, and a pointer per asset and experiment.

    objects/<asset>/<address>/artifact.json, files/…   never changed once they are there
    pointers/<asset>/<experiment>.json                 which object is current
    work/<asset>/<experiment>/<key>/                   a step's own folder, kept until its result is stored
    scratch/                                           what is being written

A reader sees an object whole or not at all: it is written under `scratch/`, flushed to disk, renamed into place, and
only then does the pointer move, by a rename too. Every read checks every hash.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, TypeVar

from sft_pipeline.artifacts import Artifact, Frozen
from sft_pipeline.errors import CorruptArtifactError, StoreError
from sft_pipeline.provenance.durable import flush
from sft_pipeline.provenance.hashing import canonical_json, hash_bytes, hash_file
from sft_pipeline.specification import project_root

A = TypeVar("A", bound=Artifact)

_held: dict[tuple[Path, str, str], TextIO] = {}
"""Locks of the work folders that this process holds, by store, asset and experiment."""


class Pointer(Frozen):
    """What is current for an asset and an experiment."""

    asset: str
    experiment: str
    type: str
    address: str
    digest: str
    written: str


def default_store() -> Path:
    """SFT_PIPELINE_STORE, or `store/` in the project's root."""
    named = os.environ.get("SFT_PIPELINE_STORE")
    return Path(named).expanduser().resolve() if named else project_root() / "store"


class Store:
    """Reads and writes artifacts below one folder."""

    def __init__(self, root: Path):
        self.root = root

    @property
    def cache(self) -> Path:
        """Folder for what can be made again: SFT_PIPELINE_CACHE, or `cache/` in the store."""
        named = os.environ.get("SFT_PIPELINE_CACHE")
        return Path(named).expanduser().resolve() if named else self.root / "cache"

    # ------------------------------------------------------------------------------------------------------- writing

    def new_folder(self, prefix: str = "") -> Path:
        """An empty folder on the store's own file system, for files that `put` will take over.

        Raises:
            StoreError: the store cannot be written.
        """
        parent = self.root / "scratch"
        with self._writing():
            parent.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(dir=parent, prefix=prefix))

    def begin(self, asset: str, experiment: str, key: str, say: Callable[[str], None]) -> Path:
        """Take the step's own folder, which one process holds at a time, until `end`.

        It outlives a killed process, so that the next one with the same key can go on where that stopped. The kernel
        gives the lock back whatever happens to its holder.

        Args:
            asset: what is being made.
            experiment: for which experiment.
            key: hash of everything the result depends on; another key is another folder.
            say: told when another process holds the folder and this one waits.

        Raises:
            StoreError: the store cannot be written.
        """
        parent = self.root / "work" / asset / experiment
        with self._writing():
            parent.mkdir(parents=True, exist_ok=True)
            lock = open(parent.with_name(f"{experiment}.lock"), "w")  # noqa: SIM115 - `end` closes it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is making {asset} of {experiment}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _held[self.root, asset, experiment] = lock
        folder = parent / key[:16]
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def end(self, asset: str, experiment: str, *, stored: bool) -> None:
        """Give the step's folder back; once the result is stored, all that was kept for a restart goes."""
        if stored:
            shutil.rmtree(self.root / "work" / asset / experiment, ignore_errors=True)
        if lock := _held.pop((self.root, asset, experiment), None):
            lock.close()

    def put(self, asset: str, experiment: str, artifact: A) -> A:
        """Store the artifact and make it current; returns it as it lies in the store.

        The same content is stored once. An object that is there already but damaged is replaced; the damaged one is
        kept under `scratch/` for whoever wants to look.

        Raises:
            StoreError: the store cannot be written.
        """
        content = canonical_json(artifact.model_dump(mode="json")).encode()
        address = hash_bytes(content)
        place = self.root / "objects" / asset / address
        with self._writing():
            if artifact.root != place / "files":
                if place.exists() and not self._sound(place, artifact):
                    os.rename(place, tempfile.mkdtemp(dir=self.root / "scratch", prefix="damaged-"))
                if not place.exists():
                    self._write_object(place, artifact, content)
            pointer = Pointer(
                asset=asset,
                experiment=experiment,
                type=type(artifact).__name__,
                address=address,
                digest=artifact.digest,
                written=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            self._write_pointer(pointer)
        return artifact.model_copy(update={"root": place / "files"})

    def _write_object(self, place: Path, artifact: Artifact, content: bytes) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = self.new_folder()
        try:
            new = folder / "object"
            new.mkdir()
            if artifact.root.is_relative_to(self.root):
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

    def _write_pointer(self, pointer: Pointer) -> None:
        target = self._pointer_path(pointer.asset, pointer.experiment)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".new")
        with os.fdopen(handle, "w") as stream:
            stream.write(pointer.model_dump_json(indent=2) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, target)
        flush(target.parent)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the artifact store {self.root} cannot be written: {error.strerror or error}. Give it space and write "
                "permission, or set SFT_PIPELINE_STORE to another folder."
            ) from error

    # ------------------------------------------------------------------------------------------------------- reading

    def pointer(self, asset: str, experiment: str) -> Pointer | None:
        """What is current, or None when the asset was never materialized for the experiment."""
        try:
            text = self._pointer_path(asset, experiment).read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"the artifact store {self.root} cannot be read: {error}") from error
        try:
            return Pointer.model_validate_json(text)
        except ValueError as error:
            raise CorruptArtifactError(
                f"{self._pointer_path(asset, experiment)} is damaged; materialize {asset} again: {error}"
            ) from error

    def get(self, asset: str, experiment: str, kind: type[A]) -> A:
        """The current artifact, every file of it checked against its hash.

        Raises:
            StoreError: it was never materialized, or is of another type.
            CorruptArtifactError: a file is missing or is not what was stored.
        """
        pointer = self.pointer(asset, experiment)
        if pointer is None:
            raise StoreError(f"{asset} of experiment {experiment} was never materialized; materialize it first.")
        if pointer.type != kind.__name__:
            raise StoreError(f"{asset} of experiment {experiment} is a {pointer.type}, not a {kind.__name__}.")
        place = self.root / "objects" / asset / pointer.address
        try:
            content = (place / "artifact.json").read_bytes()
        except OSError as error:
            raise CorruptArtifactError(
                f"{place / 'artifact.json'}: {error.strerror}; materialize {asset} again."
            ) from error
        if hash_bytes(content) != pointer.address:
            raise CorruptArtifactError(
                f"{place / 'artifact.json'} was changed after it was stored (its hash is not {pointer.address[:12]}…); "
                f"materialize {asset} again."
            )
        artifact = kind.model_validate(json.loads(content) | {"root": place / "files"})
        if problem := _damage(artifact):
            raise CorruptArtifactError(f"{problem}; materialize {asset} again.")
        return artifact

    def _sound(self, place: Path, artifact: Artifact) -> bool:
        try:
            content = (place / "artifact.json").read_bytes()
        except OSError:
            return False
        return hash_bytes(content) == place.name and not _damage(artifact.model_copy(update={"root": place / "files"}))

    def _pointer_path(self, asset: str, experiment: str) -> Path:
        return self.root / "pointers" / asset / f"{experiment}.json"


def _damage(artifact: Artifact) -> str:
    """What is wrong with the artifact's files, or an empty string."""
    for ref in artifact.files.values():
        path = artifact.root / ref.path
        try:
            if path.stat().st_size != ref.bytes or hash_file(path) != ref.sha256:
                return f"{path} was changed after it was stored (its SHA-256 is not {ref.sha256[:12]}…)"
        except OSError as error:
            return f"{path}: {error.strerror}"
    return ""

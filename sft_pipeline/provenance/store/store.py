"""The artifact store: immutable content-addressed objects, and a pointer per asset and experiment.

    objects/<asset>/<address>/artifact.json, files/…   never changed once they are there
    pointers/<asset>/<experiment>.json                 which object is current, and which were before

A reader sees an object whole or not at all: only when all of it is on the disk (or in the bucket) does the pointer move.
Every read checks every hash. In a local folder that is done by rename and fsync (local.py), behind a URL by the order of
writing (remote.py); both work in a local folder with locks of its own (work.py); garbage.py removes what nothing refers
to.
"""

import shutil
from pathlib import Path
from typing import TypeVar

from sft_pipeline.artifacts import Artifact
from sft_pipeline.errors import CorruptArtifactError, StoreError
from sft_pipeline.provenance.hashing import canonical_json, hash_bytes
from sft_pipeline.provenance.store import location
from sft_pipeline.provenance.store.local import LocalObjects
from sft_pipeline.provenance.store.location import default_store
from sft_pipeline.provenance.store.pointer import Pointer, Version
from sft_pipeline.provenance.store.remote import RemoteObjects
from sft_pipeline.provenance.store.work_folders import Work, check_names

__all__ = ["Pointer", "Store", "Version", "default_store"]

A = TypeVar("A", bound=Artifact)


class Store(Work):
    """Reads and writes artifacts in a local folder or behind a URL.

    Args:
        place: a folder, or a URL that fsspec opens, such as s3://bucket/prefix.

    Raises:
        StoreError: the URL holds credentials.
    """

    root: Path
    """The local folder: the store itself, or what a remote one works in and caches to."""

    objects: LocalObjects | RemoteObjects

    def __init__(self, place: Path | str):
        if location.is_url(str(place)):
            url = location.checked_url(str(place))
            super().__init__(location.work_folder(url), location.WORK)
            self.objects = RemoteObjects(url, self)
        else:
            super().__init__(Path(place))
            self.objects = LocalObjects(self)

    @property
    def remote(self) -> bool:
        """Whether the artifacts lie behind a URL, and their local paths are those of a cache."""
        return isinstance(self.objects, RemoteObjects)

    def put(self, asset: str, experiment: str, artifact: A) -> A:
        """Store the artifact and make it current; returns it as it lies in the store, or in the cache of a remote one.

        The same content is stored once. An object that is there already but damaged is replaced. A scratch folder that
        holds the artifact is taken over: it is gone afterwards, also where an equal object lay in the store already.

        Raises:
            StoreError: the store cannot be written, or the artifact's files are gone.
        """
        check_names(asset, experiment)
        if not artifact.root.is_dir():  # and no second store may come to be where a moved or unmounted one was
            raise StoreError(
                f"the files of {asset} are no longer in {artifact.root}. If the folder {self.root} was moved or its disk "
                "went away, bring it back, then materialize again."
            )
        content = canonical_json(artifact.model_dump(mode="json")).encode()
        address = hash_bytes(content)
        with self.writing(), self.locked():
            files = self.objects.write(asset, address, content, artifact)
            stored = artifact.model_copy(update={"root": files})
            self._point(asset, experiment, stored, address)
            if artifact.root.is_relative_to(self.root / "scratch"):
                shutil.rmtree(artifact.root, ignore_errors=True)
        return stored

    def pointer(self, asset: str, experiment: str) -> Pointer | None:
        """What is current, or None when the asset was never materialized for the experiment.

        Raises:
            CorruptArtifactError: the pointer is damaged.
        """
        check_names(asset, experiment)
        text = self.objects.pointer(asset, experiment)
        if text is None:
            return None
        try:
            return Pointer.read(text, self.objects.pointer_name(asset, experiment))
        except CorruptArtifactError as error:
            raise CorruptArtifactError(f"{error}; materialize {asset} again.") from error

    def get(self, asset: str, experiment: str, kind: type[A], *, cached: bool = True) -> A:
        """The current artifact, every file of it checked against its hash.

        Args:
            asset: the asset.
            experiment: the experiment.
            kind: type of the artifact, or one that it derives from.
            cached: False has a remote object downloaded and checked even where the cache holds it.

        Raises:
            StoreError: it was never materialized, or is of another type.
            CorruptArtifactError: a file is missing or is not what was stored.
        """
        pointer, stored = self._pointer_to(asset, experiment, kind)
        try:
            return self.objects.open(asset, pointer.address, stored, cached=cached)
        except CorruptArtifactError as error:
            back = (
                f" `sft-pipeline restore {experiment} {asset}` shows the versions before it."
                if pointer.previous
                else ""
            )
            raise CorruptArtifactError(f"{error}; materialize {asset} again.{back}") from error

    def describe(self, asset: str, experiment: str, kind: type[A]) -> A:
        """The current artifact as its description has it; its files are neither fetched nor checked.

        For those who look often and need figures and versions alone. What is used must be read by `get`.

        Raises:
            StoreError: it was never materialized, or is of another type.
            CorruptArtifactError: the description is missing or is not what was stored.
        """
        pointer, stored = self._pointer_to(asset, experiment, kind)
        return self.objects.describe(asset, pointer.address, stored)

    def find(self, asset: str, experiment: str, kind: type[A], key: str) -> A | None:
        """An artifact that was made from exactly what `key` is the hash of, with every file checked.

        It is looked for in the asset's history, newest first, and then in that of the other experiments: an edit that is
        taken back, and a specification that shares its beginning with another one, find what was made already.

        Raises:
            StoreError: the store cannot be read.
        """
        others = sorted(name for stored, name in self.objects.pointers() if stored == asset and name != experiment)
        seen: set[str] = set()
        for name in (experiment, *others):
            try:
                pointer = self.pointer(asset, name)
            except CorruptArtifactError:
                continue
            for version in (pointer.current, *pointer.previous) if pointer else ():
                stored = kind.subtypes().get(version.type)
                if version.address in seen or stored is None:
                    continue
                seen.add(version.address)
                try:
                    if self.objects.describe(asset, version.address, stored).key == key:
                        return self.objects.open(asset, version.address, stored)  # type: ignore[return-value]
                except StoreError:
                    continue  # gc has removed it, it is damaged, or other code wrote it
        return None

    def assets(self, experiment: str) -> list[str]:
        """The assets that are stored for an experiment, sorted.

        Raises:
            StoreError: the store cannot be read.
        """
        return sorted({asset for asset, name in self.objects.pointers() if name == experiment})

    def _pointer_to(self, asset: str, experiment: str, kind: type[A]) -> tuple[Pointer, type[A]]:
        pointer = self.pointer(asset, experiment)
        if pointer is None:
            gone = "" if self.remote or self.root.is_dir() else f" There is no artifact store at {self.root}."
            raise StoreError(f"{asset} of experiment {experiment} was never materialized; materialize it first.{gone}")
        stored = kind.subtypes().get(pointer.type)
        if stored is None:
            raise StoreError(f"{asset} of experiment {experiment} is a {pointer.type}, not a {kind.__name__}.")
        return pointer, stored  # type: ignore[return-value]  # a subtype of `kind`

    def versions(self, asset: str, experiment: str) -> list[tuple[Version, str]]:
        """Every version that is remembered, newest first, and what is wrong with it; all files are checked.

        Raises:
            StoreError: the asset was never materialized.
            CorruptArtifactError: the pointer is damaged.
        """
        pointer, _ = self._pointer_to(asset, experiment, Artifact)
        found, types = [], Artifact.subtypes()
        for version in (pointer.current, *pointer.previous):
            try:
                self.objects.open(asset, version.address, types.get(version.type, Artifact), cached=False)
                found.append((version, ""))
            except StoreError as error:
                found.append((version, str(error)))
        return found

    def restore(self, asset: str, experiment: str, kind: type[A], address: str) -> A:
        """Make an earlier version current again, once all of it has been checked.

        Args:
            asset: the asset.
            experiment: the experiment.
            kind: type of the artifact, or one that it derives from.
            address: address of the version, or its beginning.

        Raises:
            StoreError: no version of this asset and experiment, or more than one, has such an address.
            CorruptArtifactError: it is damaged as well, or gc has removed it.
        """
        pointer = self.pointer(asset, experiment)
        versions = (pointer, *pointer.previous) if pointer else ()
        known = {version.address for version in versions if version.address.startswith(address)}
        if len(known) != 1:
            raise StoreError(
                f"{len(known)} versions of {asset} of experiment {experiment} have an address that begins with "
                f"{address!r}; see `sft-pipeline restore {experiment} {asset}` for those that there are."
            )
        _, stored = self._pointer_to(asset, experiment, kind)
        (full,) = known
        with self.writing(), self.locked():
            found = self.objects.open(asset, full, stored, cached=False)
            self._point(asset, experiment, found, full)
        return found

    def _point(self, asset: str, experiment: str, artifact: Artifact, address: str) -> None:
        def change(text: bytes | None) -> bytes:
            try:
                before = Pointer.read(text, "") if text is not None else None
            except CorruptArtifactError:
                before = None  # materializing again is what heals a damaged pointer; its history is lost
            pointer = Pointer.to(artifact, address, asset, experiment, before)
            return pointer.model_dump_json(indent=2).encode() + b"\n"

        self.objects.swap_pointer(asset, experiment, change)

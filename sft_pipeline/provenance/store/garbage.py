"""House-keeping: what in the store nothing refers to, and removing it beside running materializations.

An object is kept when it is current for some asset and experiment, is one of the versions just before that, or is what a
kept one was made from: every figure of a report that can still be read leads back to files that are still there.

No clock decides what goes. Locally a lock does: writers share it from the first byte to the pointer, and gc looks and
moves things out of sight while it holds it alone; a scratch folder belongs to whoever holds its own lock. Where only
age can tell (a work folder that waits for its step to be run again, an upload from another machine), it is counted back
from the newest pointer in the store, not from now, so that a clock that jumps makes nothing old.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sft_pipeline.artifacts import Frozen
from sft_pipeline.errors import CorruptArtifactError
from sft_pipeline.provenance.locks import open_lock, try_lock
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.store.local import LocalObjects
from sft_pipeline.provenance.store.remote import RemoteObjects
from sft_pipeline.provenance.store.work_folders import LOCK, lock_of

KEEP = 3
"""Versions before the current one that keep their files."""

AGE = timedelta(days=7)
"""How long a work folder waits for its step, and how long an upload may take."""


class Garbage(Frozen):
    """Something that nothing refers to."""

    kind: str
    """`object`, `remote object`, `cached object`, `damaged`, `scratch`, `work` or `pointer`."""
    name: str
    bytes: int


def collect(store: Store, *, keep: int = KEEP, age: timedelta = AGE, remove: bool = False) -> list[Garbage]:
    """What nothing refers to; removed as well if `remove` is set.

    Args:
        store: the store.
        keep: versions before the current one that keep their files.
        age: a work folder or remote object that was written to later than this before the newest pointer stays.
        remove: whether to remove what was found.

    Raises:
        CorruptArtifactError: a pointer is damaged, so that nobody can say what it referred to; nothing is removed.
        StoreError: the store cannot be read or written.
    """
    found = []
    if isinstance(store.objects, RemoteObjects):
        found += _remote(store, store.objects, keep, age, remove)
    if not store.root.is_dir():
        return found
    aside: list[Path] = []
    # A look makes nothing. A store without a lock has no writers: nobody has begun yet, or it is a copy to read.
    lock = store.locked(alone=True) if remove or (store.root / LOCK).exists() else nullcontext()
    with store.writing():
        with lock:
            for garbage, path in _local(store, keep, age):
                found.append(garbage)
                if remove:
                    aside.append(_out_of_sight(store, path))
        for path in aside:
            shutil.rmtree(path, ignore_errors=True)
    return found


def referred(store: Store, keep: int) -> set[tuple[str, str]]:
    """Asset and address of every object that is kept.

    Raises:
        CorruptArtifactError: a pointer is damaged.
    """
    known: dict[tuple[str, str, str], str] = {}
    waiting: list[tuple[str, str, str]] = []
    for asset, experiment in store.objects.pointers():
        pointer = store.pointer(asset, experiment)
        if pointer is None:
            continue
        for age, version in enumerate((pointer.current, *pointer.previous)):
            known.setdefault((asset, experiment, version.version), version.address)
            if age <= keep:
                waiting.append((asset, experiment, version.address))
    seen = set()
    while waiting:
        asset, experiment, address = item = waiting.pop()
        if item in seen:
            continue
        seen.add(item)
        try:
            upstream = store.objects.upstream(asset, address)
        except CorruptArtifactError:
            continue  # an earlier version that is gone already, or one that its reader will hear of
        waiting += [
            (n, experiment, known[n, experiment, v]) for n, v in upstream.items() if (n, experiment, v) in known
        ]
    return {(asset, address) for asset, _, address in seen}


def _remote(store: Store, objects: RemoteObjects, keep: int, age: timedelta, remove: bool) -> list[Garbage]:
    found = []
    listing = objects.listing()  # before the pointers: what is uploaded meanwhile is not in it
    kept = referred(store, keep)
    if not kept:
        return []  # without a pointer there is no clock to count back from; an empty store has no garbage
    newest = objects.pointers_modified()
    for (asset, address), files in sorted(listing.items()):
        if (asset, address) in kept or newest - objects.modified(list(files)) < age:
            continue
        if remove:
            if (asset, address) in referred(store, keep):  # checked again: content that was recomputed has come back
                continue
            objects.remove(list(files))
        found.append(Garbage(kind="remote object", name=objects.named(asset, address), bytes=sum(files.values())))
    return found


def _local(store: Store, keep: int, age: timedelta) -> Iterator[tuple[Garbage, Path]]:
    objects = LocalObjects(store)
    kept = referred(store, keep)
    # Scratch comes first: what is removed passes through it.
    for path in sorted(store.root.glob("scratch/*")):
        with _free(path) as free:
            if free:
                yield _garbage(store, "damaged" if path.name.startswith("damaged-") else "scratch", path)
    for path in sorted(store.root.glob("pointers/*/.*.new")):
        yield _garbage(store, "pointer", path)  # its writer is dead: writers hold the lock that is ours now
    for asset, address in objects.objects():
        if (asset, address) not in kept:
            kind = "cached object" if store.remote else "object"
            yield _garbage(store, kind, objects.place(asset, address))
    newest = _newest(store.root / "pointers", store.root / "work")
    for path in sorted(store.root.glob("work/*/*/")):
        with _free(lock_of(path)) as free:
            if free and newest - _newest(path) >= age:
                yield _garbage(store, "work", path)


def _garbage(store: Store, kind: str, path: Path) -> tuple[Garbage, Path]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    size = sum(file.stat().st_size for file in files)
    return Garbage(kind=kind, name=path.relative_to(store.root).as_posix(), bytes=size), path


def _out_of_sight(store: Store, path: Path) -> Path:
    """Move what is garbage below `scratch/`, in an instant; a gc that is killed leaves it for the next one."""
    (store.root / "scratch").mkdir(exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=store.root / "scratch", prefix="removed-"))
    os.rename(path, aside / "it")
    return aside


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Whether nobody holds the lock on `path`; while it is looked at, nobody else gets it."""
    try:
        handle = open_lock(path)
    except FileNotFoundError:
        yield True
        return
    try:
        free = try_lock(handle)
    except OSError:  # a file system that cannot tell: it stays
        free = False
    try:
        yield free
    finally:
        os.close(handle)


def _newest(*folders: Path) -> datetime:
    """When anything below the folders was last written, but not later than now."""
    newest = 0.0
    for folder in folders:
        for place, _, names in os.walk(folder):
            for path in (place, *(os.path.join(place, name) for name in names)):
                try:
                    newest = max(newest, os.stat(path).st_mtime)
                except FileNotFoundError:  # a step at work has removed it meanwhile, such as a training a checkpoint
                    continue
    return min(datetime.fromtimestamp(newest, UTC), datetime.now(UTC))

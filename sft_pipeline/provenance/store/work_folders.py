"""The local side of every store: folders to write in, and the locks that keep processes apart.

    work/<asset>/<experiment>/<key>/   a step's own folder, kept until its result is stored
    scratch/                           what is being written
    lock                               shared by writers, taken alone by gc

Locks are flock(2): the kernel gives them back whatever happens to their holder.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from sft_pipeline.errors import StoreError
from sft_pipeline.provenance.locks import lock, open_lock, try_lock
from sft_pipeline.provenance.store.location import CACHE, STORE, folder
from sft_pipeline.specification import NAME

LOCK = "lock"
"""Name of the store's own lock."""


class Held(NamedTuple):
    """The lock of a work folder, and the assets that have to be stored before it is given back."""

    lock: TextIO
    waiting: set[str]


_held: dict[tuple[Path, str, str], Held] = {}
"""Locks of the work folders that this process holds, by store, asset and experiment."""

_scratch: dict[Path, int] = {}
"""Scratch folders of this process, and the open folder that holds each one's lock."""


class Work:
    """A local folder with the work folders, the scratch folders and their locks."""

    def __init__(self, root: Path, variable: str = STORE):
        self.root = root
        self._variable = variable

    @property
    def cache(self) -> Path:
        """Folder for what can be rebuilt: SFT_PIPELINE_CACHE, or `cache/` in the store's local folder."""
        return folder(CACHE) or self.root / "cache"

    def new_folder(self, prefix: str = "") -> Path:
        """An empty folder on the store's own file system, for files that `put` will take over.

        gc leaves it alone while this process, or a child of it, lives.

        Raises:
            StoreError: the store cannot be written.
        """
        for path in [path for path in _scratch if not path.exists()]:
            os.close(_scratch.pop(path))
        with self.writing(), self.locked():
            parent = self.root / "scratch"
            parent.mkdir(exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
            handle = os.open(made, os.O_RDONLY)
            lock(handle, shared=True)
            _scratch[made] = handle
            return made

    def begin(
        self, asset: str, experiment: str, key: str, log: Callable[[str], None], assets: Collection[str] = ()
    ) -> Path:
        """Take the step's own folder, which one process holds at a time, until `end`.

        It outlives a killed process, so that the next one with the same key can resume where that stopped.

        Args:
            asset: what is being made.
            experiment: for which experiment.
            key: hash of everything the result depends on; another key is another folder.
            log: called when another process holds the folder and this one waits.
            assets: all that the step makes, where that is more than `asset`: the folder is given back after the last of
                them, so that no other run stores its own between two of them.

        Raises:
            StoreError: the store cannot be written, or a name is none.
        """
        check_names(asset, experiment)
        parent = self.root / "work" / asset / experiment
        self._remove_dead_scratch()
        with self.writing():
            parent.mkdir(parents=True, exist_ok=True)
            file = open(lock_of(parent), "w")  # noqa: SIM115 - `end` closes it
        lock(file, busy=lambda: log(f"another process is making {asset} of {experiment}; waiting for it"))
        _held[self.root, asset, experiment] = Held(file, {asset, *assets})
        own = parent / key[:16]
        with self.writing():
            own.mkdir(parents=True, exist_ok=True)
        return own

    def end(self, asset: str, experiment: str, *, stored: bool) -> None:
        """Give the step's folder back; once all of the result is stored, all that was kept for a restart goes."""
        check_names(asset, experiment)
        steps = (
            place for place, held in _held.items() if place[::2] == (self.root, experiment) and asset in held.waiting
        )
        place = next(steps, (self.root, asset, experiment))
        held = _held.get(place)
        if held and stored:
            held.waiting.discard(asset)
            if held.waiting:
                return
        if stored:
            shutil.rmtree(self.root / "work" / place[1] / experiment, ignore_errors=True)
        if held:
            del _held[place]
            held.lock.close()

    def unfinished(self, experiment: str) -> dict[str, bool]:
        """Steps of an experiment that began on this machine and are not stored, and whether a process is at work on each.

        Raises:
            StoreError: the name is none.
        """
        check_names(experiment)
        found: dict[str, bool] = {}
        for place in sorted(self.root.glob(f"work/*/{experiment}")):
            with suppress(OSError), os.fdopen(open_lock(lock_of(place))) as file:
                found[place.parent.name] = not try_lock(file, shared=True)
        return found

    def _remove_dead_scratch(self) -> None:
        """Remove what killed steps have left in `scratch/`; damaged objects stay there for whoever wants to look.

        Only while nobody else writes: a folder that was just made is not locked yet.
        """
        if not (self.root / "scratch").is_dir():
            return
        with suppress(OSError), os.fdopen(open_lock(self.root / LOCK, create=True)) as file:
            if not try_lock(file):
                return
            for path in (self.root / "scratch").iterdir():
                if path in _scratch or path.name.startswith("damaged-"):
                    continue
                handle = open_lock(path)
                try:
                    if try_lock(handle):
                        shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(handle)

    @contextmanager
    def locked(self, *, alone: bool = False) -> Iterator[None]:
        """Hold the store's lock: writers share it, gc holds it alone, so that gc never sees half a `put`."""
        self.root.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_lock(self.root / LOCK, create=True)) as file:
            lock(file, shared=not alone)
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn an error of the file system into one that says what to do."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the artifact store {self.root} cannot be written: {error.strerror or error}. Give it space and write "
                f"permission, or set {self._variable} to another folder."
            ) from error


def lock_of(folder: Path) -> Path:
    """The lock file of a work folder, `work/<asset>/<experiment>`; no experiment's name begins with a dot."""
    return folder.with_name(f".{folder.name}.lock")


def check_names(*names: str) -> None:
    """Refuse an asset or experiment whose name would lead out of the store, or to a file that others cannot name.

    Raises:
        StoreError: a name holds anything but letters, digits, dots, dashes and underscores, or begins with a dot.
    """
    for name in names:
        if not NAME.fullmatch(name):
            raise StoreError(
                f"{name!r} cannot be the name of an asset or experiment: it must begin with a letter or digit and hold "
                "only letters, digits, dots, dashes and underscores."
            )

"""Files and folders that are there whole or not at all, whatever happens to the process that writes them."""

import fcntl
import glob
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from sft_pipeline.errors import DataError


def flush(path: Path) -> None:
    """Have the kernel write a file's content, or a folder's entries, to the disk before this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, text: str) -> None:
    """Put `text` in the place of what `path` holds: whoever reads finds the one or the other, never a part of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, "utf-8")
    flush(temporary)
    os.replace(temporary, path)


@contextmanager
def new_folder(folder: Path, left: Collection[str] = ()) -> Iterator[Path]:
    """A folder to write in, which takes the name `folder` when the block ends without an error.

    Nobody finds a part of it under that name. A failed block leaves nothing; a killed process leaves a hidden folder
    beside (`.NAME.PROCESS.partial`), which holds nothing up and which the next run into `folder` removes.

    Args:
        folder: what is made; an empty folder may be there already.
        left: names of files that a failed run leaves in `folder` and the next one replaces.

    Raises:
        DataError: `folder` holds something else, or is no folder.
    """
    folder = folder.resolve()
    require_free(folder, left)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A mounted folder cannot be replaced by another: what was written is moved into it.
    inside = folder.is_dir() and (folder.is_mount() or not os.access(folder.parent, os.W_OK))
    place = folder if inside else folder.parent
    _remove_abandoned(place, folder.name)
    partial = place / f".{folder.name}.{os.getpid()}.partial"
    whole = partial / folder.name  # beside it there is room for what is needed only meanwhile
    whole.mkdir(parents=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield whole
        require_free(folder, left)
        for name in left:
            (folder / name).unlink(missing_ok=True)
        if inside:
            for entry in sorted(whole.iterdir()):
                os.rename(entry, folder / entry.name)
        else:
            os.rename(whole, folder)
        flush(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def require_free(folder: Path, left: Collection[str] = ()) -> None:
    """Refuse a folder that holds anything but files named in `left` and what a killed run left hidden in it.

    Raises:
        DataError: names the folder.
    """
    if not folder.exists():
        return
    own = f".{folder.name}."
    if not folder.is_dir() or any(
        entry.name not in left and not (entry.name.startswith(own) and entry.suffix == ".partial")
        for entry in folder.iterdir()
    ):
        raise DataError(f"{folder} is there already and is not an empty folder; name another one.")


def _remove_abandoned(place: Path, name: str) -> None:
    """Remove the partial folders of processes that are gone: the kernel has given their locks back."""
    for partial in place.glob(f".{glob.escape(name)}.*.partial"):
        try:
            lock = os.open(partial, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(partial, ignore_errors=True)
        except OSError:  # its process is at work
            pass
        finally:
            os.close(lock)

"""Files and folders that are there whole or not at all, whatever happens to the process that writes them."""

import glob
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sft_pipeline.errors import DataError
from sft_pipeline.provenance.locks import lock, open_lock, try_lock


def flush(path: Path) -> None:
    """Have the kernel write a file's content, or a folder's entries, to the disk before this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content`, texts as UTF-8: whoever reads finds what was there before, or all of the new.

    One process at a time may write a path. One that is killed leaves `.NAME.new` beside it, which the next one replaces.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    flush(temporary)
    os.replace(temporary, path)
    flush(path.parent)


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
    handle = _make_and_lock(partial, whole)
    try:
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
        os.close(handle)


def _make_and_lock(partial: Path, whole: Path) -> int:
    """Make the folder `whole` in `partial` and lock `partial`: between the two another process may take it for abandoned."""
    while True:
        with suppress(FileNotFoundError):
            whole.mkdir(parents=True, exist_ok=True)
            handle = open_lock(partial)
            lock(handle)
            if whole.is_dir():
                return handle
            os.close(handle)


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
        with suppress(OSError):  # another one removes it, or the file system knows no locks
            handle = open_lock(partial)
            try:
                if try_lock(handle):
                    shutil.rmtree(partial, ignore_errors=True)
            finally:
                os.close(handle)

"""Locks between processes: flock(2), which the kernel gives back whatever happens to the holder."""

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def open_lock(path: Path, *, create: bool = False) -> int:
    """A descriptor of a lock file or folder: for writing, which NFS asks of who locks alone, or else for reading.

    Raises:
        OSError: it is not there, or may not be opened or made.
    """
    if path.is_dir():
        return os.open(path, os.O_RDONLY)
    try:
        return os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS) or not path.exists():
            raise
        return os.open(path, os.O_RDONLY)


def lock(file: IO[str] | IO[bytes] | int, *, shared: bool = False, busy: Callable[[], object] | None = None) -> None:
    """Lock an open file, and wait as long as another process holds it; closing the file gives the lock back.

    Args:
        file: the open file, or its descriptor.
        shared: whether others may hold it at the same time, as long as they share it too.
        busy: called once before waiting.
    """
    if busy is not None:
        if try_lock(file, shared=shared):
            return
        busy()
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_lock(file: IO[str] | IO[bytes] | int, *, shared: bool = False) -> bool:
    """Lock an open file unless another process holds it; returns whether it is locked now.

    Raises:
        OSError: the file system knows no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

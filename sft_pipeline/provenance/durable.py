"""Writing that survives a power cut."""

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Have the kernel write a file's content, or a folder's entries, to the disk before this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

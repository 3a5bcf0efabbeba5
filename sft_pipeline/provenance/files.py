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


def write(path: Path, text: str) -> None:
    """Put `text` in the place of what `path` holds: whoever reads finds the one or the other, never a part of it."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, "utf-8")
    flush(temporary)
    os.replace(temporary, path)

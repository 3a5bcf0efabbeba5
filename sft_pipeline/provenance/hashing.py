"""Content hashes of files, folders and values: the identity on which the whole lineage rests."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


def hash_bytes(data: bytes) -> str:
    """SHA-256 of `data` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def hash_file(path: Path, watch: Callable[[int, bytes], object] | None = None) -> str:
    """SHA-256 of the file's bytes, read in blocks so that weights larger than memory can be hashed.

    `watch` gets the offset and the bytes of every block.
    """
    digest, offset = hashlib.sha256(), 0
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            if watch is not None:
                watch(offset, block)
            offset += len(block)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """`value` as JSON with one spelling: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: `value` holds NaN or an infinity, which JSON has no word for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_value(value: Any) -> str:
    """SHA-256 of a JSON-compatible value in its canonical spelling."""
    return hash_bytes(canonical_json(value).encode())


def files_below(folder: Path) -> list[Path]:
    """All regular files below `folder`, in the order of their POSIX path; links are not followed.

    Raises:
        ValueError: there is a symbolic link below `folder`: its target is not part of the content.
    """
    found = []
    for path in sorted(folder.rglob("*"), key=lambda p: p.relative_to(folder).as_posix()):
        if path.is_symlink():
            raise ValueError(f"{path} is a symbolic link; an artifact holds files only")
        if path.is_file():
            found.append(path)
    return found

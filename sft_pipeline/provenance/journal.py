"""A file that grows by lines, each on the disk before the next step: what a killed process had done is found again."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Self


def complete_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines from where the file is read, without their line feed; an unfinished last one is left for the next call."""
    while (line := file.readline()).endswith(b"\n"):
        yield line[:-1]
    file.seek(-len(line), os.SEEK_CUR)


class Journal:
    """A context manager; `lines` are those that were found when the file was opened, without their line feed.

    A last line without its end, which a process was killed over, is cut off; `torn` says that there was one.

    Args:
        path: the file, which need not exist.
        durable: whether a line is on the disk, and not only with the kernel, when `add` returns.
    """

    def __init__(self, path: Path, *, durable: bool = True):
        self._file, self._durable = open(path, "a+b"), durable  # noqa: SIM115 - `__exit__` closes it
        self._file.seek(0)
        self.lines = list(complete_lines(self._file))
        end = self._file.tell()
        self.torn = self._file.seek(0, os.SEEK_END) > end
        self._file.truncate(end)

    def add(self, line: bytes) -> None:
        """Append a line, given without its line feed and holding none."""
        self._file.write(line + b"\n")
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())

    def clear(self) -> None:
        """Empty the file: what was found is not what is wanted."""
        self._file.truncate(0)
        self.lines = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

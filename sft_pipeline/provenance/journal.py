"""A file that grows by lines, each on the disk before the next step: what a killed process had done is found again."""

import os
from pathlib import Path


class AppendedLines:
    """A context manager; `lines` are those that were found when the file was opened, as bytes with their line feed.

    A line that a process was killed over is cut off then.
    """

    def __init__(self, path: Path):
        """Open `path`, which need not exist."""
        found = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        self.lines = [line for line in found if line.endswith(b"\n")]
        self.torn = len(found) > len(self.lines)
        self._file = open(path, "ab")  # noqa: SIM115 - `__exit__` closes it
        self._file.truncate(sum(map(len, self.lines)))

    def add(self, line: bytes) -> None:
        """Append a line, given without its line feed and holding none; it is on the disk when this returns."""
        self._file.write(line + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def clear(self) -> None:
        """Empty the file: what was found is not what is wanted."""
        self._file.truncate(0)
        self.lines = []

    def __enter__(self) -> "AppendedLines":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

"""A file of JSON records, one per line, that a killed process leaves readable: answers, replies and log records."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sft_pipeline.provenance import files

log = logging.getLogger(__name__)


class Journal:
    """An append-only file. `records` are those that were found in it; the file then holds exactly these.

    Args:
        path: the file, which need not exist.
        header: first record, which says what the others depend on; those found under another header are discarded.
        keep: which of the found records stay.
        durable: whether a record is on the disk, and not only in the file, when `add` returns.
    """

    def __init__(
        self,
        path: Path,
        *,
        header: Any = None,
        keep: Callable[[Any], bool] = lambda record: True,
        durable: bool = True,
    ):
        self.path, self._durable = path, durable
        head = [] if header is None else [json.loads(_line(header))]
        found = read(path)
        if found[: len(head)] != head:
            if path.exists() and path.stat().st_size:
                log.warning("%s belongs to another configuration (or is damaged) and is discarded", path.name)
            found = head
        self.records = [record for record in found[len(head) :] if keep(record)]
        content = "".join(map(_line, [*head, *self.records]))
        if not path.exists() or path.read_bytes() != content.encode():
            files.write(path, content)

    def add(self, *records: Any) -> None:
        """Append records."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.writelines(map(_line, records))
            if self._durable:
                file.flush()
                os.fsync(file.fileno())


def read(path: Path) -> list[Any]:
    """The records up to the first that is incomplete or damaged; none where there is no file."""
    found: list[Any] = []
    if path.exists():
        with open(path, "rb") as file:
            for line in complete_lines(file):
                try:
                    found.append(json.loads(line))
                except ValueError:
                    break
    return found


def complete_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines from where the file is read, without their line feed; an unfinished last one is left for the next call.

    Bytes end at line feeds alone, text also at characters that an answer may hold as they are, such as U+2028.
    """
    while (line := file.readline()).endswith(b"\n"):
        yield line[:-1]
    file.seek(-len(line), os.SEEK_CUR)


def _line(record: Any) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"

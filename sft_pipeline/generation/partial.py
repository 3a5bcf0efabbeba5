"""Answers of a generation that is under way, so that a killed one goes on where it stopped.

`answers.jsonl` in the step's own folder: a header line with the conditions, then a line per chunk of prompts, each flushed
to the disk. A chunk is kept whole or not at all: its prompts share batches, and with them the last bits of the arithmetic.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sft_pipeline.model.completion import Completion
from sft_pipeline.provenance.hashing import canonical_json

log = logging.getLogger(__name__)

FILE = "answers.jsonl"


class Partial:
    """The chunks that are done, in order, and the file that they stand in; a context manager.

    Args:
        folder: the step's own folder.
        header: everything that the answers depend on; a file with another header is thrown away.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]):
        self._path = folder / FILE
        first = canonical_json(header) + "\n"
        self.chunks, good = self._read(first)
        self._file = open(self._path, "ab")  # noqa: SIM115 - `__exit__` closes it
        self._file.truncate(good)
        if not good:
            self._append(first)

    def add(self, answers: Sequence[Completion]) -> None:
        """Keep a further chunk; it is on the disk when this returns."""
        self._append(canonical_json([asdict(answer) for answer in answers]) + "\n")
        self.chunks.append(list(answers))

    def __enter__(self) -> "Partial":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _append(self, line: str) -> None:
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, first: str) -> tuple[list[list[Completion]], int]:
        """Whole chunks under the header `first`, and how many bytes they take with it; a torn line is not counted."""
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        if not lines or lines[0] != first.encode():
            if lines:
                log.warning("%s belongs to another configuration (or is torn) and is thrown away", self._path.name)
            return [], 0
        whole = [line for line in lines if line.endswith(b"\n")]
        chunks = [[Completion(**answer) for answer in json.loads(line)] for line in whole[1:]]
        log.info("%d answers of an interrupted generation are kept", sum(map(len, chunks)))
        return chunks, sum(map(len, whole))

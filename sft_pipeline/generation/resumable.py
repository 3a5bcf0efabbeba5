"""Answers of a generation that is under way, so that a killed one goes on where it stopped.

`answers.jsonl` in the step's own folder: a header line with the conditions, then a line per chunk of prompts, each flushed
to the disk. A chunk is kept whole or not at all: its prompts share batches, and with them the last bits of the arithmetic.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sft_pipeline.model.completion import Completion
from sft_pipeline.provenance.hashing import canonical_json
from sft_pipeline.provenance.journal import Journal

log = logging.getLogger(__name__)

FILE = "answers.jsonl"


class Partial:
    """The chunks that are done, in order, and the file that they stand in; a context manager.

    Args:
        folder: the step's own folder.
        header: everything that the answers depend on; a file with another header is thrown away.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]):
        self._file = Journal(folder / FILE)
        first = canonical_json(header).encode()
        if self._file.lines[:1] != [first]:
            if self._file.lines or self._file.torn:
                log.warning("%s belongs to another configuration (or is torn) and is thrown away", FILE)
            self._file.clear()
            self._file.add(first)
        self.chunks = [[Completion(**answer) for answer in json.loads(line)] for line in self._file.lines[1:]]
        if self.chunks:
            log.info("%d answers of an interrupted generation are kept", sum(map(len, self.chunks)))

    def add(self, answers: Sequence[Completion]) -> None:
        """Keep a further chunk; it is on the disk when this returns."""
        self._file.add(canonical_json([asdict(answer) for answer in answers]).encode())
        self.chunks.append(list(answers))

    def __enter__(self) -> "Partial":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.__exit__()

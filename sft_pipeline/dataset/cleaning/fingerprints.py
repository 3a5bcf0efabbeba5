"""What of each row stays in memory to find its duplicates: hashes of its texts and of their shingles."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.cleaning.clusters import (
    ALIKE,
    ALIKE_INSTRUCTION,
    COPY,
    KEPT,
    NEAR,
    NEAR_INSTRUCTION,
    OTHER_RESPONSE,
    Level,
)
from sft_pipeline.dataset.duplicates.arrays import Positions, first_equal
from sft_pipeline.dataset.duplicates.search import Copies, copies
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, jaccards, joined, sets_of_words
from sft_pipeline.dataset.filters import Row
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.dataset.text import normalise, words
from sft_pipeline.experiment import Duplicates


class Fingerprints:
    """The rows that passed the filters, as far as their duplicates need it: some 16 bytes a word."""

    def __init__(self, duplicates: Duplicates) -> None:
        self._duplicates = duplicates
        self._positions: list[Positions] = []
        self._digests: list[npt.NDArray[np.uint64]] = []
        self._instructions: list[ShingleSets] = []
        self._pairs: list[ShingleSets] = []

    def add(self, positions: Sequence[int], rows: Sequence[Row]) -> None:
        """Take in rows, at most a batch, that stand at `positions` of the source; in source order."""
        ngram = self._duplicates.ngram
        asked, answered = ([words(row[field]) for row in rows] for field in ("instruction", "response"))
        instructions = [found or [normalise(row["instruction"])] for found, row in zip(asked, rows)]
        pairs = [
            a + b or [normalise(f"{row['instruction']}\n{row['response']}")] for a, b, row in zip(asked, answered, rows)
        ]
        self._positions.append(np.array(positions, np.int64))
        self._instructions.append(sets_of_words(instructions, ngram))
        self._pairs.append(sets_of_words(pairs, ngram))
        digests = b"".join(_digest(row[field]) for row in rows for field in ("instruction", "response"))
        self._digests.append(np.frombuffer(digests, np.uint64).reshape(len(rows), 4))

    def levels(self, progress: Progress) -> tuple[Level, Level, Level]:
        """The duplicates: exact ones, of pairs, of instructions.

        Rows go on the first level and on the one that `Duplicates.drop` names; on the other, what stays is listed
        where it is alike. Uses up the fingerprints.
        """
        rows = np.concatenate([np.zeros(0, np.int64), *self._positions])
        digests = np.concatenate([np.zeros((0, 4), np.uint64), *self._digests])
        pairs, instructions = joined(self._pairs), joined(self._instructions)
        self._pairs, self._instructions, self._digests = [], [], []
        by_pair = self._duplicates.drop == "pair"
        sets, others = (pairs, instructions) if by_pair else (instructions, pairs)
        total = 2 * len(rows)
        progress("duplicates", 0, total)
        found = copies(sets, self._duplicates, first_equal(*digests[:, :2].T))
        exact, decided = _exact(rows, digests, pairs, found), _decided(rows, found, by_pair)
        progress("duplicates", len(rows), total)
        left = np.flatnonzero(found.of == np.arange(len(rows)))
        listed = _listed(rows[left], copies(others.take(left), self._duplicates), by_pair)
        progress("duplicates", total, total)
        return (exact, decided, listed) if by_pair else (exact, listed, decided)


def _exact(rows: Positions, digests: npt.NDArray[np.uint64], pairs: ShingleSets, found: Copies) -> Level:
    """The rows that stay and those that go because one that stays has the same instruction."""
    here = np.flatnonzero((found.of == np.arange(len(rows))) | found.repeated)
    of = found.of[here]
    same_response = (digests[here, 2:] == digests[of, 2:]).all(axis=1)
    outcome = np.where(found.repeated[here], np.where(same_response, COPY, OTHER_RESPONSE), KEPT)
    return Level("exact", rows[here], rows[of], rows[of], jaccards(pairs, here, pairs, of), outcome)


def _decided(rows: Positions, found: Copies, by_pair: bool) -> Level:
    """The level on which near-duplicates go: the rows that stay, each with those that go for their likeness to it."""
    here = np.flatnonzero(~found.repeated)
    of = found.of[here]
    outcome = np.where(of == here, KEPT, NEAR if by_pair else NEAR_INSTRUCTION)
    name = "pair" if by_pair else "instruction"
    return Level(name, rows[here], rows[of], rows[of], found.similarity[here], outcome)


def _listed(rows: Positions, found: Copies, by_pair: bool) -> Level:
    """The level on which all stay: what stays, by component."""
    outcome = np.where(found.of == np.arange(len(rows)), KEPT, ALIKE_INSTRUCTION if by_pair else ALIKE)
    name = "instruction" if by_pair else "pair"
    return Level(name, rows, found.component, rows[found.of], found.similarity, outcome)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(normalise(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()

"""What is kept of each row to find its duplicates: hashes of its texts, of their shingles, and a signature of these."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import Positions, first_equal
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
from sft_pipeline.dataset.duplicates.search import Copies, copies
from sft_pipeline.dataset.duplicates.shared_text import OwnCounts, SharedText, own_parts
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, Words, jaccards
from sft_pipeline.dataset.duplicates.sketches import Choice, Sketch, Sketches
from sft_pipeline.dataset.filters import Row
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.dataset.text import normalise
from sft_pipeline.experiment import Duplicates


class OwnPrint(NamedTuple):
    """Of those rows of a batch that share text with many others, the part that is their own."""

    counts: OwnCounts
    instructions: Sketch
    pairs: Sketch
    texts: dict[int, str]
    """The shared texts by `family`."""


class Print(NamedTuple):
    """What is kept of a batch of rows."""

    digests: npt.NDArray[np.uint64]
    """128 bits of the normal form of the instruction, and as many of the response."""
    instructions: Sketch
    pairs: Sketch
    own: OwnPrint


def fingerprint(rows: Sequence[Row], words: Words, duplicates: Duplicates, shared: SharedText) -> Print:
    """What is kept of some rows, at most a batch.

    Args:
        rows: the rows.
        words: of each row those of the instruction and those of the response.
        duplicates: the settings.
        shared: has learned from all instructions.
    """
    texts = [row["instruction"] for row in rows]
    every = np.arange(len(rows))
    both = Words(words.hashes, words.bounds[::2])
    instructions = words.take(2 * every)
    pairs = [f"{row['instruction']}\n{row['response']}" for row in rows] if not np.diff(both.bounds).all() else []
    digests = b"".join(_digest(row[field]) for row in rows for field in ("instruction", "response"))
    return Print(
        np.frombuffer(digests, np.uint64).reshape(len(rows), 4),
        Sketch.of(instructions.or_whole(texts), duplicates),
        Sketch.of(both.or_whole(pairs), duplicates),
        _own(texts, instructions, words.take(2 * every + 1), duplicates, shared),
    )


def _own(
    texts: Sequence[str], instructions: Words, responses: Words, duplicates: Duplicates, shared: SharedText
) -> OwnPrint:
    parts, counts, own = own_parts(texts, instructions, shared)
    at, family, *_ = counts
    own_texts = [part.text for part in parts]
    # Own part and response by turns, and every two of them as one text.
    answered = responses.take(at)
    order = np.arange(2 * len(at)).reshape(2, -1).T.ravel()
    turns = Words(
        np.concatenate([own.hashes, answered.hashes]),
        np.concatenate([own.bounds, own.bounds[-1] + answered.bounds[1:]]),
    ).take(order)
    pairs = Words(turns.hashes, turns.bounds[::2]).or_whole(own_texts)
    return OwnPrint(
        counts,
        Sketch.of(own.or_whole(own_texts).apart(family), duplicates),
        Sketch.of(pairs.apart(family), duplicates),
        {number: part.shared for number, part in zip(family.tolist(), parts)},
    )


class Fingerprints:
    """The rows that passed the filters, as far as their duplicates need it: a key and a signature each, and shingles on disk."""

    def __init__(self, duplicates: Duplicates, work: Path) -> None:
        """Start without rows; `work` is a folder for the shingles."""
        self._duplicates = duplicates
        self._instructions, self._pairs = Sketches(work / "instructions"), Sketches(work / "pairs")
        self._positions: list[Positions] = []
        self._digests: list[npt.NDArray[np.uint64]] = []
        self._choice = Choice()
        self._texts: dict[int, str] = {}  # shared texts by their number
        self.left_out: Counter[str] = Counter()
        """Rows by the text that was left out of their comparison."""

    def add(self, positions: Positions, found: Print) -> None:
        """Take in the fingerprints of rows that stand at `positions` of the source; in source order."""
        self._positions.append(positions)
        self._digests.append(found.digests)
        self._choice.add(len(positions), found.own.counts)
        self._texts |= found.own.texts
        self._instructions.add(found.instructions)
        self._instructions.add(found.own.instructions)
        self._pairs.add(found.pairs)
        self._pairs.add(found.own.pairs)

    def levels(self, progress: Progress) -> tuple[Level, Level, Level]:
        """The duplicates: exact ones, of pairs, of instructions.

        Rows go on the first level and on the one that `Duplicates.drop` names; on the other, what stays is listed
        where it is alike.
        """
        rows = np.concatenate([np.zeros(0, np.int64), *self._positions])
        digests = np.concatenate([np.zeros((0, 4), np.uint64), *self._digests])
        numbers, left_out = self._choice.made()
        self.left_out.update(self._texts[family] for family in left_out.tolist())
        by_pair = self._duplicates.drop == "pair"
        sketches, others = (self._pairs, self._instructions) if by_pair else (self._instructions, self._pairs)
        total = 2 * len(rows)
        progress("duplicates", 0, total)
        same = first_equal(*digests[:, :2].T)
        again = np.bincount(same, minlength=len(rows))[same] > 1
        prepared = sketches.prepared(numbers, np.flatnonzero(again) if by_pair else ())
        found = copies(prepared, self._duplicates, same)
        pairs = prepared.sets if by_pair else self._pairs.sets(numbers, again)
        exact, decided = _exact(rows, digests, pairs, found), _decided(rows, found, by_pair)
        del prepared, pairs
        progress("duplicates", len(rows), total)
        left = np.flatnonzero(found.of == np.arange(len(rows)))
        listed = _listed(rows[left], copies(others.prepared(numbers[left]), self._duplicates), by_pair)
        progress("duplicates", total, total)
        return (exact, decided, listed) if by_pair else (exact, listed, decided)


def _exact(rows: Positions, digests: npt.NDArray[np.uint64], pairs: ShingleSets, found: Copies) -> Level:
    """The rows that stay and those that go because one that stays has the same instruction."""
    here = np.flatnonzero((found.of == np.arange(len(rows))) | found.repeated)
    of = found.of[here]
    same_response = (digests[here, 2:] == digests[of, 2:]).all(axis=1)
    repeated = found.repeated[here]
    outcome = np.where(repeated, np.where(same_response, COPY, OTHER_RESPONSE), KEPT)
    similarity = np.ones(len(here))
    similarity[repeated] = jaccards(pairs, here[repeated], pairs, of[repeated])
    return Level("exact", rows[here], rows[of], rows[of], similarity, outcome)


def _decided(rows: Positions, found: Copies, by_pair: bool) -> Level:
    """The level on which near-duplicates go: the rows that stay, each with those that go for their likeness to it."""
    here = np.flatnonzero(~found.repeated)
    of = found.of[here]
    outcome = np.where(of == here, KEPT, NEAR if by_pair else NEAR_INSTRUCTION)
    name: Literal["pair", "instruction"] = "pair" if by_pair else "instruction"
    return Level(name, rows[here], rows[of], rows[of], found.similarity[here], outcome)


def _listed(rows: Positions, found: Copies, by_pair: bool) -> Level:
    """The level on which all stay: what stays, by component."""
    outcome = np.where(found.of == np.arange(len(rows)), KEPT, ALIKE_INSTRUCTION if by_pair else ALIKE)
    name: Literal["pair", "instruction"] = "instruction" if by_pair else "pair"
    return Level(name, rows, found.component, rows[found.of], found.similarity, outcome)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(normalise(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()

"""What of each row stays in memory to find its duplicates: hashes of its texts and of their shingles."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Literal

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
from sft_pipeline.dataset.duplicates.shared_text import OwnWords, SharedText, comparable, gathered
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, Words, jaccards, joined, sets_of_words, word_hashes
from sft_pipeline.dataset.filters import Row
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.dataset.text import normalise
from sft_pipeline.experiment import Duplicates


class Fingerprints:
    """The rows that passed the filters, as far as their duplicates need it: some 16 bytes a word."""

    def __init__(self, duplicates: Duplicates, shared: SharedText) -> None:
        """Start without rows; `shared` has learned from all instructions."""
        self._duplicates, self._shared = duplicates, shared
        self._positions: list[Positions] = []
        self._digests: list[npt.NDArray[np.uint64]] = []
        self._instructions: list[ShingleSets] = []
        self._pairs: list[ShingleSets] = []
        self._own: list[OwnWords] = []
        self._own_pairs: list[OwnWords] = []
        self._texts: dict[int, str] = {}  # shared texts by their number
        self._rows = 0
        self.left_out: Counter[str] = Counter()
        """Rows by the text that was left out of their comparison."""

    def add(self, positions: Sequence[int], rows: Sequence[Row], words: Words) -> None:
        """Take in rows, at most a batch, that stand at `positions` of the source; in source order.

        Args:
            positions: of each row.
            rows: the rows.
            words: of each row those of the instruction and those of the response.
        """
        ngram = self._duplicates.ngram
        texts = [row["instruction"] for row in rows]
        every = np.arange(len(rows))
        both = Words(words.hashes, words.bounds[::2])
        instructions = words.take(2 * every)
        self._positions.append(np.array(positions, np.int64))
        self._instructions.append(sets_of_words(instructions.or_whole(texts), ngram))
        pairs = [f"{row['instruction']}\n{row['response']}" for row in rows] if not np.diff(both.bounds).all() else []
        self._pairs.append(sets_of_words(both.or_whole(pairs), ngram))
        self._add_own(texts, instructions, words.take(2 * every + 1))
        digests = b"".join(_digest(row[field]) for row in rows for field in ("instruction", "response"))
        self._digests.append(np.frombuffer(digests, np.uint64).reshape(len(rows), 4))

    def _add_own(self, texts: Sequence[str], instructions: Words, responses: Words) -> None:
        """Take in what is the rows' own where they share text with many others."""
        parts = {at: part for at, text in enumerate(texts) if (part := self._shared.split(text))}
        at = np.array(list(parts), np.int64)
        family = np.array([part.family for part in parts.values()], np.int64)
        own = word_hashes([part.text for part in parts.values()])
        counts = np.diff(own.bounds)
        self._texts |= {number: part.shared for number, part in zip(family.tolist(), parts.values())}
        # Own part and response by turns, and every two of them as one text.
        answered = responses.take(at)
        order = np.arange(2 * len(at)).reshape(2, -1).T.ravel()
        turns = Words(
            np.concatenate([own.hashes, answered.hashes]),
            np.concatenate([own.bounds, own.bounds[-1] + answered.bounds[1:]]),
        ).take(order)
        shared = instructions.bounds[at + 1] - instructions.bounds[at] - counts
        pairs = Words(turns.hashes, turns.bounds[::2]).or_whole([part.text for part in parts.values()])
        for kept, words in (
            (self._own, own.or_whole([part.text for part in parts.values()])),
            (self._own_pairs, pairs),
        ):
            kept.append(OwnWords(self._rows + at, family, words, counts, shared))
        self._rows += len(texts)

    def levels(self, progress: Progress) -> tuple[Level, Level, Level]:
        """The duplicates: exact ones, of pairs, of instructions.

        Rows go on the first level and on the one that `Duplicates.drop` names; on the other, what stays is listed
        where it is alike. Uses up the fingerprints.
        """
        rows = np.concatenate([np.zeros(0, np.int64), *self._positions])
        digests = np.concatenate([np.zeros((0, 4), np.uint64), *self._digests])
        ngram = self._duplicates.ngram
        pairs, _ = comparable(joined(self._pairs), gathered(self._own_pairs), ngram)
        own = gathered(self._own)
        instructions, out = comparable(joined(self._instructions), own, ngram)
        self.left_out.update(self._texts[family] for family in own.family[out].tolist())
        self._pairs, self._instructions, self._digests, self._own, self._own_pairs = [], [], [], [], []
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
    name: Literal["pair", "instruction"] = "pair" if by_pair else "instruction"
    return Level(name, rows[here], rows[of], rows[of], found.similarity[here], outcome)


def _listed(rows: Positions, found: Copies, by_pair: bool) -> Level:
    """The level on which all stay: what stays, by component."""
    outcome = np.where(found.of == np.arange(len(rows)), KEPT, ALIKE_INSTRUCTION if by_pair else ALIKE)
    name: Literal["pair", "instruction"] = "instruction" if by_pair else "pair"
    return Level(name, rows, found.component, rows[found.of], found.similarity, outcome)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(normalise(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()

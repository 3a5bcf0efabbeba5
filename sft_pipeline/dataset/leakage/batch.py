"""Training rows as the tiers compare them: read once, compared with every held-out index."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from sft_pipeline.dataset.arrays import Positions, bounds_of
from sft_pipeline.dataset.duplicates.shared_text import SharedText, own_parts
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, Words, joined, sets_of_words, word_hashes
from sft_pipeline.dataset.leakage.training_data_hash import line, training_line
from sft_pipeline.dataset.text import normalise
from sft_pipeline.experiment import Data

Row = Mapping[str, Any]

COMPARED = ("id", "instruction", "response", "group", "source_file", "source_row")
"""Columns that a comparison reads; the file and the row are only shown."""

BLOCK = 8192
"""Training rows that are compared at a time."""


class Forms:
    """The forms in which instructions are compared: each as a whole, and without the text that it shares with many.

    The first forms are the whole instructions in their order; `of`, `family` and `own` say of each form which
    instruction it is, what it shares with many (0: nothing), and whether that was left out.
    """

    def __init__(self, texts: Sequence[str], whole: Words, shared: SharedText, ngram: int) -> None:
        self.parts, self.own_counts, own_words = own_parts(texts, whole, shared)
        at, family, *_ = self.own_counts
        of_whole = np.zeros(len(texts), np.int64)
        of_whole[at] = family
        self.own_words = own_words.or_whole([part.text for part in self.parts])
        self._texts = texts
        self.of = np.concatenate([np.arange(len(texts)), at])
        self.family = np.concatenate([of_whole, family])
        self.own = np.arange(len(self.of)) >= len(texts)
        self.sets: ShingleSets = joined(
            sets_of_words(some, ngram) for some in (whole.or_whole(texts), self.own_words) if len(some.bounds) > 1
        )

    def __len__(self) -> int:
        """How many instructions there are."""
        return len(self._texts)

    def text(self, form: int) -> str:
        """The text of a form."""
        return self.parts[form - len(self._texts)].text if form >= len(self._texts) else self._texts[form]


class Batch:
    """Some training rows (id, instruction, response, group)."""

    def __init__(self, rows: Sequence[Row], data: Data, shared: SharedText) -> None:
        """Form the rows; `shared` has learned from all rows of the comparison."""
        self.rows = rows
        self._data, self._shared = data, shared
        both = word_hashes([row[field] or "" for row in rows for field in ("instruction", "response")])
        self.words = Words(both.hashes, both.bounds[::2])
        """Words of instruction and response."""
        self.asked: Positions = both.bounds[1::2] - both.bounds[:-1:2]
        """How many of them are the instruction's."""

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int, end: int) -> "Batch":
        """Some of the rows."""
        part = copy(self)
        for name in ("texts", "normal", "forms", "lines"):
            part.__dict__.pop(name, None)
        part.rows, part.asked = self.rows[start:end], self.asked[start:end]
        part.words = self.words.take(np.arange(len(self))[start:end])
        return part

    @cached_property
    def lines(self) -> tuple[bytes, bytes]:
        """What the rows add to the hash of what is compared, and to the hash of the training rows as they stand."""
        compared = (line(normal, r["response"], r["group"]) for normal, r in zip(self.normal, self.rows))
        return b"".join(compared), b"".join(map(training_line, self.rows))

    @cached_property
    def texts(self) -> list[str]:
        """The instructions."""
        return [row["instruction"] for row in self.rows]

    @cached_property
    def normal(self) -> list[str]:
        """Their normal forms."""
        return list(map(normalise, self.texts))

    @cached_property
    def forms(self) -> Forms:
        """Their forms."""
        starts = self.words.bounds[:-1]
        inside = np.arange(len(self.words.hashes)) < np.repeat(starts + self.asked, np.diff(self.words.bounds))
        whole = Words(self.words.hashes[inside], bounds_of(self.asked))
        return Forms(self.texts, whole, self._shared, self._data.duplicates.ngram)


def training_text(row: Row) -> str:
    """Everything that a model learns from a row: instruction and response."""
    return "\n".join(filter(None, (row["instruction"], row["response"])))


def blocks_of(rows: Iterable[Row], size: int = BLOCK) -> Iterator[list[Row]]:
    """`rows` in lists of at most `size`."""
    block = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block

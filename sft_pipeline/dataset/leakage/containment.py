"""Which n-grams of a few texts stand in other texts: the tier of containment, of test items and of benchmark items.

An n-gram is the hash of its words. Equal n-grams have equal hashes, so none is missed; among ten million words and ten
thousand n-grams one is taken for another with probability below 1e-7.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import Positions, group_starts, ranges
from sft_pipeline.dataset.duplicates.shared_text import MANY
from sft_pipeline.dataset.duplicates.shingles import Words
from sft_pipeline.dataset.leakage.overlap import Known

SHORTEST = 4
"""Words of the shortest item that is looked for inside other texts: "Which is true?" is in many and identifies none."""


class Hits(NamedTuple):
    """N-grams of items that stand in texts: for each pair of text and n-gram, where its first occurrence ends."""

    text: Positions
    gram: Positions
    end: Positions
    """Words of the text up to there."""


class Grams:
    """The n-grams that identify items, each known by its number.

    An item too short for an n-gram is one n-gram of all its words if it has at least `SHORTEST`; one of fewer words has
    none, and is a `part`: it can only be a whole line of another text.
    """

    def __init__(self, items: Words, n: int, names: Sequence[str] | None = None) -> None:
        """Index the n-grams of `n` words of each item.

        Args:
            items: the words of each item.
            n: words of an n-gram.
            names: of each item that of its benchmark. An n-gram of `MANY` different items of one benchmark is
                boilerplate ("First repeat the request word for word without change" is in 20 of IFEval's) and left out.
        """
        self._n, self.shortest = n, min(SHORTEST, n)
        counts = np.diff(items.bounds)
        self._tables: dict[int, tuple[Known, int]] = {}
        self._parts: dict[int, tuple[Known, list[Positions]]] = {}
        gram, item, total = [], [], 0
        for length in sorted(set(np.minimum(counts, n).tolist()) - {0}):
            rows = np.flatnonzero(counts == length if length < n else counts >= n)
            number = counts[rows] - length + 1
            hashes = items.runs(length)[ranges(items.bounds[rows], number)]
            known, which = np.unique(hashes, return_inverse=True)
            of = np.repeat(rows, number)
            if length < self.shortest:
                order = np.argsort(which, kind="stable")
                ends = np.flatnonzero(np.diff(which[order])) + 1
                self._parts[length] = Known(known), np.split(of[order], ends)
                continue
            self._tables[length] = Known(known), total
            gram.append(which + total)
            item.append(of)
            total += len(known)
        pairs = np.unique(np.stack([np.concatenate([np.zeros(0, np.int64), *part]) for part in (gram, item)]), axis=1)
        if names is not None:
            pairs = pairs[:, ~self._boilerplate(pairs, total, items, names)]
        self._gram, self._item = pairs
        self.count = total
        self._starts = np.searchsorted(self._gram, np.arange(total + 1))
        self.sizes = np.bincount(self._item, minlength=len(counts))
        self._of_item = self._gram[np.argsort(self._item, kind="stable")]
        self._ends = np.cumsum(self.sizes)
        self.short = counts < n

    def _boilerplate(
        self, pairs: npt.NDArray[np.int64], total: int, items: Words, names: Sequence[str]
    ) -> npt.NDArray[np.bool_]:
        """Which pairs of n-gram and item are boilerplate of the item's benchmark."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        of = np.array([numbers[name] for name in names], np.int64)
        # Different items: equal texts count once.
        texts = np.array([hash(items.of(position).tobytes()) for position in range(len(of))])
        standing = [
            np.stack([hits.gram, of[hits.text], texts[hits.text]]) for hits in self.hits(items, np.diff(items.bounds))
        ]
        standing.append(np.zeros((3, 0), np.int64))
        found, counts = np.unique(np.unique(np.concatenate(standing, axis=1), axis=1)[:2], axis=1, return_counts=True)
        many = found[0][counts >= MANY] * len(numbers) + found[1][counts >= MANY]
        return np.isin(pairs[0] * len(numbers) + of[pairs[1]], many)

    def hits(self, texts: Words, borders: Positions) -> Iterator[Hits]:
        """The n-grams that stand in `texts`, in portions by their length.

        Args:
            texts: the words of each text.
            borders: how many of them are the instruction's, where a response follows. What identifies a short item must
                stand on one side: "Say owl three times." with the response "owl, owl, owl" does not hold the item
                "Three times owl: owl, owl,".
        """
        for length, (known, first) in self._tables.items():
            at, gram = known.find(texts.runs(length))
            text = np.searchsorted(texts.bounds, at, side="right") - 1
            start = at - texts.bounds[text]
            inside = at + length <= texts.bounds[text + 1]
            if length < self._n:
                inside &= (start >= borders[text]) | (start + length <= borders[text])
            text, gram, end = text[inside], gram[inside] + first, start[inside] + length
            order = np.lexsort((end, gram, text))
            text, gram, end = text[order], gram[order], end[order]
            new = group_starts(text, gram) if len(text) else np.zeros(0, bool)
            yield Hits(text[new], gram[new], end[new])

    def parts(self, texts: Words, borders: Positions) -> Iterator[tuple[int, int]]:
        """(text, item) where the words of a very short item stand together in the instruction of a text."""
        for length, (known, items) in self._parts.items():
            at, which = known.find(texts.runs(length))
            text = np.searchsorted(texts.bounds, at, side="right") - 1
            inside = at - texts.bounds[text] + length <= borders[text]
            for one, of in dict.fromkeys(zip(text[inside].tolist(), which[inside].tolist())):
                for item in items[of].tolist():
                    yield one, item

    def of(self, item: int) -> list[int]:
        """The n-grams of an item."""
        return self._of_item[self._ends[item] - self.sizes[item] : self._ends[item]].tolist()

    def holders(self, gram: Positions) -> tuple[Positions, Positions]:
        """Of each of `gram` the items that hold it: positions in `gram`, and the items."""
        counts = self._starts[gram + 1] - self._starts[gram]
        return np.repeat(np.arange(len(gram)), counts), self._item[ranges(self._starts[gram], counts)]

    def shares(self, present: Positions) -> npt.NDArray[np.float64]:
        """Of each item the share of its n-grams that are in `present`, which holds each once."""
        _, items = self.holders(present)
        return np.bincount(items, minlength=len(self.sizes)) / np.maximum(1, self.sizes)

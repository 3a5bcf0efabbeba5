"""Which held-out texts a text resembles: exact Jaccard similarities without comparing all pairs.

Sets A and B of similarity s share at least s * |A| and s * |B| shingles, so that the |A| - ceil(s * |A|) + 1 first of A
and the |B| - ceil(s * |B|) + 1 first of B, in one common order, have one in common: only those are looked up (prefix
filtering: Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007). The rarest shingles come first, which keeps
a phrase of every held-out text from making every row a candidate for all.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import PAIRS, Positions, blocks, group_starts, ranges
from sft_pipeline.dataset.duplicates.shingles import Hashes, ShingleSets, jaccards
from sft_pipeline.dataset.table import MATCHED
from sft_pipeline.dataset.text import ngrams, words

Matches = tuple[Positions, Positions, npt.NDArray[np.float64]]
"""Position of a text, position of the held-out text that it resembles, and their similarity."""


class Known:
    """A set of hashes, asked which of many others are in it: most are not, which a table of bits tells first."""

    def __init__(self, hashes: Hashes) -> None:
        self.hashes = np.unique(hashes)
        bits = max(10, int(len(self.hashes)).bit_length() + 4)
        self._shift = np.uint64(64 - bits)
        self._some = np.zeros(1 << bits, bool)
        self._some[self.hashes >> self._shift] = True

    def find(self, hashes: Hashes) -> tuple[Positions, Positions]:
        """The positions in `hashes` of those that are known, and which of `self.hashes` each is."""
        if not len(self.hashes):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        at = np.flatnonzero(self._some[hashes >> self._shift])
        which = np.minimum(np.searchsorted(self.hashes, hashes[at]), len(self.hashes) - 1)
        same = self.hashes[which] == hashes[at]
        return at[same], which[same]


class Overlaps:
    """Held-out shingle sets by position, asked for those that resemble new sets."""

    def __init__(self, sets: ShingleSets, least: float = 0.0) -> None:
        """Index `sets`; pairs below the similarity `least` are not looked for."""
        self._sets, self._known = sets, Known(sets.hashes)
        _, token = self._known.find(sets.hashes)
        frequency = np.bincount(token, minlength=len(self._known.hashes))
        self._rank = np.empty(len(frequency), np.int64)
        self._rank[np.lexsort((self._known.hashes, frequency))] = np.arange(len(frequency))
        row = np.repeat(np.arange(len(sets)), sets.sizes)
        order = np.lexsort((self._rank[token], row))
        self._row, self._of_row = row, self._rank[token][order]
        self._at = np.arange(len(row)) - sets.bounds[row]
        self.raise_to(least)

    def raise_to(self, least: float) -> None:
        """From now on look only for pairs of similarity `least` and more."""
        self.least = least
        wanted = self._at < _prefix(least, self._sets.sizes)[self._row]
        rank, row = self._of_row[wanted], self._row[wanted]
        order = np.argsort(rank, kind="stable")
        self._holders = row[order]
        self._starts = np.searchsorted(rank[order], np.arange(len(self._rank) + 1))

    def matches(self, found: ShingleSets) -> Iterator[Matches]:
        """The pairs that share a shingle, at or above `least`, each once, in portions."""
        at, token = self._known.find(found.hashes)
        text = np.searchsorted(found.bounds, at, side="right") - 1
        rank, hits = self._rank[token], np.bincount(text, minlength=len(found))
        # Shingles that no held-out text has are the rarest of all: they come first and find nothing.
        left = _prefix(self.least, found.sizes) - (found.sizes - hits)
        order = np.lexsort((rank, text))
        text, rank = text[order], rank[order]
        place = np.arange(len(text)) - np.searchsorted(text, text, side="left")
        probes = place < left[text]
        text, rank = text[probes], rank[probes]
        counts = self._starts[rank + 1] - self._starts[rank]
        # The probes of one text stay together, so that no pair comes in two portions.
        ends = np.flatnonzero(np.diff(text, append=-1)) + 1
        total = np.diff(np.r_[0, np.cumsum(counts)[ends - 1]])
        starts = np.r_[0, ends[:-1]]
        for part in blocks(total, PAIRS, len(total)) if len(total) else ():
            some = slice(starts[part.start], ends[part.stop - 1])
            pairs = np.repeat(text[some], counts[some]) * len(self._sets)
            pairs += self._holders[ranges(self._starts[rank[some]], counts[some])]
            pairs = np.sort(pairs)
            new, held = np.divmod(pairs[group_starts(pairs)] if len(pairs) else pairs, len(self._sets))
            sizes, others = found.sizes_at(new), self._sets.sizes_at(held)
            possible = np.minimum(sizes, others) >= self.least * np.maximum(sizes, others) - 1e-9
            new, held = new[possible], held[possible]
            similarity = jaccards(found, new, self._sets, held)
            near = similarity >= self.least
            yield new[near], held[near], similarity[near]


def _prefix(similarity: float, sizes: Positions) -> Positions:
    """How many shingles of each set must be looked up, the rarest first; the slack is for rounding."""
    return sizes - np.maximum(1, np.ceil(similarity * sizes - 1e-9)).astype(np.int64) + 1


def longest_common_run(a: str, b: str) -> str:
    """The longest run of words that stands in both texts, in comparison form, cut to `MATCHED` characters.

    Runs are compared up to the number of words that can be shown, and within the first 20,000 words of each text.
    """
    first, second = words(a)[:20_000], words(b)[:20_000]
    low, high, best = 0, min(len(first), len(second), MATCHED // 2), ""
    while low < high:
        middle = (low + high + 1) // 2
        held = set(ngrams(first, middle))
        found = next((run for run in ngrams(second, middle) if run in held), None)
        if found is None:
            high = middle - 1
        else:
            low, best = middle, found
    return best[:MATCHED]

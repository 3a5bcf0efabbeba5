"""Which sets can be near-duplicates at all: the prefix filter, for crowds in which all pairs would be too many.

Texts from one template share most of their shingles and so a bucket of the LSH, be they alike enough or not. Two sets of
sizes a and b with a Jaccard similarity of t or more share at least o = ceil(t (a + b) / (1 + t)) elements. With the
elements of each in one common order, here the rarest first, two sets that share o elements have their first common
element among the first a - o + 1 of the one and b - o + 1 of the other (Bayardo, Ma, Srikant: Scaling up all pairs
similarity search, WWW 2007; Xiao et al.: PPJoin, WWW 2008). Since o depends on both sizes, so does the prefix: for two
texts of equal size it ends before the shingles of their template begin.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import Pairs, Positions, group_starts, pairs_with, ranges
from sft_pipeline.dataset.duplicates.shingles import ShingleSets


def least_overlap(a: Positions, b: Positions, threshold: float) -> Positions:
    """Elements that sets of sizes `a` and `b` share at least, if their Jaccard similarity reaches the threshold."""
    return np.ceil(threshold * (a + b) / (1 + threshold) - 1e-9).astype(np.int64)


class Entries(NamedTuple):
    """Elements of prefixes: `row` has `size` elements, of which this one, in group `token`, is number `at` from 0."""

    token: Positions
    size: Positions
    at: Positions
    row: Positions


def prefixes(sets: ShingleSets, threshold: float) -> Entries:
    """The prefix elements that more than one set holds, sorted by element, size, place and row."""
    order = np.argsort(sets.hashes, kind="stable")
    new = group_starts(sets.hashes[order])
    starts = np.flatnonzero(new)
    counts = np.diff(np.r_[starts, len(order)])
    token = np.empty(len(order), np.int64)
    token[order] = np.cumsum(new) - 1
    del order, new
    sizes = sets.sizes
    row = np.repeat(np.arange(len(sets)), sizes)
    order = np.argsort(row * np.int64(counts.max(initial=0) + 1) + counts[token], kind="stable")
    at = np.arange(len(order)) - sets.bounds[row]  # rows stand together, so theirs are the same places after sorting
    # The shortest partner asks for the fewest common elements: t times the size.
    wanted = (at <= (sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64))[row]) & (counts[token[order]] > 1)
    token, at, row = token[order][wanted], at[wanted], row[wanted]
    size = sizes[row]
    order = np.lexsort((row, at, size, token))
    return Entries(token[order], size[order], at[order], row[order])


class Cells(NamedTuple):
    """Entries of the same element, size and place, which all meet or miss the same others."""

    start: Positions
    end: Positions

    def where(self, wanted: npt.NDArray[np.bool_]) -> "Cells":
        """The wanted ones."""
        return Cells(self.start[wanted], self.end[wanted])


def meetings(entries: Entries, threshold: float) -> Iterator[tuple[Cells, Cells]]:
    """Pairs of cells, in portions, whose rows can reach the threshold; a cell may meet itself."""
    token, size, at, _ = entries
    start = np.flatnonzero(group_starts(token, size, at)) if len(token) else np.zeros(0, np.int64)
    end = np.r_[start[1:], len(token)]
    token, size, at = token[start], size[start], at[start]
    last = np.searchsorted(token, token, side="right")
    cells = np.arange(len(start))
    for a, b in pairs_with(cells, cells, last):
        overlap = least_overlap(size[a], size[b], threshold)
        meet = (at[a] <= size[a] - overlap) & (at[b] <= size[b] - overlap) & ((a != b) | (end[a] - start[a] > 1))
        a, b = a[meet], b[meet]
        yield Cells(start[a], end[a]), Cells(start[b], end[b])


def products(entries: Entries, a: Cells, b: Cells) -> Iterator[Pairs]:
    """The pairs of rows of two meeting cells, for each meeting, in portions."""
    counts = a.end - a.start
    firsts = ranges(a.start, counts)
    same = np.repeat(a.start == b.start, counts)
    starts = np.where(same, firsts + 1, np.repeat(b.start, counts))
    for i, j in pairs_with(firsts, starts, np.repeat(b.end, counts)):
        yield entries.row[i], entries.row[j]

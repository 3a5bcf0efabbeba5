"""Index arithmetic on whole arrays, for groups of unequal size."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]
Pairs = tuple[Positions, Positions]

PAIRS = 1 << 20
"""Pairs of a portion."""


def bounds_of(sizes: npt.NDArray[Any], dtype: type[Any] = np.int64) -> npt.NDArray[Any]:
    """0 and the running total: where each group starts, and where the last one ends."""
    bounds = np.zeros(len(sizes) + 1, dtype)
    np.cumsum(sizes, out=bounds[1:])
    return bounds


def ranges(starts: Positions, counts: Positions) -> Positions:
    """The numbers start, start + 1, … (`count` of them) for each start, in one array."""
    bounds = bounds_of(counts)
    return np.arange(bounds[-1]) + np.repeat(starts - bounds[:-1], counts)


def blocks(weights: Positions, weight: int, number: int) -> Iterator[slice]:
    """Consecutive slices of at most `number` items whose weights add up to at most `weight`, or single items."""
    total = bounds_of(weights)
    start = 0
    while start < len(weights):
        stop = int(np.searchsorted(total, total[start] + weight, side="right")) - 1
        stop = min(max(stop, start + 1), start + number)
        yield slice(start, stop)
        start = stop


def pairs_with(firsts: Positions, starts: Positions, ends: Positions) -> Iterator[Pairs]:
    """All pairs of `firsts[k]` with each number from `starts[k]` to before `ends[k]`, in portions of about `PAIRS`."""
    counts = ends - starts
    for part in blocks(counts, PAIRS, len(counts)):
        yield np.repeat(firsts[part], counts[part]), ranges(starts[part], counts[part])


def group_starts(*sorted_columns: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Where a new group begins in columns that are sorted together."""
    new = np.ones(len(sorted_columns[0]), bool)
    new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in sorted_columns])
    return new


def first_equal(*columns: npt.NDArray) -> Positions:
    """For each row of `columns` the position of the first row that is equal to it."""
    order = np.lexsort(columns)  # stable: equal rows stay in their order
    starts = group_starts(*(column[order] for column in columns))
    first = np.empty(len(order), np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first

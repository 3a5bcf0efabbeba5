"""The near-duplicate graph: its connected components, and the pairs inside them.

Two texts are near-duplicates when the Jaccard similarity of their sets of word shingles reaches the threshold. MinHash
LSH proposes candidates, the exact similarity decides: the LSH may miss a pair near the threshold (see `minhash.bands`),
it never adds one. Where very many texts share a bucket, the candidates are those that the prefix filter leaves (see
`prefix`), which loses none.

What is together already needs no further comparison, so a component of a hundred thousand texts costs little more than
as many texts that are alike in nothing.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import (
    PAIRS,
    Pairs,
    Positions,
    blocks,
    first_equal,
    group_starts,
    pairs_with,
    ranges,
)
from sft_pipeline.dataset.duplicates import minhash, prefix
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, jaccards
from sft_pipeline.dataset.duplicates.union_find import Components
from sft_pipeline.experiment import Duplicates

LARGE = 32
"""Members of a component up to which all its pairs are compared."""

BULK = 1 << 16
"""Pairs of two cells up to which they are compared without looking for short cuts."""

SAMPLES = (2, 32)
"""Partners of each row that are tried first where very many remain: they mostly unite what can be united."""

Edges = tuple[Positions, Positions, npt.NDArray[np.float64]]
"""Pairs (earlier, later) with their similarities."""


class Prepared(NamedTuple):
    """Sets with what their comparison needs."""

    sets: ShingleSets
    """Those that cannot be near-duplicates of any other may be empty."""
    first: Positions
    """For each set the position of the first set that is equal to it."""
    buckets: minhash.Buckets
    """Of the sets that are the first of their kind, by their number among these."""


def prepare(sets: ShingleSets, duplicates: Duplicates) -> Prepared:
    """The sets, made ready."""
    first = first_equal(*sets.digests().T)
    distinct = sets.take(np.flatnonzero(first == np.arange(len(sets))))
    return Prepared(sets, first, minhash.Buckets(len(distinct), minhash.band_keys(distinct, duplicates).T))


def unite_near(prepared: Prepared, duplicates: Duplicates, united: Components) -> None:
    """Unite the near-duplicates."""
    sets, first, buckets = prepared
    united.unite_pairs(np.arange(len(sets)), first)
    distinct = np.flatnonzero(first == np.arange(len(sets)))
    is_crowded = buckets.crowded()
    for i, j in buckets.small(is_crowded):
        _unite_similar(sets, distinct[i], distinct[j], duplicates.threshold, united)
    crowd = distinct[is_crowded]
    entries = prefix.prefixes(sets.take(crowd), duplicates.threshold)
    for left, right in prefix.meetings(entries, duplicates.threshold):
        bulk = (left.end - left.start) * (right.end - right.start) <= BULK
        for i, j in prefix.products(entries, left.where(bulk), right.where(bulk)):
            _unite_similar(sets, crowd[i], crowd[j], duplicates.threshold, united)
        for meeting in np.flatnonzero(~bulk):
            here = crowd[entries.row[left.start[meeting] : left.end[meeting]]]
            there = crowd[entries.row[right.start[meeting] : right.end[meeting]]]
            _unite_all(sets, here, there, duplicates.threshold, united)


def _unite_all(sets: ShingleSets, here: Positions, there: Positions, threshold: float, united: Components) -> None:
    """Unite what is alike of all pairs of `here` and `there`, looking only at pairs of different components."""
    for samples in SAMPLES:
        there, own_start, own_end = _by_component(here, there, united)
        others = len(there) - (own_end - own_start)
        if not others.any():
            return
        counts = np.minimum(others, samples)
        which = np.repeat(np.arange(len(here)), counts)
        number = ranges(np.zeros(len(here), np.int64), counts) * others[which] // counts[which]
        number += np.where(number >= own_start[which], (own_end - own_start)[which], 0)
        _unite_similar(sets, here[which], there[number], threshold, united)
    while len(here):
        there, own_start, own_end = _by_component(here, there, united)
        others = len(there) - (own_end - own_start)
        part = next(blocks(others, PAIRS, len(here)))
        firsts = np.arange(part.stop)
        starts = np.concatenate([np.zeros(part.stop, np.int64), own_end[part]])
        ends = np.concatenate([own_start[part], np.full(part.stop, len(there))])
        for a, b in pairs_with(np.concatenate([firsts, firsts]), starts, ends):
            _unite_similar(sets, here[a], there[b], threshold, united)
        here = here[part.stop :]


def _by_component(here: Positions, there: Positions, united: Components) -> tuple[Positions, Positions, Positions]:
    """`there` in the order of components, and where in it the component of each of `here` starts and ends."""
    labels = united.labels(there)
    order = np.argsort(labels, kind="stable")
    own = united.labels(here)
    ordered = labels[order]
    return there[order], np.searchsorted(ordered, own, side="left"), np.searchsorted(ordered, own, side="right")


def _unite_similar(sets: ShingleSets, a: Positions, b: Positions, threshold: float, united: Components) -> None:
    apart = united.labels(a) != united.labels(b)
    a, b, _ = similar(sets, a[apart], b[apart], threshold)
    united.unite_pairs(a, b)


def similar(sets: ShingleSets, a: Positions, b: Positions, threshold: float) -> Edges:
    """Those of the pairs that reach the threshold, each once."""
    sizes_a, sizes_b = sets.sizes_at(a), sets.sizes_at(b)
    possible = np.minimum(sizes_a, sizes_b) >= threshold * np.maximum(sizes_a, sizes_b) - 1e-9
    a, b = a[possible], b[possible]
    pairs = np.sort(np.minimum(a, b) * len(sets) + np.maximum(a, b))
    a, b = np.divmod(pairs[group_starts(pairs)], max(1, len(sets)))
    similarity = jaccards(sets, a, sets, b)
    near = similarity >= threshold
    return a[near], b[near], similarity[near]


def by_size(labels: Positions) -> Pairs:
    """Positions in components of 2 to `LARGE` members, and in larger ones."""
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return np.flatnonzero((counts > 1)[which] & (counts <= LARGE)[which]), np.flatnonzero((counts > LARGE)[which])


def inside(sets: ShingleSets, positions: Positions, labels: Positions, threshold: float) -> Edges:
    """The near-duplicates among `positions` whose labels, one for each position, are equal: all pairs are compared."""
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], labels[order], side="right")
    every = np.arange(len(order))
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for a, b in pairs_with(every, every + 1, ends):
        found.append(similar(sets, positions[order[a]], positions[order[b]], threshold))
    return tuple(np.concatenate(column) for column in zip(*found))

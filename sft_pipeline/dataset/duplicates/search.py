"""Near-duplicates of texts: all pairs, the components that they form, and which texts to drop."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import PAIRS, Positions, blocks, ranges
from sft_pipeline.dataset.duplicates import prefix
from sft_pipeline.dataset.duplicates.near import Prepared, by_size, inside, prepare, similar, unite_near
from sft_pipeline.dataset.duplicates.prefix import least_overlap, prefixes
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, jaccards, shingle_sets
from sft_pipeline.dataset.duplicates.union_find import Components
from sft_pipeline.experiment import Duplicates

__all__ = ["Components", "Copies", "components", "copies", "near_pairs"]


def components(sets: ShingleSets | Prepared, groups: Sequence[str | None], duplicates: Duplicates) -> Components:
    """Connected components of the near-duplicate graph, with the texts of equal group united as well."""
    prepared = sets if isinstance(sets, Prepared) else prepare(sets, duplicates)
    united = Components(len(prepared.first))
    first_of_group: dict[str, int] = {}
    for position, group in enumerate(groups):
        if group is not None:
            united.unite(position, first_of_group.setdefault(group, position))
    unite_near(prepared, duplicates, united)
    return united


def near_pairs(texts: Sequence[str], duplicates: Duplicates) -> Iterator[tuple[int, int, float]]:
    """All near-duplicate pairs (earlier position, later position, similarity), in ascending order."""
    sets, united = shingle_sets(texts, duplicates.ngram), Components(len(texts))
    unite_near(prepare(sets, duplicates), duplicates, united)
    labels = united.labels(np.arange(len(sets)))
    small, large = by_size(labels)
    found = [inside(sets, small, labels[small], duplicates.threshold)]
    entries = prefix.prefixes(sets.take(large).apart(labels[large]), duplicates.threshold)
    for meeting in prefix.meetings(entries, duplicates.threshold):
        for a, b in prefix.products(entries, *meeting):
            found.append(similar(sets, large[a], large[b], duplicates.threshold))
    pairs = {(a, b): s for part in found for a, b, s in zip(*(column.tolist() for column in part))}
    yield from ((a, b, pairs[a, b]) for a, b in sorted(pairs))


class Copies(NamedTuple):
    """What became of each text."""

    of: Positions  # the kept text that it is a copy of, or that has its key; itself where it stays
    similarity: npt.NDArray[np.float64]  # to the text that it is a copy of; 1 where it is none
    repeated: npt.NDArray[np.bool_]  # whether it goes because a kept text has its key
    component: Positions  # the smallest position of its component of the near-duplicate graph


def copies(prepared: Prepared, duplicates: Duplicates, keys: Positions | None = None) -> Copies:
    """Which texts to drop so that no two near-duplicates stay, and no two with the same key.

    The texts are gone through in their order. One whose key a kept text has goes; one that is a near-duplicate of a
    kept text goes; any other stays. So nothing goes for its likeness to what goes itself. A near-duplicate is the copy
    of the most similar of the kept ones before it (the earliest among equals).

    Args:
        prepared: the shingle sets of the texts, in the order of the texts.
        duplicates: threshold and parameters of the LSH.
        keys: a number below the number of texts for each; None: all different.
    """
    sets, first, _ = prepared
    every = np.arange(len(sets))
    keys = every if keys is None else keys
    united = Components(len(sets))
    unite_near(prepared, duplicates, united)
    labels = united.labels(every)
    distinct = np.flatnonzero(first == every)
    small, large = (distinct[part] for part in by_size(labels[distinct]))
    a, b, similarity = inside(sets, small, labels[small], duplicates.threshold)
    a, b, similarity = np.r_[a, b], np.r_[b, a], np.r_[similarity, similarity]
    order = np.argsort(a, kind="stable")
    a, b, similarity = a[order], b[order], similarity[order]
    start, end = (np.searchsorted(a, every, side=side).tolist() for side in ("left", "right"))
    others = b.tolist()
    neighbours = Neighbours(sets.take(large), labels[large], duplicates.threshold)
    number = dict(zip(large.tolist(), range(len(large))))

    # Where nothing is like a text and no other has its key, it stays and the loop need not see it.
    company = np.bincount(labels, minlength=len(sets))[labels] + np.bincount(keys, minlength=len(sets))[keys]
    rows = np.flatnonzero(company > 2)
    holder = [-1] * len(sets)  # by key, the text that stays
    taken = bytearray(len(sets))  # by first equal text, whether a kept text is like it
    of, best, repeated = every.copy(), np.ones(len(sets)), np.zeros(len(sets), bool)
    near, heads, edges = [], [], []
    for row, text, key in zip(rows.tolist(), first[rows].tolist(), keys[rows].tolist()):
        if holder[key] >= 0:
            of[row], repeated[row] = holder[key], True
        elif taken[text]:
            near.append(row)
        else:
            holder[key], taken[text] = row, 1
            heads.append((row, text))
            for other in others[start[text] : end[text]]:
                taken[other] = 1
            if text in number:
                like, degrees = neighbours.of(number[text])
                edges.append((np.full(len(like), row), large[like], degrees))
                for other in large[like].tolist():
                    taken[other] = 1
    # Of each text the kept texts that it is like: from the pairs, from the large components, and an equal one.
    kept_row, kept_text = np.array(heads, np.int64).reshape(-1, 2).T
    row_of = np.full(len(sets), -1)
    row_of[kept_text] = kept_row
    of_kept = row_of[a] >= 0
    edges += [(row_of[a[of_kept]], b[of_kept], similarity[of_kept]), (kept_row, kept_text, np.ones(len(kept_row)))]
    of_near, best_near = _best(np.array(near, np.int64), first, *(np.concatenate(column) for column in zip(*edges)))
    of[near], best[near] = of_near, best_near
    return Copies(of, best, repeated, labels)


def _best(
    rows: Positions, first: Positions, kept: Positions, like: Positions, similarity: npt.NDArray[np.float64]
) -> tuple[Positions, npt.NDArray[np.float64]]:
    """For each of `rows`, which all have one, the most similar kept text before it, and the similarity.

    `first` is for each text the first that is equal to it; `kept[k]` is a kept text, `like[k]` such a first text that
    it is like, `similarity[k]` theirs.
    """
    order = np.lexsort((kept, -similarity, like))
    kept, like, similarity = kept[order], like[order], similarity[order]
    start, end = (np.searchsorted(like, first[rows], side=side) for side in ("left", "right"))
    chosen = np.empty(len(rows), np.int64)
    for part in blocks(end - start, PAIRS, max(1, len(rows))):
        counts = (end - start)[part]
        which, edge = np.repeat(np.arange(part.start, part.stop), counts), ranges(start[part], counts)
        before = kept[edge] < rows[which]
        which, at = np.unique(which[before], return_index=True)
        chosen[which] = edge[before][at]
    return kept[chosen], similarity[chosen]


class Neighbours:
    """An inverted index of the prefixes, by component: it leaves of each component only what can be alike."""

    def __init__(self, sets: ShingleSets, component: Positions, threshold: float) -> None:
        self._sets, self._threshold = sets, threshold
        self._entries = entries = prefixes(sets.apart(component), threshold)
        self._of_row = np.argsort(entries.row, kind="stable")
        self._row_start = np.searchsorted(entries.row[self._of_row], np.arange(len(sets) + 1))
        self._token_start = np.searchsorted(entries.token, entries.token, side="left")
        self._token_end = np.searchsorted(entries.token, entries.token, side="right")

    def of(self, position: int) -> tuple[Positions, npt.NDArray[np.float64]]:
        """The other sets that are like the one at `position`, ascending, and their similarities."""
        entries, size = self._entries, self._sets.sizes_at(np.array([position]))
        own = self._of_row[self._row_start[position] : self._row_start[position + 1]]
        counts = self._token_end[own] - self._token_start[own]
        met, place = ranges(self._token_start[own], counts), np.repeat(entries.at[own], counts)
        overlap = least_overlap(entries.size[met], size, self._threshold)
        reachable = (place <= size - overlap) & (entries.at[met] <= entries.size[met] - overlap)
        others = np.unique(entries.row[met[reachable]])
        others = others[others != position]
        similarity = jaccards(self._sets, np.full(len(others), position), self._sets, others)
        near = similarity >= self._threshold
        return others[near], similarity[near]

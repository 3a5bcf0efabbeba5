"""All near-duplicates of one set at a time, in components too large for a list of all pairs."""

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.duplicates.arrays import Positions, ranges
from sft_pipeline.dataset.duplicates.prefix import least_overlap, prefixes
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, jaccards


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
        entries, size = self._entries, self._sets.sizes_at(position)
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

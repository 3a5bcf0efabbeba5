"""Disjoint sets of positions (union-find), one by one or by arrays of pairs."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from sft_pipeline.dataset.duplicates.arrays import Positions


class Components:
    """Disjoint sets of positions, each known by its smallest position."""

    def __init__(self, size: int) -> None:
        self._parent = np.arange(size)

    def find(self, position: int) -> int:
        """The smallest position of the component."""
        parent = self._parent
        while (above := int(parent[position])) != position:
            parent[position] = parent[above]
            position = above
        return position

    def unite(self, a: int, b: int) -> None:
        """Make the components of `a` and `b` one."""
        a, b = sorted((self.find(a), self.find(b)))
        self._parent[b] = a

    def labels(self, positions: Positions) -> Positions:
        """The smallest position of the component of each of `positions`."""
        found = self._parent[positions]
        while not np.array_equal(above := self._parent[found], found):
            found = above
        self._parent[positions] = found
        return found

    def unite_pairs(self, a: Positions, b: Positions) -> None:
        """Make the components of `a[k]` and `b[k]` one, for every k."""
        a, b = self.labels(a), self.labels(b)
        roots, ends = np.unique(np.concatenate([a, b]), return_inverse=True)
        size = len(roots)
        graph = coo_matrix((np.ones(len(a), bool), (ends[: len(a)], ends[len(a) :])), shape=(size, size))
        number, part = connected_components(graph, directed=False)
        least = np.full(number, np.iinfo(np.int64).max)
        np.minimum.at(least, part, roots)
        self._parent[roots] = least[part]

    def members(self) -> list[list[int]]:
        """All components, each in ascending order, ordered by their smallest position."""
        labels = self.labels(np.arange(len(self._parent)))
        order = np.argsort(labels, kind="stable")
        ends = np.flatnonzero(np.diff(labels[order])) + 1
        ordered, bounds = order.tolist(), [0, *ends.tolist(), len(order)]
        return [ordered[start:end] for start, end in zip(bounds, bounds[1:]) if start < end]

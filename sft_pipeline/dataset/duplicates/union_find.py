"""Disjoint sets of positions (union-find), one by one or by arrays of pairs."""

import numpy as np

from sft_pipeline.dataset.arrays import Positions


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
        while True:
            a, b = self.labels(a), self.labels(b)
            apart = a != b
            if not apart.any():
                return
            a, b = np.minimum(a[apart], b[apart]), np.maximum(a[apart], b[apart])
            # Each root comes below the smallest that it meets, and then below the end of such a chain.
            np.minimum.at(self._parent, b, a)
            while not np.array_equal(above := self._parent[self._parent[b]], self._parent[b]):
                self._parent[b] = above

    def members(self) -> list[list[int]]:
        """All components, each in ascending order, ordered by their smallest position."""
        labels = self.labels(np.arange(len(self._parent)))
        order = np.argsort(labels, kind="stable")
        ends = np.flatnonzero(np.diff(labels[order])) + 1
        ordered, bounds = order.tolist(), [0, *ends.tolist(), len(order)]
        return [ordered[start:end] for start, end in zip(bounds, bounds[1:]) if start < end]

"""Near-duplicates: MinHash signatures and LSH by rensa find candidates, the exact Jaccard similarity decides.

Two texts are near-duplicates when the Jaccard similarity of their sets of word shingles reaches the threshold. The LSH
may miss a pair near the threshold (see `bands`); it never adds one, since every candidate is verified.
"""

from collections.abc import Iterator, Sequence

from sft_pipeline.dataset.text import jaccard, shingles
from sft_pipeline.experiment import Duplicates

_BATCH = 4096
_SEED = 1


def bands(duplicates: Duplicates) -> int:
    """Bands of the LSH: the fewest that find a pair right at the threshold with probability 0.999.

    A pair of similarity s shares one of b bands of r rows with probability 1 - (1 - s^r)^b. With 128 permutations and a
    threshold of 0.7 that is 32 bands of 4 rows (0.9998).
    """
    total = duplicates.permutations
    for rows in range(total, 0, -1):
        if total % rows == 0 and 1 - (1 - duplicates.threshold**rows) ** (total // rows) >= 0.999:
            return total // rows
    return total


class Index:
    """Texts by position, asked for the earlier ones that are near-duplicates of a new one."""

    def __init__(self, duplicates: Duplicates) -> None:
        from rensa import RMinHashLSH

        self._duplicates = duplicates
        self._lsh = RMinHashLSH(duplicates.threshold, duplicates.permutations, bands(duplicates))
        self._shingles: dict[int, frozenset[str]] = {}

    def signatures(self, texts: Sequence[str]) -> Iterator[tuple[object, frozenset[str]]]:
        """MinHash signature and shingle set of each text, made in batches."""
        from rensa import RMinHash

        for start in range(0, len(texts), _BATCH):
            sets = [shingles(text, self._duplicates.ngram) for text in texts[start : start + _BATCH]]
            hashes = RMinHash.from_token_sets([sorted(s) for s in sets], self._duplicates.permutations, _SEED)
            yield from zip(hashes, sets)

    def candidates(self, signature: object) -> list[int]:
        """Positions of the added texts that share a band with `signature`, in ascending order."""
        return sorted(self._lsh.query(signature))

    def similarity(self, position: int, found: frozenset[str]) -> float:
        """Exact Jaccard similarity of the added text at `position` and a shingle set."""
        return jaccard(self._shingles[position], found)

    def add(self, position: int, signature: object, found: frozenset[str]) -> None:
        """Make the text findable."""
        self._lsh.insert(position, signature)
        self._shingles[position] = found


def near_pairs(texts: Sequence[str], duplicates: Duplicates) -> Iterator[tuple[int, int, float]]:
    """All near-duplicate pairs (earlier position, later position, similarity)."""
    index = Index(duplicates)
    for position, (signature, found) in enumerate(index.signatures(texts)):
        for other in index.candidates(signature):
            if (similarity := index.similarity(other, found)) >= duplicates.threshold:
                yield other, position, similarity
        index.add(position, signature, found)


def copies(texts: Sequence[str], duplicates: Duplicates) -> dict[int, tuple[int, float]]:
    """Which texts to drop so that no two near-duplicates stay: position → (position of the kept one, similarity).

    The first of its kind stays. Each dropped text is a near-duplicate of the kept one that stands beside it, the most
    similar of them (the earliest among equals): no text is dropped for its likeness to a text that is dropped itself.
    """
    index = Index(duplicates)
    dropped = {}
    for position, (signature, found) in enumerate(index.signatures(texts)):
        similarity, kept = max(
            ((index.similarity(o, found), -o) for o in index.candidates(signature)), default=(0.0, 0)
        )
        if similarity >= duplicates.threshold:
            dropped[position] = (-kept, similarity)
        else:
            index.add(position, signature, found)
    return dropped


class Components:
    """Disjoint sets of positions (union-find), each known by its smallest position."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, position: int) -> int:
        """The smallest position of the component."""
        while self._parent[position] != position:
            self._parent[position] = self._parent[self._parent[position]]
            position = self._parent[position]
        return position

    def unite(self, a: int, b: int) -> None:
        """Make the components of `a` and `b` one."""
        a, b = sorted((self.find(a), self.find(b)))
        self._parent[b] = a

    def members(self) -> list[list[int]]:
        """All components, each in ascending order, ordered by their smallest position."""
        found: dict[int, list[int]] = {}
        for position in range(len(self._parent)):
            found.setdefault(self.find(position), []).append(position)
        return list(found.values())


def components(texts: Sequence[str], groups: Sequence[str | None], duplicates: Duplicates) -> Components:
    """Connected components of the near-duplicate graph, with the texts of equal group united as well."""
    united = Components(len(texts))
    first_of_group: dict[str, int] = {}
    for position, group in enumerate(groups):
        if group is not None:
            united.unite(position, first_of_group.setdefault(group, position))
    index = Index(duplicates)
    for position, (signature, found) in enumerate(index.signatures(texts)):
        for other in index.candidates(signature):
            # What is together already needs no further proof, which keeps large components cheap.
            if united.find(other) != united.find(position) and index.similarity(other, found) >= duplicates.threshold:
                united.unite(other, position)
        index.add(position, signature, found)
    return united

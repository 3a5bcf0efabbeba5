"""LSH over MinHash signatures: which sets share a band, and which of them share it with very many.

A pair of Jaccard similarity s agrees in one row of the signature with probability s.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import Pairs, blocks, bounds_of, group_starts, pairs_with, ranges
from sft_pipeline.dataset.duplicates.shingles import ShingleSets
from sft_pipeline.experiment import Duplicates

CROWD = 16
"""Sets in one bucket up to which all its pairs are candidates."""

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


def band_keys(sets: ShingleSets, duplicates: Duplicates) -> npt.NDArray[np.uint32]:
    """A number per set (first axis) and band (second axis); sets whose signatures agree in a band have the same.

    Two other sets have the same number with probability 2^-32, which makes one candidate more and no other difference.
    """
    count = bands(duplicates)
    keys = np.empty((len(sets), count), np.uint32)
    factors, offsets = np.random.default_rng(_SEED).integers(0, 1 << 32, (2, duplicates.permutations), np.uint32)
    for part in blocks(sets.sizes, 1 << 16, 1 << 14):
        bounds = sets.bounds[part.start : part.stop + 1]
        hashes = (sets.hashes[bounds[0] : bounds[-1]] >> np.uint64(32)).astype(np.uint32)
        folded = np.zeros((count, len(bounds) - 1), np.uint64)
        for row, (factor, offset) in enumerate(zip(factors | np.uint32(1), offsets)):
            # x → ax + b permutes the 32-bit numbers; the smallest image of a set is the same for two sets of
            # similarity s with probability s (Broder: On the resemblance and containment of documents, 1997).
            least = np.minimum.reduceat(hashes * factor + offset, bounds[:-1] - bounds[0])
            band = folded[row * count // duplicates.permutations]
            band += least
            band += np.uint64(1)
            band *= np.uint64(0x9E3779B97F4A7C15)
            band ^= band >> np.uint64(32)
        keys[part] = folded.astype(np.uint32).T
    return keys


class Buckets:
    """The buckets of two sets and more, band by band; the other sets share a band with none."""

    def __init__(self, sets: int, bands: Iterable[npt.NDArray[np.uint32]]) -> None:
        """Sort so many sets into buckets by each of the bands: a column of `band_keys`."""
        self._sets = sets
        self._bands = [_shared(band) for band in bands]

    def members(self) -> npt.NDArray[np.bool_]:
        """The sets that share a bucket with any other."""
        found = np.zeros(self._sets, bool)
        for order, _ in self._bands:
            found[order] = True
        return found

    def crowded(self) -> npt.NDArray[np.bool_]:
        """The sets that share a bucket with `CROWD` others or more: too many to try all pairs."""
        found = np.zeros(self._sets, bool)
        for order, sizes in self._bands:
            found[order[np.repeat(sizes > CROWD, sizes)]] = True
        return found

    def small(self, crowd: npt.NDArray[np.bool_]) -> Iterator[Pairs]:
        """Pairs (earlier, later) that share a bucket of at most `CROWD` sets, but for those that are both in a crowd.

        In portions; a pair that shares several bands comes once for each.
        """
        for order, every in self._bands:
            starts = bounds_of(every)[:-1]
            small = every <= CROWD
            starts, sizes = starts[small], every[small].astype(np.int64)
            firsts = ranges(starts, sizes)
            ends = np.repeat(starts + sizes, sizes)
            for a, b in pairs_with(firsts, firsts + 1, ends):
                a, b = order[a].astype(np.int64), order[b].astype(np.int64)
                wanted = ~(crowd[a] & crowd[b])
                yield a[wanted], b[wanted]


def _shared(band: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """The sets in buckets of two and more, bucket by bucket, and the sizes of these."""
    # Number and set in one integer: sorting these is many times faster than a stable argsort.
    ordered = (band.astype(np.uint64) << np.uint64(32)) | np.arange(len(band), dtype=np.uint64)
    ordered.sort()
    new = group_starts(ordered >> np.uint64(32)) if len(band) else np.zeros(0, bool)
    sizes = np.diff(np.append(np.flatnonzero(new), len(band)))
    several = sizes > 1
    order = ordered[np.repeat(several, sizes)].astype(np.uint32)  # the lower half is the set
    return order, sizes[several].astype(np.uint32)

"""Shingle sets of many texts as arrays: 64-bit hashes in one buffer, and their exact Jaccard similarities.

A shingle costs 8 bytes here, in a Python set of strings about a hundred, and similarities are computed for many pairs
at once. Two different shingles have the same hash with probability 2^-64: among a billion pairs of sets of a hundred
shingles, one similarity is too large with probability below 1e-6. See `jaccards` for one that is too small.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.duplicates.arrays import Positions, blocks, bounds_of, first_equal, group_starts, ranges
from sft_pipeline.dataset.text import normalise, words

Hashes = npt.NDArray[np.uint64]

_TEXTS = 8192
_ELEMENTS = 1 << 21
_CACHE = 1 << 18


@dataclass(frozen=True)
class ShingleSets:
    """Sets of shingle hashes: set i is `hashes[bounds[i]:bounds[i + 1]]`, ascending and without repetition."""

    hashes: Hashes
    bounds: Positions

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def sizes(self) -> Positions:
        """Shingles of each set."""
        return np.diff(self.bounds)

    def sizes_at(self, positions: Positions) -> Positions:
        """Shingles of the sets at `positions`."""
        return self.bounds[positions + 1] - self.bounds[positions]

    def take(self, positions: Positions) -> "ShingleSets":
        """The sets at `positions`, in that order."""
        sizes = self.sizes_at(positions)
        return ShingleSets(self.hashes[ranges(self.bounds[positions], sizes)], bounds_of(sizes))

    def apart(self, part: Positions) -> "ShingleSets":
        """The same sets with other hashes, so that sets of different parts have nothing in common; not in order."""
        return ShingleSets(self.hashes ^ _mix(np.repeat(part.astype(np.uint64), self.sizes)), self.bounds)

    def first_equal(self) -> Positions:
        """For each set the position of the first set that is equal to it."""
        if not len(self):
            return np.zeros(0, np.int64)
        # Two sums of hashes mixed in two ways are a key of 128 bits.
        return first_equal(
            *(
                np.add.reduceat(_mix(self.hashes ^ np.uint64(salt)), self.bounds[:-1])
                for salt in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
            )
        )


class Words(NamedTuple):
    """The words of texts, in order, as hashes: those of text i are `hashes[bounds[i]:bounds[i + 1]]`."""

    hashes: Hashes
    bounds: Positions

    def of(self, position: int) -> Hashes:
        """The words of one text."""
        return self.hashes[self.bounds[position] : self.bounds[position + 1]]

    def take(self, positions: Positions) -> "Words":
        """The texts at `positions`, in that order."""
        counts = self.bounds[positions + 1] - self.bounds[positions]
        return Words(self.hashes[ranges(self.bounds[positions], counts)], bounds_of(counts))

    def take_pairs(self, positions: Sequence[int]) -> "Words":
        """Of texts that come in pairs, the pairs at `positions`."""
        return self.take((2 * np.array(positions, np.int64)[:, None] + np.arange(2)).ravel())

    def or_whole(self, texts: Sequence[str]) -> "Words":
        """The same, with the normal form as the only word of a text without words (only emoji or punctuation)."""
        counts = np.diff(self.bounds)
        if counts.all():
            return self
        empty = np.flatnonzero(counts == 0)
        whole = np.array([_word_hashes[normalise(texts[position])] for position in empty], np.uint64)
        return Words(np.insert(self.hashes, self.bounds[empty], whole), bounds_of(np.maximum(counts, 1)))

    def apart(self, part: Positions) -> "Words":
        """Other words, so that texts of different parts have none in common; the part 0 keeps its own."""
        salt = np.where(part == 0, np.uint64(0), _mix(part.astype(np.uint64)))
        return Words(self.hashes ^ np.repeat(salt, np.diff(self.bounds)), self.bounds)


def word_hashes(texts: Sequence[str]) -> Words:
    """The words of each text (`text.words`), hashed."""
    found = [words(text) for text in texts]
    counts = np.fromiter(map(len, found), np.int64, len(found))
    stream = map(_word_hashes.__getitem__, chain.from_iterable(found))
    return Words(np.fromiter(stream, np.uint64, int(counts.sum())), bounds_of(counts))


def shingle_sets(texts: Sequence[str], n: int) -> ShingleSets:
    """The set of `text.shingles(text, n)` of each text, hashed."""
    parts = (texts[start : start + _TEXTS] for start in range(0, len(texts), _TEXTS))
    return joined(sets_of_words(word_hashes(part).or_whole(part), n) for part in parts)


def joined(parts: Iterable[ShingleSets]) -> ShingleSets:
    """The sets of all parts, one after the other."""
    parts = list(parts)
    if not parts:
        return ShingleSets(np.zeros(0, np.uint64), np.zeros(1, np.int64))
    return ShingleSets(np.concatenate([p.hashes for p in parts]), bounds_of(np.concatenate([p.sizes for p in parts])))


class _WordHashes(dict[str, int]):
    def __missing__(self, word: str) -> int:
        if len(self) > _CACHE:
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return self.setdefault(word, int.from_bytes(digest, "little"))


_word_hashes = _WordHashes()


def sets_of_words(texts: Words, n: int) -> ShingleSets:
    """The shingle sets of at most 65,536 texts, each of a word and more (`Words.or_whole`)."""
    hashes, starts = texts.hashes, texts.bounds[:-1]
    counts = np.diff(texts.bounds)
    at, of = [], []
    runs = _mix(hashes)  # the hash of the run of `length` words that begins at each word
    for length in range(1, n + 1):
        if length > 1:
            runs = _mix(runs[: len(hashes) - length + 1] + hashes[length - 1 :])
        rows = np.flatnonzero(counts == length if length < n else counts >= n)
        number = counts[rows] - length + 1
        at.append(runs[ranges(starts[rows], number)])
        of.append(np.repeat(rows.astype(np.uint16), number))
    found, row = np.concatenate(at), np.concatenate(of)
    order = np.argsort(found)
    order = order[np.argsort(row[order], kind="stable")]
    found, row = found[order], row[order]
    new = group_starts(found, row)
    return ShingleSets(found[new], bounds_of(np.bincount(row[new], minlength=len(counts))))


def jaccards(a: ShingleSets, i: Positions, b: ShingleSets, j: Positions) -> npt.NDArray[np.float64]:
    """Exact Jaccard similarity of set `i[k]` of `a` and set `j[k]` of `b`, for every k.

    A shared element is missed where two of a set agree in the upper 48 bits of their hashes: for sets of a hundred
    shingles, in one pair of 10^10.
    """
    sizes_a, sizes_b = a.sizes_at(i), b.sizes_at(j)
    shared = np.zeros(len(i), np.int64)
    for part in blocks(sizes_a + sizes_b, _ELEMENTS, 1 << 16):
        keys_a, full_a = _keys(a, i[part], sizes_a[part])
        keys_b, full_b = _keys(b, j[part], sizes_b[part])
        at = np.minimum(np.searchsorted(keys_a, keys_b), len(keys_a) - 1)
        same = (keys_a[at] == keys_b) & (full_a[at] == full_b)
        number = np.repeat(np.arange(part.stop - part.start), sizes_b[part])
        shared[part] = np.bincount(number[same], minlength=part.stop - part.start)
    return shared / (sizes_a + sizes_b - shared)


def _keys(sets: ShingleSets, which: Positions, sizes: Positions) -> tuple[Hashes, Hashes]:
    """The elements as ascending keys (number of the pair, upper 48 bits of the hash), and the whole hashes."""
    full = sets.hashes[ranges(sets.bounds[which], sizes)]
    number = np.repeat(np.arange(len(which), dtype=np.uint64), sizes)
    return (number << np.uint64(48)) | (full >> np.uint64(16)), full


def _mix(values: Hashes) -> Hashes:
    """The finalizer of SplitMix64: every bit of the input moves every bit of the output."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

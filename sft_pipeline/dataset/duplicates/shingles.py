"""Shingle sets of many texts as arrays: 64-bit hashes in one buffer, and their exact Jaccard similarities.

A shingle costs 8 bytes here, in a Python set of strings about a hundred, and similarities are computed for many pairs
at once. Two different shingles have the same hash with probability 2^-64: among a billion pairs of sets of a hundred
shingles, one similarity is too large with probability below 1e-6. See `jaccards` for one that is too small.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import Positions, blocks, bounds_of, group_starts, ranges
from sft_pipeline.dataset.text import ASCII_WORDS, normalise, words

Hashes = npt.NDArray[np.uint64]

_TEXTS = 8192
_ELEMENTS = 1 << 21
_BYTES = 1 << 18

_BASES = 0x9E3779B97F4A7C15, pow(0x9E3779B97F4A7C15, -1, 1 << 64)
_powers = np.zeros((2, 0), np.uint64)
"""Powers of a base and of its inverse, as many as were needed so far."""
_LETTERS = np.frombuffer(ASCII_WORDS.replace(" ", "\0").encode() + bytes(range(128, 256)), np.uint8)
"""Of each byte the letter without case; 0 for what separates words."""


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

    def digests(self) -> Hashes:
        """For each set two sums of its hashes, mixed in two ways: a key of 128 bits, equal for equal sets."""
        salts = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F) if len(self) else ()
        found = [np.add.reduceat(_mix(self.hashes ^ np.uint64(salt)), self.bounds[:-1]) for salt in salts]
        return np.stack(found, axis=1) if found else np.zeros((0, 2), np.uint64)


@dataclass
class Words:
    """The words of texts, in order, as hashes: those of text i are `hashes[bounds[i]:bounds[i + 1]]`."""

    hashes: Hashes
    bounds: Positions
    _runs: dict[int, Hashes] = field(default_factory=dict, repr=False)

    def runs(self, length: int) -> Hashes:
        """The hash of the run of `length` words that begins at each word; none begins where fewer follow."""
        if length not in self._runs:
            last = max(0, len(self.hashes) + 1 - length)
            self._runs[length] = runs_hashed(self.hashes, slice(0, last), slice(length, None))
        return self._runs[length]

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
        forms = (normalise(texts[position]).encode("utf-8", "surrogatepass") for position in empty)
        whole = np.frombuffer(b"".join(hashlib.blake2b(form, digest_size=8).digest() for form in forms), np.uint64)
        return Words(np.insert(self.hashes, self.bounds[empty], whole), bounds_of(np.maximum(counts, 1)))

    def apart(self, part: Positions) -> "Words":
        """Other words, so that texts of different parts have none in common; the part 0 keeps its own."""
        salt = np.where(part == 0, np.uint64(0), _mix(part.astype(np.uint64)))
        return Words(self.hashes ^ np.repeat(salt, np.diff(self.bounds)), self.bounds)


def word_hashes(texts: Sequence[str]) -> Words:
    """The words of each text (`text.words`), hashed.

    The hash of a word is a polynomial of its bytes, which all words of a block get at once (`runs_hashed`).
    """
    # Whatever is not ASCII belongs to a word: of a text with other characters, the words are found first.
    encoded = [
        text.encode() if text.isascii() else " ".join(words(text)).encode("utf-8", "surrogatepass") for text in texts
    ]
    sizes = np.fromiter(map(len, encoded), np.int64, len(encoded)) + 1
    hashes, counts = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for part in blocks(sizes, _BYTES, len(encoded)):
        letters = _LETTERS[np.frombuffer(b"\n" + b"\n".join(encoded[part]) + b"\n", np.uint8)]
        edges = np.flatnonzero(np.diff(letters != 0)) + 1
        starts, ends = edges[::2], edges[1::2]
        hashes.append(_mix(runs_hashed(_VALUES[letters], starts, ends)))
        counts.append(np.diff(np.searchsorted(starts, bounds_of(sizes[part]), side="right")))
    return Words(np.concatenate(hashes), bounds_of(np.concatenate(counts)))


def runs_hashed(values: Hashes, starts: Positions | slice, ends: Positions | slice) -> Hashes:
    """The hash of each run `values[start:end]`, wherever it stands.

    A polynomial in an odd base, modulo 2^64, by differences of running sums.
    """
    global _powers
    factors = _powers  # not read again below: another thread may put shorter ones there
    if len(values) > len(factors[0]):
        factors = np.full((2, max(len(values), _BYTES + 2)), np.array(_BASES, np.uint64)[:, None])
        factors[:, 0] = 1
        _powers = factors = np.multiply.accumulate(factors, axis=1)
    powers, inverses = factors
    sums = bounds_of(values * powers[: len(values)], np.uint64)
    return (sums[ends] - sums[starts]) * inverses[starts]


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


_VALUES = np.r_[np.uint64(0), _mix(np.arange(1, 256, dtype=np.uint64))]
"""Of each letter the number that stands for it in a hash."""

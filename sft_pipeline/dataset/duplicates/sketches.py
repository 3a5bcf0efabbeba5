"""Shingle sets of more texts than memory holds: the sets in a file, and of each a key and a signature in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import Positions, blocks, bounds_of, first_equal, ranges
from sft_pipeline.dataset.duplicates.minhash import Buckets, band_keys
from sft_pipeline.dataset.duplicates.near import Prepared
from sft_pipeline.dataset.duplicates.shared_text import OwnCounts, long_shared
from sft_pipeline.dataset.duplicates.shingles import Hashes, ShingleSets, Words, sets_of_words
from sft_pipeline.experiment import Duplicates

_ELEMENTS = 1 << 22
"""Elements that are read at a time."""


class Sketch(NamedTuple):
    """Some sets, with what finds the equal and the like ones among them: 16 bytes, and 4 for each band."""

    sets: ShingleSets
    digests: Hashes
    keys: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, texts: Words, duplicates: Duplicates) -> "Sketch":
        """The sketch of texts of a word and more."""
        return cls.of_sets(sets_of_words(texts, duplicates.ngram), duplicates)

    @classmethod
    def of_sets(cls, sets: ShingleSets, duplicates: Duplicates) -> "Sketch":
        """The sketch of sets."""
        return cls(sets, sets.digests(), band_keys(sets, duplicates))


class Choice:
    """Which sketch stands for each text: that of the whole, or that of its own part, which came behind those of its batch."""

    def __init__(self) -> None:
        """Start without texts."""
        self._whole: list[Positions] = []
        self._own: list[tuple[Positions, ...]] = []
        self._texts = self._sketches = 0

    def add(self, count: int, own: OwnCounts) -> None:
        """Take in a batch of so many texts, of which `own` have a sketch of their own part besides."""
        self._whole.append(self._sketches + np.arange(count))
        number = self._sketches + count + np.arange(len(own.at))
        self._own.append((self._texts + own.at, number, *own[1:]))
        self._texts += count
        self._sketches += count + len(own.at)

    def made(self) -> tuple[Positions, Positions]:
        """The number of the sketch that stands for each text, and of those without what they share their families."""
        numbers = np.concatenate([np.zeros(0, np.int64), *self._whole])
        columns = zip(*self._own) if self._own else ((),) * 5
        at, number, family, own, shared = (np.concatenate([np.zeros(0, np.int64), *column]) for column in columns)
        out = long_shared(family, own, shared)
        numbers[at[out]] = number[out]
        return numbers, family[out]


class Sketches:
    """Sets in the order in which they came, each known by its number."""

    def __init__(self, file: Path) -> None:
        """Start without sets; they go to `file`, which belongs to whoever named it."""
        self._file = file
        self._sizes: list[Positions] = []
        self._digests: list[Hashes] = []
        self._keys: list[npt.NDArray[np.uint32]] = []
        file.touch()

    def add(self, sketch: Sketch) -> None:
        """Take in further sets."""
        self._sizes.append(sketch.sets.sizes)
        self._digests.append(sketch.digests)
        self._keys.append(sketch.keys)
        with self._file.open("ab") as stream:
            sketch.sets.hashes.tofile(stream)

    def prepared(self, at: Positions, also: Sequence[int] | Positions = ()) -> Prepared:
        """The sets with the numbers `at`, ready for a comparison.

        Those that share a band with no other one stay in the file, but for the ones at the indices `also` of `at`.
        """
        digests = np.concatenate([np.zeros((0, 2), np.uint64), *self._digests])[at]
        first = first_equal(*digests.T)
        distinct = np.flatnonzero(first == np.arange(len(at)))
        bands = self._keys[0].shape[1] if self._keys else 0
        chosen = at[distinct]
        buckets = Buckets(
            len(chosen), (np.concatenate([keys[:, b] for keys in self._keys])[chosen] for b in range(bands))
        )
        needed = np.zeros(len(at), bool)
        needed[distinct[buckets.members()]] = True
        needed[np.asarray(also, np.int64)] = True
        return Prepared(self.sets(at, needed), first, buckets)

    def sets(self, at: Positions, needed: npt.NDArray[np.bool_]) -> ShingleSets:
        """The needed ones of the sets `at`; the others are empty."""
        every = np.concatenate([np.zeros(0, np.int64), *self._sizes])
        places = bounds_of(every)
        bounds = bounds_of(np.where(needed, every[at], 0))
        hashes = np.empty(bounds[-1], np.uint64)
        rows = np.flatnonzero(needed)
        rows = rows[np.argsort(at[rows], kind="stable")]
        starts, sizes = places[at[rows]], every[at[rows]]
        with self._file.open("rb") as stream:
            for part in blocks(np.diff(starts, append=starts[-1:] + sizes[-1:]), _ELEMENTS, len(rows)):
                start = int(starts[part.start])
                stream.seek(8 * start)
                read = np.fromfile(stream, np.uint64, int(starts[part.stop - 1] + sizes[part.stop - 1]) - start)
                some = ranges(starts[part] - start, sizes[part])
                hashes[ranges(bounds[rows[part]], sizes[part])] = read[some]
        return ShingleSets(hashes, bounds)

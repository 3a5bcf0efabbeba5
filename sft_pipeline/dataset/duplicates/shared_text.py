"""Text that many rows have in common: a system message before every question, a passage behind several.

It says nothing about any of the rows, and as the longer part of a text it would make different questions
near-duplicates, or hide that a question is a copy. It is recognised by lines: the leading lines, and the trailing lines, that
`MANY` different texts share, as long as each of these texts has more lines.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from heapq import heappush, heapreplace
from itertools import accumulate, takewhile
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.duplicates.arrays import Positions, bounds_of, group_starts
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, Words, joined, sets_of_words
from sft_pipeline.dataset.text import normalise
from sft_pipeline.provenance.hashing import hash_bytes

MANY = 5
"""Different texts that share lines before these count as shared. Fewer may well be about the same thing."""


SAMPLE = 2000
"""Texts, drawn by hash, in which the frames inside of lines are looked for."""


class Own(NamedTuple):
    """What is a text's own, and what it shares with many others."""

    text: str
    shared: str
    """The shared lines; equal for all texts that share the same."""

    @property
    def family(self) -> int:
        """A number for the shared lines, from their normal form; never 0."""
        return int(hash_bytes(normalise(self.shared).encode("utf-8", "surrogatepass"))[:15], 16) + 1


class SharedText:
    """The leading and trailing lines that many texts share, learned from all texts that are compared."""

    def __init__(self) -> None:
        self._ends: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        self._known: tuple[frozenset[int], frozenset[int]] | None = None
        self._sample: list[tuple[int, str]] = []  # a heap of (-hash, text): the largest hash goes first
        self._lines: tuple[list[str], list[str]] | None = None

    @classmethod
    def of(cls, texts: Iterable[str]) -> "SharedText":
        """What the texts have in common."""
        shared = cls()
        shared.learn(texts)
        return shared

    def learn(self, texts: Iterable[str]) -> None:
        """Take in more texts; the same text counts once, however often it comes."""
        found: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
        for text in texts:
            entry = -crc32(text.encode("utf-8", "surrogatepass")), text
            if len(self._sample) < SAMPLE:
                heappush(self._sample, entry)
            elif entry > self._sample[0]:
                heapreplace(self._sample, entry)
            if "\n" not in text:
                continue
            lines = list(map(normalise, text.splitlines()))
            whole = hash(tuple(lines))
            for pairs, ordered in zip(found, (lines, lines[::-1])):
                pairs += ((end, whole) for end in _ends(ordered))
        for kept, pairs in zip(self._ends, found):
            kept.append(np.array(pairs, np.int64).reshape(-1, 2))
        self._known = self._lines = None

    def is_frame(self, before: str, after: str) -> bool:
        """Whether many lines begin with the text `before` and many end with `after`, one of which may be empty.

        Many lines of a sample: what fewer than one row in 400 has is not found.
        """
        if self._lines is None:
            lines = {normalise(line) for _, text in self._sample for line in text.splitlines()}
            self._lines = sorted(lines), sorted(line[::-1] for line in lines)
        return all(
            _is_beginning(found, normalise(end)[::step])
            for found, end, step in zip(self._lines, (before, after), (1, -1))
        )

    def split(self, text: str) -> Own | None:
        """The text's own lines without those that many share; None where it shares none."""
        if "\n" not in text:
            return None
        leading, trailing = self._shared()
        if not leading and not trailing:
            return None
        written = text.splitlines()
        if _end(0, normalise(written[0])) not in leading and _end(0, normalise(written[-1])) not in trailing:
            return None
        lines = list(map(normalise, written))
        begin = _longest(lines, leading)
        rest = lines[begin:]
        end = len(lines) - min(_longest(lines[::-1], trailing), _room(rest[::-1]))
        if not begin and end == len(lines):
            return None
        return Own("\n".join(written[begin:end]), "\n".join([*written[:begin], "", *written[end:]]).strip())

    def _shared(self) -> tuple[frozenset[int], frozenset[int]]:
        if self._known is None:
            leading, trailing = (_many(np.concatenate([np.zeros((0, 2), np.int64), *kept])) for kept in self._ends)
            self._known = leading, trailing
        return self._known


class OwnWords(NamedTuple):
    """The own parts of those texts that share something with many others."""

    at: Positions
    """Positions of the texts, ascending."""
    family: Positions
    """What each shares, as a number (`Own.family`)."""
    words: Words
    """Of each own part; of a pair's, the response's follow."""
    own: Positions
    """How many of them are the instruction's."""
    shared: Positions
    """Words that each shares with the others of its family."""


def gathered(parts: Sequence[OwnWords]) -> OwnWords:
    """All parts as one, with the positions as they are."""
    counts = [np.diff(part.words.bounds) for part in parts]
    hashes = np.concatenate([np.zeros(0, np.uint64), *(part.words.hashes for part in parts)])
    at, family, own, shared = (
        np.concatenate([np.zeros(0, np.int64), *(getattr(part, name) for part in parts)])
        for name in ("at", "family", "own", "shared")
    )
    return OwnWords(at, family, Words(hashes, bounds_of(np.concatenate([np.zeros(0, np.int64), *counts]))), own, shared)


def comparable(whole: ShingleSets, own: OwnWords, ngram: int) -> tuple[ShingleSets, npt.NDArray[np.bool_]]:
    """The sets by which near-duplicates are found, and which of `own` were taken without what they share.

    A shared text is left out where it is longer than what half of its texts add to it: there it would decide alone. Texts
    that share different texts are different ones then. A shorter one stays, for it cannot make texts near-duplicates
    whose own parts have little in common.
    """
    family, number = np.unique(own.family, return_inverse=True)
    long = np.array(
        [np.median(own.own[number == k]) <= np.median(own.shared[number == k]) for k in range(len(family))], bool
    )
    out = long[number] if len(family) else np.zeros(0, bool)
    chosen = np.flatnonzero(out)
    parts = [whole]
    for start in range(0, len(chosen), 8192):
        some = chosen[start : start + 8192]
        parts.append(sets_of_words(own.words.take(some).apart(own.family[some]), ngram))
    use = np.arange(len(whole))
    use[own.at[chosen]] = len(whole) + np.arange(len(chosen))
    return joined(parts).take(use) if len(chosen) else whole, out


def describe(texts: Mapping[str, int], what: str = "rows") -> list[str]:
    """A note about each text that was left out of a comparison, the commonest first; its rows by shared text."""
    notes = [
        f"compared without what many rows share, {text[:60].strip()!r}{' …' if len(text) > 60 else ''} "
        f"(lines: {len(text.splitlines())}; {what}: {count})"
        for text, count in Counter(texts).most_common(5)
    ]
    if len(texts) > 5:
        notes.append(f"{len(texts) - 5} more texts that many rows share were left out of the comparison")
    return notes


def _is_beginning(lines: Sequence[str], start: str) -> bool:
    """Whether `MANY` of the sorted lines begin with `start`."""
    last = bisect_left(lines, start) + MANY - 1
    return not start or (last < len(lines) and lines[last].startswith(start))


def _room(lines: Sequence[str]) -> int:
    """How many leading lines may go so that a line that is not blank stays."""
    return max((at for at, line in enumerate(lines) if line), default=0)


def _end(before: int, line: str) -> int:
    """A hash of the lines up to `line`, where `before` is that of those before it (0: none)."""
    return hash((before, line))


def _ends(lines: Sequence[str]) -> list[int]:
    """A hash of the first line, of the first two, …, as long as something stays."""
    return list(accumulate(lines[: _room(lines)], _end, initial=0))[1:]


def _longest(lines: Sequence[str], shared: frozenset[int]) -> int:
    """The number of leading lines that many share; the more lines, the fewer share them."""
    return sum(1 for _ in takewhile(shared.__contains__, _ends(lines)))


def _many(pairs: np.ndarray) -> frozenset[int]:
    """The ends that `MANY` different texts have."""
    if not len(pairs):
        return frozenset()
    ends, texts = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].T
    ends, counts = np.unique(ends[group_starts(ends, texts)], return_counts=True)
    return frozenset(ends[counts >= MANY].tolist())

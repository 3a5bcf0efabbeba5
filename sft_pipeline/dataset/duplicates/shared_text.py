"""Text that many rows have in common: a system message before every question, a passage behind several.

It says nothing about any of the rows, and as the longer part of a text it would make different questions
near-duplicates, or hide that a question is a copy. It is recognised by lines: the leading lines, and the trailing lines, that
`MANY` different texts share, as long as each of these texts has more lines.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from heapq import heapify, heappush, heapreplace, nlargest
from itertools import accumulate, takewhile
from typing import NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.arrays import Positions, group_starts
from sft_pipeline.dataset.duplicates.shingles import Words, word_hashes
from sft_pipeline.dataset.text import normalise
from sft_pipeline.provenance.hashing import hash_bytes

MANY = 5
"""Different texts that share lines before these count as shared. Fewer may well be about the same thing."""


SAMPLE, SAMPLED = 2000, 20_000
"""Texts, drawn by hash, in which the frames inside of lines are looked for, and the characters of the longest of them."""


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
            if len(text) <= SAMPLED:
                entry = -crc32(text.encode("utf-8", "surrogatepass")), text
                if len(self._sample) < SAMPLE:
                    heappush(self._sample, entry)
                elif entry > self._sample[0]:
                    heapreplace(self._sample, entry)
            if "\n" not in text:
                continue
            lines = list(map(_line, text.splitlines()))
            whole = hash(tuple(lines))
            for pairs, ordered in zip(found, (lines, lines[::-1])):
                pairs += ((end, whole) for end in _ends(ordered))
        for kept, pairs in zip(self._ends, found):
            kept.append(np.array(pairs, np.int64).reshape(-1, 2))
        self._known = self._lines = None

    def merge(self, other: "SharedText") -> None:
        """Take in what another one has learned from other texts."""
        for kept, more in zip(self._ends, other._ends):
            kept += more
        self._sample = nlargest(SAMPLE, self._sample + other._sample)
        heapify(self._sample)
        self._known = self._lines = None

    def ready(self) -> "SharedText":
        """The same without what it was learned from, to be sent to other processes."""
        self._shared()
        self._ends = ([], [])
        return self

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
        if _end(0, _line(written[0])) not in leading and _end(0, _line(written[-1])) not in trailing:
            return None
        lines = list(map(_line, written))
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


class OwnCounts(NamedTuple):
    """Those of some texts that share text with many others."""

    at: Positions
    """Positions of the texts, ascending."""
    family: Positions
    """What each shares, as a number (`Own.family`)."""
    own: Positions
    """How many words are its own."""
    shared: Positions
    """How many it shares."""


def own_parts(texts: Sequence[str], whole: Words, shared: SharedText) -> tuple[list[Own], OwnCounts, Words]:
    """Of those texts that share text with many others the own parts, the numbers of words, and the words of the own parts.

    `whole` are the words of all texts.
    """
    parts = {at: part for at, text in enumerate(texts) if (part := shared.split(text))}
    at = np.array(list(parts), np.int64)
    family = np.array([part.family for part in parts.values()], np.int64)
    words = word_hashes([part.text for part in parts.values()])
    own = np.diff(words.bounds)
    return list(parts.values()), OwnCounts(at, family, own, whole.bounds[at + 1] - whole.bounds[at] - own), words


def long_shared(family: Positions, own: Positions, shared: Positions) -> npt.NDArray[np.bool_]:
    """Which of some texts are compared without what they share.

    A shared text is left out where it is longer than what half of its texts add to it: there it would decide alone. Texts
    that share different texts are different ones then. A shorter one stays, for it cannot make texts near-duplicates
    whose own parts have little in common.

    Args:
        family: what each shares, as in `OwnCounts`.
        own: words of its own.
        shared: words that it shares.
    """
    _, number = np.unique(family, return_inverse=True)
    return (_medians(number, own) <= _medians(number, shared))[number]


def _medians(group: Positions, values: Positions) -> npt.NDArray[np.float64]:
    """The median of the values of each group 0, 1, …"""
    ordered = values[np.lexsort((values, group))]
    ends = np.cumsum(np.bincount(group))
    starts = np.r_[0, ends[:-1]].astype(np.int64) if len(ends) else ends
    return (ordered[(starts + ends - 1) // 2] + ordered[(starts + ends) // 2]) / 2


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


def _line(written: str) -> int:
    """A number for a line in its normal form, the same in every process; 0 for a blank one."""
    normal = normalise(written)
    return int.from_bytes(blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=8).digest()) if normal else 0


def _room(lines: Sequence[int]) -> int:
    """How many leading lines may go so that a line that is not blank stays."""
    return max((at for at, line in enumerate(lines) if line), default=0)


def _end(before: int, line: int) -> int:
    """A hash of the lines up to `line`, where `before` is that of those before it (0: none)."""
    return hash((before, line))


def _ends(lines: Sequence[int]) -> list[int]:
    """A hash of the first line, of the first two, …, as long as something stays."""
    return list(accumulate(lines[: _room(lines)], _end, initial=0))[1:]


def _longest(lines: Sequence[int], shared: frozenset[int]) -> int:
    """The number of leading lines that many share; the more lines, the fewer share them."""
    return sum(1 for _ in takewhile(shared.__contains__, _ends(lines)))


def _many(pairs: np.ndarray) -> frozenset[int]:
    """The ends that `MANY` different texts have."""
    if not len(pairs):
        return frozenset()
    ends, texts = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].T
    ends, counts = np.unique(ends[group_starts(ends, texts)], return_counts=True)
    return frozenset(ends[counts >= MANY].tolist())

"""How the responses of each type usually begin, end and how long they are: whether one was cut, a text alone cannot tell."""

import heapq
import math
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import blake2b

from sft_pipeline.dataset.filters.base import Row
from sft_pipeline.dataset.text import trimmed, words

_CLOSERS = "\"'”’»)]*_`"
_MARKS = (".", "!", "?", "…", "。", "！", "？", "．", "؟", "۔", "।")


def closed(text: str) -> bool:
    """Whether `text` ends with the mark of a whole sentence, quotation marks and brackets behind it aside."""
    return trimmed(text).rstrip(_CLOSERS).endswith(_MARKS)


# What begins or ends a sentence inside a line of prose.
SENTENCE_END = re.compile(r"(?<=[a-z0-9)\"”][.!?])[\"”)]?\s+(?=[A-Z\"“])")
ITEM = re.compile(r"\A\W*(?:\d{1,9}[.)]\s*)?")
CODE = re.compile(r"[{}=;<>\\|#@_]|\w\(|//|https?:|www\.")
_NUMBERED = re.compile(r"(?<!\w)\d{1,9}[.)]\s")
# What ends without a full stop and is whole: a quotation with its author, a label with its value, a formula.
_ENDS_WHOLE = re.compile(r"[:=→]|[\"”]\s*[-–—]|^[-–—~]|\s[-–—]\s*[A-Z]|\d\)|^[\"“A-Z]?\)?\s*\d|^[A-H]\)")


def unfinished(response: str) -> str | None:
    """How the last sentence of `response` stands out by having no full stop; None where it does not.

    People leave the last full stop out as well: by itself this is no sign that the rest is missing.
    """
    response = trimmed(response)
    last = response[response.rfind("\n") + 1 :].strip()
    if not response or not response[-1].isalnum() or CODE.search(last):
        return None
    text = ITEM.sub("", last)
    sentences = SENTENCE_END.split(text)
    fragment = sentences[-1].split()
    if (
        len(sentences) > 1
        and len(fragment) >= 2
        and len(sentences[-2].split()) >= 4
        and not _NUMBERED.search(text)
        and not _ENDS_WHOLE.search(sentences[-1])
        and sum(token.islower() for token in fragment) >= 0.6 * len(fragment)
    ):
        return "the response stops in the middle of its last sentence"
    tokens = text.split()
    earlier = [line for line in map(str.rstrip, response[: -len(last)].splitlines()) if line]
    if (
        len(earlier) >= 3
        and len(tokens) >= 2
        and sum(token.islower() for token in tokens) >= 0.6 * len(tokens)
        and all(line.endswith((".", "!", "?")) for line in earlier)
    ):
        return "the response's last line stops where all others are whole sentences"
    return None


class Continuations:
    """Which beginnings of responses go on, in many rows of the same type, and whether a limit cut the longest.

    A single text cannot tell a short answer from a cut one; the responses of its type can. `observe` is called with all
    raw rows, batch by batch; memory is bounded by `SAMPLE` beginnings per type, drawn by hash, so that the order of the
    rows does not matter. Up to that many rows of a type nothing is left out.
    """

    MINIMUM = 10
    """Rows of the sample that must go on."""

    CLOSED = 0.9
    """Share of a type's responses that must end with a punctuation mark. In a type whose answers are names, titles or
    lists, a short answer that begins a longer one is nothing unusual."""

    SAMPLE = 20_000
    """Beginnings that are kept per type."""

    CHARACTERS = 400
    """Characters of a beginning."""

    LONGEST = 0.97
    """A limit on the length cuts the longest responses: those above this quantile of their type."""

    AT_LIMIT = 0.8
    """Share of a type's unfinished responses that must be among its longest, for their missing full stops to be a sign of
    a limit. Where people leave full stops out, they do so at any length."""

    def __init__(self) -> None:
        self._lengths: dict[str, Counter[int]] = defaultdict(Counter)
        self._unfinished: dict[str, Counter[int]] = defaultdict(Counter)
        self._limits: dict[str, float] = {}
        self._closed: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        # Per type a heap of (-hash, beginning) whose top is the next to be replaced.
        self._samples: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._texts: dict[str, list[tuple[str, int]]] = {}

    def observe(self, rows: Iterable[Row]) -> None:
        """Learn from a batch of raw rows (`instruction`, `response`, `type`)."""
        self._texts, self._limits = {}, {}
        for row in rows:
            type, response = row["type"], row["response"]
            whole = closed(response)
            self._rows[type] += 1
            self._closed[type] += whole
            self._lengths[type][len(response)] += 1
            if not whole and unfinished(response):
                self._unfinished[type][len(response)] += 1
            sample = self._samples[type]
            beginning = response[: self.CHARACTERS]
            key = f"{row['instruction'][:1000]}\n{response[:1000]}".encode("utf-8", "surrogatepass")
            rank = -int.from_bytes(blake2b(key, digest_size=8).digest())
            if len(sample) < self.SAMPLE:
                heapq.heappush(sample, (rank, beginning))
            elif rank > sample[0][0]:
                heapq.heapreplace(sample, (rank, beginning))

    def merge(self, other: "Continuations") -> None:
        """Take in what another one has learned from other rows."""
        self._texts, self._limits = {}, {}
        self._rows.update(other._rows)
        self._closed.update(other._closed)
        for mine, theirs in ((self._lengths, other._lengths), (self._unfinished, other._unfinished)):
            for type, counts in theirs.items():
                mine[type].update(counts)
        for type, sample in other._samples.items():
            both = self._samples[type] + sample
            self._samples[type] = heapq.nlargest(self.SAMPLE, both) if len(both) > self.SAMPLE else both
            heapq.heapify(self._samples[type])

    def in_sentences(self, type: str) -> bool:
        """Whether the responses of a type usually end with a punctuation mark, so that a bare word is none of them."""
        return self._rows[type] > 0 and self._closed[type] >= self.CLOSED * self._rows[type]

    def go_on(self, type: str, response: str) -> str | None:
        """The words of a response of `type` that begins with `response` and goes on, when at least `MINIMUM` do."""
        if len(response) >= self.CHARACTERS or not self.in_sentences(type):
            return None
        if type not in self._texts:
            beginnings = (" ".join(words(text)) for _, text in self._samples[type])
            self._texts[type] = sorted(Counter(beginnings).items())
        texts = self._texts[type]
        start = " ".join(words(response)) + " "
        first = bisect_left(texts, (start,))
        found = 0
        for text, count in texts[first:]:
            if not text.startswith(start):
                return None
            found += count
            if found >= self.MINIMUM:
                return texts[first][0]
        return None

    def cut_by_limit(self, type: str, response: str) -> bool:
        """Whether an unfinished response is as long as those that a limit cut; False where no limit shows."""
        if type not in self._limits:
            self._limits[type] = self._limit(type)
        return len(response) >= self._limits[type]

    def _limit(self, type: str) -> float:
        """The length from which on responses of a type are cut: infinite where nothing shows that there is any."""
        rest = (1 - self.LONGEST) * self._rows[type]
        if rest < 3:
            return math.inf
        quantile = max(self._lengths[type])
        for length, count in sorted(self._lengths[type].items(), reverse=True):
            quantile, rest = length, rest - count
            if rest <= 0:
                break
        longest = sum(count for length, count in self._unfinished[type].items() if length >= quantile)
        if longest < 3 or longest < self.AT_LIMIT * self._unfinished[type].total():
            return math.inf
        return quantile

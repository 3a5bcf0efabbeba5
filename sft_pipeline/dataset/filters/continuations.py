"""How the responses of each type usually begin and end: what a text alone cannot tell about whether it was cut."""

import heapq
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


class Continuations:
    """Which beginnings of responses go on, in many rows of the same type.

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

    def __init__(self) -> None:
        self._closed: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        # Per type a heap of (-hash, beginning) whose top is the next to be replaced.
        self._samples: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._texts: dict[str, list[tuple[str, int]]] = {}

    def observe(self, rows: Iterable[Row]) -> None:
        """Learn from a batch of raw rows (`instruction`, `response`, `type`)."""
        self._texts = {}
        for row in rows:
            type, response = row["type"], row["response"]
            self._rows[type] += 1
            self._closed[type] += closed(response)
            sample = self._samples[type]
            key = f"{row['instruction'][:1000]}\n{response[:1000]}".encode("utf-8", "surrogatepass")
            rank = -int.from_bytes(blake2b(key, digest_size=8).digest())
            if len(sample) < self.SAMPLE:
                heapq.heappush(sample, (rank, self._beginning(response)))
            elif rank > sample[0][0]:
                heapq.heapreplace(sample, (rank, self._beginning(response)))

    def go_on(self, type: str, response: str) -> str | None:
        """The words of a response of `type` that begins with `response` and goes on, when at least `MINIMUM` do."""
        if len(response) >= self.CHARACTERS or self._closed[type] < self.CLOSED * self._rows[type]:
            return None
        if type not in self._texts:
            self._texts[type] = sorted(Counter(text for _, text in self._samples[type]).items())
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

    def _beginning(self, response: str) -> str:
        return " ".join(words(response[: self.CHARACTERS]))

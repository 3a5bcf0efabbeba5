"""Which of a few held-out texts a row resembles: exact Jaccard similarities without comparing all pairs.

Nothing is hashed or sampled here. Sets A and B of similarity s share at least s * |A| and s * |B| shingles, so that the
|A| - ceil(s * |A|) + 1 first of A and the |B| - ceil(s * |B|) + 1 first of B, in one common order, have one in common:
only those are looked up (prefix filtering: Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007). The rarest
shingles come first, which keeps a phrase that stands in every held-out text from making every row a candidate for all.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any, NamedTuple

from sft_pipeline.dataset.leakage.containment import runs_of
from sft_pipeline.dataset.table import MATCHED
from sft_pipeline.dataset.text import ngrams, shingles, words
from sft_pipeline.experiment import Data


class Form(NamedTuple):
    """A training row (id, instruction, response, group) as the tiers compare it."""

    row: Mapping[str, Any]
    shingles: frozenset[str]  # of the instruction
    words: list[str]  # of instruction and response
    asked: int  # how many of them are the instruction's
    runs: list[str]  # runs of words by which n-grams are looked up

    @property
    def text(self) -> str:
        """Instruction and response, in which the containment tier looks for test items."""
        return told(self.row)


def form(row: Mapping[str, Any], data: Data) -> Form:
    """`row` with the shingles of the near-duplicate tier and the words of the containment tier."""
    found = words(row["instruction"])
    # The same as text.shingles, which would find the words once more.
    near = frozenset(ngrams(found, data.duplicates.ngram)) or shingles(row["instruction"], data.duplicates.ngram)
    all_words = found + words(row["response"])
    return Form(row, near, all_words, len(found), runs_of(all_words, data.leakage.containment_ngram))


def told(row: Mapping[str, Any]) -> str:
    """Everything that a model learns from a row: instruction and response."""
    return "\n".join(filter(None, (row["instruction"], row["response"])))


class Overlaps:
    """HeldOutIndex-out shingle sets by position, asked for those that resemble a new set."""

    def __init__(self, sets: Sequence[frozenset[str]], least: float = 0.0) -> None:
        """Index `sets`; pairs below the similarity `least` are not looked for."""
        self._sets = sets
        frequency = Counter(shingle for found in sets for shingle in found)
        order = sorted(frequency, key=lambda shingle: (frequency[shingle], shingle))
        self._rank = {shingle: rank for rank, shingle in enumerate(order)}
        self._known = frozenset(order)
        self._ordered = [sorted(found, key=self._rank.__getitem__) for found in sets]
        self.raise_to(least)

    def raise_to(self, least: float) -> None:
        """From now on look only for pairs of similarity `least` and more."""
        self.least = least
        self._holders: dict[str, list[int]] = defaultdict(list)
        for position, ordered in enumerate(self._ordered):
            for shingle in ordered[: _prefix(least, len(ordered))]:
                self._holders[shingle].append(position)

    def matches(self, found: frozenset[str]) -> Iterator[tuple[int, float]]:
        """(position, Jaccard similarity) of the sets that share a shingle with `found`, at or above `least`."""
        hits = found & self._known
        # Shingles that no held-out text has are the rarest of all: they come first and find nothing.
        left = _prefix(self.least, len(found)) - (len(found) - len(hits))
        if left <= 0 or not hits:
            return
        probes = sorted(hits, key=self._rank.__getitem__)[:left] if left < len(hits) else hits
        candidates = {position for shingle in probes for position in self._holders.get(shingle, ())}
        largest = len(hits) / self.least + 1e-9 if self.least else float("inf")
        for position in sorted(candidates):
            held = self._sets[position]
            if len(held) <= largest:
                shared = len(held & hits)
                similarity = shared / (len(held) + len(found) - shared)
                if similarity >= self.least:
                    yield position, similarity


def _prefix(similarity: float, size: int) -> int:
    """How many shingles of a set must be looked up, the rarest first; the slack is for rounding."""
    return size - max(1, ceil(similarity * size - 1e-9)) + 1


def longest_common_run(a: str, b: str) -> str:
    """The longest run of words that stands in both texts, in comparison form, cut to `MATCHED` characters.

    Runs are compared up to the number of words that can be shown, and within the first 20,000 words of each text.
    """
    first, second = words(a)[:20_000], words(b)[:20_000]
    low, high, best = 0, min(len(first), len(second), MATCHED // 2), ""
    while low < high:
        middle = (low + high + 1) // 2
        held = set(ngrams(first, middle))
        found = next((run for run in ngrams(second, middle) if run in held), None)
        if found is None:
            high = middle - 1
        else:
            low, best = middle, found
    return best[:MATCHED]

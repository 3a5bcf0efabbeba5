"""Which n-grams of a few texts stand in another text: the tier of containment, of test items and of benchmark items.

An n-gram is looked up only where every run of a few words in it (its anchors) belongs to one of the texts, so that a row
which has nothing to do with them costs hardly more than its words.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from sft_pipeline.dataset.text import ngrams, normalise

SHORTEST = 4
"""Words of the shortest item that is looked for inside other texts."""

BOILERPLATE = 5
"""Different items that an n-gram, or a leading line, stands in before it counts as boilerplate."""


def anchor(n: int) -> int:
    """Words of a run that is looked up first, where n-grams have `n` words."""
    return min(SHORTEST, n)


def runs_of(found: Sequence[str], n: int) -> list[str]:
    """The runs of `anchor(n)` words: as `text.ngrams` gives them."""
    return list(map(" ".join, zip(*(found[start:] for start in range(anchor(n))))))


def item_grams(found: Sequence[str], n: int) -> frozenset[str]:
    """What identifies an item with the words `found`: its n-grams of `n` words.

    An item too short for one is one n-gram of all its words if it has at least `SHORTEST`; of fewer words it has none,
    for "Which is true?" stands in many texts and identifies none.
    """
    return frozenset(ngrams(found, min(n, len(found)))) if len(found) >= anchor(n) else frozenset()


def own_parts(texts: Sequence[str]) -> list[str]:
    """Each text without the leading lines that `BOILERPLATE` different texts have in common.

    A system message that stands before every question says nothing about any of them, and as the longer part of a text
    it would hide that the question is a copy, or that it is none.
    """
    lines = {text: text.splitlines() for text in texts}
    begins = dict.fromkeys(lines, 0)
    groups = [(0, list(lines))]
    while groups:
        depth, group = groups.pop()
        alike: dict[str, list[str]] = defaultdict(list)
        for text in group:
            if any(line.strip() for line in lines[text][depth + 1 :]):
                alike[normalise(lines[text][depth])].append(text)
        for shared in alike.values():
            if len(shared) >= BOILERPLATE:
                begins.update(dict.fromkeys(shared, depth + 1))
                groups.append((depth + 1, shared))
    return ["\n".join(lines[text][begins[text] :]) if begins[text] else text for text in texts]


class Grams:
    """The n-grams of items by position, asked for those that stand in a text."""

    def __init__(self, grams: Sequence[frozenset[str]], n: int) -> None:
        """Index the `grams` of each item, none of which is longer than `n` words."""
        self.of = grams
        self._holders: dict[str, list[int]] = defaultdict(list)  # n-gram → items that hold it
        for position, held in enumerate(grams):
            for gram in held:
                self._holders[gram].append(position)
        self._n, self._anchor = n, anchor(n)
        self._lengths = sorted({gram.count(" ") + 1 for gram in self._holders})
        self._anchors = frozenset(run for gram in self._holders for run in ngrams(gram.split(), self._anchor))

    def standing(self, found: Sequence[str], runs: Sequence[str], border: int = 0) -> dict[str, int]:
        """The n-grams of items that stand in the words `found`, with the number of words up to their first end.

        Args:
            found: the words of a text.
            runs: its `runs_of`.
            border: how many of the words are the instruction's, where a response follows. What identifies a short item
                must stand on one side of it: "Say owl three times." with the response "owl, owl, owl" does not hold
                the item "Three times owl: owl, owl,".
        """
        if self._anchors.isdisjoint(runs):
            return {}
        # Every run of an n-gram is known; so only unbroken stretches of known runs are looked at.
        standing: dict[str, int] = {}
        begin = None
        for place in range(len(runs) + 1):
            if place < len(runs) and runs[place] in self._anchors:
                begin = place if begin is None else begin
            elif begin is not None:
                for length in self._lengths:
                    for start in range(begin, place + self._anchor - length):
                        gram = " ".join(found[start : start + length])
                        crossing = length < self._n and start < border < start + length
                        if gram in self._holders and not crossing:
                            standing.setdefault(gram, start + length)
                begin = None
        return standing

    def shares(self, present: Collection[str]) -> dict[int, float]:
        """Of each item that holds a gram of `present` (each once): the share of its n-grams that are in there."""
        counts = Counter(position for gram in present for position in self._holders[gram])
        return {position: count / len(self.of[position]) for position, count in counts.items()}

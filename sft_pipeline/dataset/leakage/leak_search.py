"""The training rows that leak into held-out rows: the proof's tiers, seen from the row that has to go."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sft_pipeline.dataset.leakage.held_out_index import HeldOutIndex
from sft_pipeline.dataset.leakage.overlap import Form, longest_common_run
from sft_pipeline.dataset.text import normalise
from sft_pipeline.experiment import Data

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed

TIERS = {
    "exact": "the same text as",
    "near": "a near-duplicate of",
    "group": "of one group with",
    "contained": "holds word n-grams of",
    "semantic": "close in meaning to",
}
"""The tiers in the order in which they are asked, in words."""


class Leak(NamedTuple):
    """Why a row may not be trained on."""

    reason: str
    matched: str


class LeakSearch:
    """Rows of a stream that leak into held-out rows, by position in the stream; `found` has the reasons.

    Removing them leaves nothing over which `leakage.prove` would call the two sides unclean.
    """

    def __init__(self, held_out_rows: Sequence[Mapping], side: str, data: Data, embed: "Embed | None" = None) -> None:
        """Look for leaks into `held_out_rows`, which the reasons call `side`; the rest is as in `leakage.prove`."""
        semantic = data.leakage.semantic
        # Where it only reports, the semantic tier removes nothing, and nothing has to be embedded.
        decides = bool(semantic and semantic.decides)
        if not decides:
            data = data.model_copy(update={"leakage": data.leakage.model_copy(update={"semantic": None})})
        self._data, self._side = data, side
        self._held = HeldOutIndex(held_out_rows, data, embed if decides else None, data.duplicates.threshold)
        self._leaks: dict[int, Leak] = {}
        self._holding: dict[
            int, tuple[frozenset[str], str, str]
        ] = {}  # n-grams of held-out rows, the row's text and id
        self._same: dict[frozenset[str], frozenset[str]] = {}

    def add(self, start: int, batch: Sequence[Form]) -> None:
        """Look at the next rows of the stream, of which the first has the position `start`."""
        held = self._held
        for position, one in enumerate(batch, start):
            limited = self._data.leakage.max_contained_share < 1
            if limited and (grams := frozenset(held.grams.standing(one.words, one.runs, one.asked))):
                # Rows of one template hold the same n-grams: one set for all of them saves memory.
                self._holding[position] = (self._same.setdefault(grams, grams), one.text, one.row["id"])
            near = list(held.overlaps.matches(one.shingles))
            if near:
                other, similarity = max(near, key=lambda match: (match[1], -match[0]))
                same = [o for o, s in near if s == 1 and held.normal[o] == normalise(one.row["instruction"])]
                if same:
                    self._leak(position, one.row["instruction"], "exact", 1.0, same[0])
                else:
                    self._leak(position, one.row["instruction"], "near", similarity, other)
            elif one.row["group"] in held.groups:
                self._leak(position, one.row["instruction"], "group", 1.0, held.groups[one.row["group"]][0])
        if held.vectors is not None and batch:
            cosines = held.cosines(batch)
            for position, (one, line) in enumerate(zip(batch, cosines), start):
                other = int(line.argmax())
                if position not in self._leaks and line[other] >= self._data.leakage.semantic.threshold:
                    self._leak(position, one.row["instruction"], "semantic", float(line[other]), other)

    def found(self) -> dict[int, Leak]:
        """The leaking rows seen so far.

        An item whose n-grams stand in training beyond the declared share is freed of the rows that hold most of them,
        one after the other until the rest keeps the limit. Items go in the order of their texts and rows of equal share
        in that of theirs: the order in which the rows came decides nothing.
        """
        limit = self._data.leakage.max_contained_share
        holders: dict[str, list[int]] = {}
        for position, (grams, _, _) in self._holding.items():
            for gram in grams:
                holders.setdefault(gram, []).append(position)
        for other, wanted in enumerate(self._held.grams.of):
            standing = sum(any(p not in self._leaks for p in holders.get(gram, ())) for gram in wanted)
            if standing <= limit * len(wanted):  # most items; of a template's, every row would have to be counted
                continue
            held = Counter(p for gram in wanted for p in holders.get(gram, ()) if p not in self._leaks)
            left = {gram: sum(p not in self._leaks for p in holders.get(gram, ())) for gram in wanted}
            for position in sorted(held, key=lambda p: (-held[p], self._holding[p][1:])):
                if sum(count > 0 for count in left.values()) <= limit * len(wanted):
                    break
                grams, text, _ = self._holding[position]
                self._leak(position, text, "contained", held[position] / len(wanted), other)
                for gram in grams & wanted:
                    left[gram] -= 1
        return self._leaks

    def _leak(self, position: int, text: str, tier: str, similarity: float, other: int) -> None:
        row, held_text = self._held.rows[other], self._held.texts[other]
        reason = f"{tier}: {TIERS[tier]} the {self._side} row {row['id']} (similarity {similarity:.4f})"
        self._leaks[position] = Leak(reason, longest_common_run(text, held_text) or held_text)

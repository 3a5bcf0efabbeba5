"""The training rows that leak into held-out rows: the proof's tiers, seen from the row that is removed."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.leakage.batch import Batch, training_text
from sft_pipeline.dataset.leakage.held_out_index import HeldOutIndex
from sft_pipeline.dataset.leakage.overlap import longest_common_run
from sft_pipeline.experiment import Data

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed

TIERS = {
    "exact": "the same text as",
    "near": "a near-duplicate of",
    "group": "of one group with",
    "contained": "contains word n-grams of",
    "semantic": "close in meaning to",
}
"""The tiers in the order in which they are asked, in words."""


class Leak(NamedTuple):
    """Why a row may not be trained on."""

    reason: str
    matched: str


class Holding(NamedTuple):
    """A row that holds n-grams of held-out rows."""

    position: int
    grams: frozenset[int]
    text: str
    id: str


class Looked(NamedTuple):
    """What was found in some rows: leaks by position, and rows that may leak together with others."""

    leaks: dict[int, Leak]
    holding: list[Holding]


class LeakSearch:
    """Rows of a stream that leak into held-out rows, by position in the stream; `found` has the reasons.

    Removing them leaves nothing over which `leakage.prove` would call the two sides unclean.
    """

    def __init__(
        self,
        held_out_rows: Sequence[Mapping],
        side: str,
        data: Data,
        shared: SharedText,
        embed: "Embed | None" = None,
    ) -> None:
        """Look for leaks into `held_out_rows`, which the reasons call `side`; the rest is as in `leakage.prove`."""
        semantic = data.leakage.semantic
        # Where it only reports, the semantic tier removes nothing, and nothing has to be embedded.
        decides = bool(semantic and semantic.decides)
        if not decides:
            data = data.model_copy(update={"leakage": data.leakage.model_copy(update={"semantic": None})})
        self._data, self.side = data, side
        self._index = HeldOutIndex(
            held_out_rows, data, shared, data.duplicates.threshold, embed=embed if decides else None
        )
        self._leaks: dict[int, Leak] = {}
        # Of each row the n-grams of held-out rows, its text and its id; of each n-gram the rows that hold it.
        self._holding: dict[int, tuple[frozenset[int], str, str]] = {}
        self._holders: dict[int, list[int]] = defaultdict(list)
        self._same: dict[frozenset[int], frozenset[int]] = {}

    def compare(self, start: int, batch: Batch, wanted: npt.NDArray[np.bool_]) -> Looked:
        """What is found among the wanted ones of some rows of the stream, of which the first has the position `start`."""
        index, rows = self._index, batch.rows
        here = frozenset(np.flatnonzero(wanted).tolist())
        leaks: dict[int, Leak] = {}
        best: dict[int, tuple[bool, float, int]] = {}
        for near in index.near(batch):
            for row, held, similarity, exact in zip(*(column.tolist() for column in near)):
                if row not in here:
                    continue
                # The most similar held-out row, an exact one before all, the first among equals.
                key = (exact, similarity, -held)
                if row not in best or key > best[row]:
                    best[row] = key
        for row, (exact, similarity, held) in best.items():
            leaks[start + row] = self._leak(batch.texts[row], "exact" if exact else "near", similarity, -held)
        if index.groups:
            for row in sorted(here - best.keys()):
                one = rows[row]
                if one["group"] in index.groups:
                    leaks[start + row] = self._leak(one["instruction"], "group", 1.0, index.groups[one["group"]][0])
        found: dict[int, list[int]] = defaultdict(list)
        if self._data.leakage.max_contained_share < 1:
            for hits in index.grams.hits(batch.words, batch.asked):
                for row, gram in zip(hits.text.tolist(), hits.gram.tolist()):
                    if row in here:
                        found[row].append(gram)
        semantic = self._data.leakage.semantic
        if semantic and index.vectors is not None and len(batch):
            for row, line in enumerate(index.cosines(batch)):
                held, position = int(line.argmax()), start + row
                above = line[held] >= semantic.threshold
                if above and row in here and position not in leaks:
                    leaks[position] = self._leak(batch.texts[row], "semantic", float(line[held]), held)
        holding = [
            Holding(start + row, frozenset(grams), training_text(rows[row]), rows[row]["id"])
            for row, grams in found.items()
        ]
        return Looked(leaks, holding)

    def take(self, looked: Looked) -> None:
        """Take in what `compare` has found, in whichever process."""
        self._leaks |= looked.leaks
        for position, held_grams, text, id in looked.holding:
            # Rows of one template hold the same n-grams: one set for all of them saves memory.
            grams = self._same.setdefault(held_grams, held_grams)
            self._holding[position] = grams, text, id
            for gram in grams:
                self._holders[gram].append(position)

    def found(self, removed: Collection[int] = ()) -> dict[int, Leak]:
        """The leaking rows seen so far, but for those that are removed already.

        An item whose n-grams stand in training beyond the declared share is freed of the rows that hold most of them,
        one after the other until the rest keeps the limit. Items go in the order of their texts and rows of equal share
        in that of theirs: the order in which the rows came decides nothing.
        """
        limit = self._data.leakage.max_contained_share
        holders = {gram: [p for p in rows if p not in removed] for gram, rows in self._holders.items()}
        for held in range(len(self._index.rows) if self._holding else 0):
            wanted = self._index.grams.of(held)
            standing = sum(any(p not in self._leaks for p in holders.get(gram, ())) for gram in wanted)
            if standing <= limit * len(wanted):  # most items; of a template's, every row would have to be counted
                continue
            counts = Counter(p for gram in wanted for p in holders.get(gram, ()) if p not in self._leaks)
            left = {gram: sum(p not in self._leaks for p in holders.get(gram, ())) for gram in wanted}
            for position in sorted(counts, key=lambda p: (-counts[p], self._holding[p][1:])):
                if sum(count > 0 for count in left.values()) <= limit * len(wanted):
                    break
                grams, text, _ = self._holding[position]
                self._leaks[position] = self._leak(text, "contained", counts[position] / len(wanted), held)
                for gram in grams & left.keys():
                    left[gram] -= 1
        return {position: leak for position, leak in self._leaks.items() if position not in removed}

    def _leak(self, text: str, tier: str, similarity: float, held: int) -> Leak:
        row, held_text = self._index.rows[held], self._index.texts[held]
        reason = f"{tier}: {TIERS[tier]} the {self.side} row {row['id']} (similarity {similarity:.4f})"
        return Leak(reason, longest_common_run(text, held_text) or held_text)

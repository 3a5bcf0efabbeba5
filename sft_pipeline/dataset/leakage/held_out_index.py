"""Rows that nothing may leak into, indexed for every tier of the comparison with training rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.leakage.containment import Grams, item_grams, own_parts
from sft_pipeline.dataset.leakage.overlap import Form, Overlaps
from sft_pipeline.dataset.text import normalise, shingles, words
from sft_pipeline.experiment import Data

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed


class HeldOutIndex:
    """The held-out rows (id, instruction, group) of one comparison; the training rows come later.

    `rows` and all that goes by position is in the order of the texts: what is decided by position does not depend on
    the order in which the rows were given.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], data: Data, embed: "Embed | None", least: float) -> None:
        """Index `rows`; Jaccard similarities below `least` are not looked for.

        Raises:
            ValueError: the specification asks for the semantic tier and `embed` is missing.
        """
        if data.leakage.semantic and embed is None:
            raise ValueError("data.leakage.semantic is on: pass embed=semantic.load(...)")
        self.rows = sorted(rows, key=_content)
        self.texts: list[str] = [row["instruction"] for row in self.rows]
        self.normal = [normalise(text) for text in self.texts]
        self.overlaps = Overlaps([shingles(text, data.duplicates.ngram) for text in self.texts], least)
        self.groups: dict[str, list[int]] = defaultdict(list)
        for position, row in enumerate(self.rows):
            if row["group"] is not None:
                self.groups[row["group"]].append(position)
        n = data.leakage.containment_ngram
        # What is left of an item without its boilerplate may be too short to be looked for; then it is the whole again.
        parts = (words(part) for part in own_parts(self.texts))
        found = [own if item_grams(own, n) else words(text) for own, text in zip(parts, self.texts)]
        self.grams = Grams([item_grams(some, n) for some in found], n)
        self.short = frozenset(position for position, some in enumerate(found) if len(some) < n)
        self.embed = embed if data.leakage.semantic else None
        self.vectors = self.embed(self.texts) if self.embed and self.texts else None

    def cosines(self, batch: Sequence[Form]) -> npt.NDArray[np.float64]:
        """Cosine similarity of every row of `batch` with every held-out row, to four decimals.

        Beyond those it depends on the size of the blocks that are multiplied.
        """
        return (self.embed([one.row["instruction"] for one in batch]) @ self.vectors.T).astype(float).round(4)


def _content(row: Mapping[str, Any]) -> tuple[str, ...]:
    return normalise(row["instruction"]), row["instruction"], row["group"] or "", row["id"], str(row.get("source_row"))

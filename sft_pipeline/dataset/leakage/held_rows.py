"""Rows that nothing may leak into, indexed for every tier of the comparison with training rows."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset.leakage.overlap import Form, Overlaps, form
from sft_pipeline.dataset.text import normalise
from sft_pipeline.experiment import Data

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed


class Held:
    """The held-out rows (id, instruction, group) of one comparison; the training rows come later."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], data: Data, embed: "Embed | None", least: float) -> None:
        """Index `rows`; Jaccard similarities below `least` are not looked for.

        Raises:
            ValueError: the specification asks for the semantic tier and `embed` is missing.
        """
        if data.leakage.semantic and embed is None:
            raise ValueError("data.leakage.semantic is on: pass embed=semantic.load(...)")
        self.rows = rows
        self.texts: list[str] = [row["instruction"] for row in rows]
        self.normal = [normalise(text) for text in self.texts]
        forms = [form(row, data) for row in rows]
        self.overlaps = Overlaps([one.shingles for one in forms], least)
        self.groups: dict[str, list[int]] = defaultdict(list)
        self.holders: dict[str, list[int]] = defaultdict(list)  # n-gram → rows that hold it
        self.grams = [one.grams for one in forms]
        for position, one in enumerate(forms):
            if one.row["group"] is not None:
                self.groups[one.row["group"]].append(position)
            for gram in one.grams:
                self.holders[gram].append(position)
        self.wanted = frozenset(self.holders)
        self.embed = embed if data.leakage.semantic else None
        self.vectors = self.embed(self.texts) if self.embed and self.texts else None

    def shares(self, present: frozenset[str]) -> dict[int, float]:
        """Of each row that holds a gram of `present`: the share of its n-grams that stand in there."""
        counts = Counter(position for gram in present for position in self.holders[gram])
        return {position: count / len(self.grams[position]) for position, count in counts.items()}

    def cosines(self, batch: Sequence[Form]) -> npt.NDArray[np.float64]:
        """Cosine similarity of every row of `batch` with every held-out row, to four decimals.

        Beyond those it depends on the size of the blocks that are multiplied.
        """
        return (self.embed([one.row["instruction"] for one in batch]) @ self.vectors.T).astype(float).round(4)

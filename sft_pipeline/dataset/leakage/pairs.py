"""Which single rows are near which held-out rows: the tiers of the proof, pair by pair."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.leakage.batch import Batch, Row, blocks_of
from sft_pipeline.dataset.leakage.held_out_index import HeldOutIndex
from sft_pipeline.experiment import Data


def leaking_pairs(rows: Sequence[Row], held_out: Sequence[Row], data: Data) -> dict[str, dict[int, str]]:
    """By id of a held-out row, the positions of the rows that are near it, each with its tier.

    A row that holds more than the declared share of an item's n-grams by itself counts as `contained`. The semantic tier is
    not asked.

    Args:
        rows: rows (id, instruction, response, group) that a model may see.
        held_out: rows (id, instruction, response, group) that it is judged on.
        data: duplicates (shingles, threshold) and leakage (containment) are the parameters.
    """
    data = data.model_copy(update={"leakage": data.leakage.model_copy(update={"semantic": None})})
    shared = SharedText.of(row["instruction"] for side in (rows, held_out) for row in side)
    index = HeldOutIndex(held_out, data, shared, data.duplicates.threshold)
    found: dict[str, dict[int, str]] = defaultdict(dict)

    def add(held: int, position: int, tier: str) -> None:
        found[index.rows[held]["id"]].setdefault(position, tier)

    start = 0
    for block in blocks_of(rows):
        batch = Batch(block, data, shared)
        for near in index.near(batch):
            for row, held, exact in zip(near.row.tolist(), near.held.tolist(), near.exact.tolist(), strict=True):
                add(held, start + row, "exact" if exact else "near")
        for row, one in enumerate(block):
            for held in index.groups.get(one["group"], ()) if one["group"] is not None else ():
                add(held, start + row, "group")
        for hits in index.grams.hits(batch.words, batch.asked):
            at, items = index.grams.holders(hits.gram)
            pairs, counts = np.unique(np.stack([hits.text[at], items]), axis=1, return_counts=True)
            over = counts > data.leakage.max_contained_share * index.grams.sizes[pairs[1]]
            for row, held in pairs[:, over].T.tolist():
                add(held, start + row, "contained")
        start += len(block)
    return dict(found)

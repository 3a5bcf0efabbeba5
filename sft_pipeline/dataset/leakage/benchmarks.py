"""Evaluation benchmarks as held-out test sets: training rows that contain one of their items are found.

A row contains an item when

- exact: the normal form of its instruction is the item's;
- near: the Jaccard similarity of instruction and item reaches the threshold of the near-duplicates;
- contained: more than the declared share of the item's word n-grams stand in instruction and response. An item that is
  too short for an n-gram is one n-gram of all its words if it has at least four; a shorter one only leaks as a whole
  instruction or as a whole line of one (containment.py).

Boilerplate identifies no item either: an n-gram of `MANY` different items of one benchmark and more is left out of the
count. Measured on Alpaca's 52,002 rows against 2,528 items of GSM8K, HumanEval, IFEval and three subjects of MMLU: 2 rows
are taken for leaks, both wrongly and both for the phrases of MMLU's short questions ("Which of the following statements
is true?").
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from sft_pipeline.dataset import table
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.leakage.batch import Batch, training_text
from sft_pipeline.dataset.leakage.held_out_index import HeldOutIndex
from sft_pipeline.dataset.leakage.overlap import longest_common_run
from sft_pipeline.experiment import Data


class Hit(NamedTuple):
    """A benchmark item that a row contains."""

    benchmark: str
    reason: str
    matched: str


class BenchmarkIndex:
    """The items of all benchmarks, asked which of them rows contain."""

    def __init__(self, files: Mapping[str, Path], data: Data, shared: SharedText | None = None) -> None:
        """Read the items (table.BENCHMARK) of the benchmark files by name; `shared` is what many rows have in common."""
        self._limit = data.leakage.max_benchmark_share
        items = [
            {**item, "instruction": item["text"], "group": name}
            for name, path in files.items()
            for item in table.read_table(path)
        ]
        without = data.model_copy(update={"leakage": data.leakage.model_copy(update={"semantic": None})})
        self._index = HeldOutIndex(items, without, shared or SharedText(), data.duplicates.threshold, benchmarks=True)

    def contained(self, batch: Batch) -> Iterator[tuple[int, Hit]]:
        """The rows (instruction, response) that contain an item, each with the item that it contains most of."""
        best: dict[int, tuple[bool, float, int]] = {}
        for near in self._index.near(batch):
            for row, held, similarity, exact in zip(*(column.tolist() for column in near)):
                best[row] = max(best.get(row, (False, 0.0, 0)), (exact, similarity, -held))
        for row, (exact, similarity, held) in sorted(best.items()):
            how = (
                "exact: the instruction is" if exact else f"near: the instruction resembles (Jaccard {similarity:.4f})"
            )
            yield row, self._hit(-held, how, batch.texts[row])
        shares: dict[tuple[int, int], int] = {}
        for hits in self._index.grams.hits(batch.words, batch.asked):
            at, items = self._index.grams.holders(hits.gram)
            for row, held in zip(hits.text[at].tolist(), items.tolist()):
                shares[row, held] = shares.get((row, held), 0) + 1
        most: dict[int, tuple[float, int]] = {}
        for (row, held), count in shares.items():
            most[row] = max(most.get(row, (0.0, 0)), (count / int(self._index.grams.sizes[held]), -held))
        for row, (share, held) in sorted(most.items()):
            if share > self._limit and row not in best:
                how = f"contained: {share:.0%} of the word n-grams stand in the row, of"
                yield row, self._hit(-held, how, training_text(batch.rows[row]))

    def _hit(self, held: int, reason: str, text: str) -> Hit:
        item = self._index.rows[held]
        where = f"item {item['id']} ({item['source_file']}:{item['source_row']}) of {item['group']}"
        return Hit(
            item["group"], f"{reason} {where}", longest_common_run(text, item["text"]) or item["text"][: table.MATCHED]
        )

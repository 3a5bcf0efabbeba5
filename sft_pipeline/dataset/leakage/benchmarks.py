"""Evaluation benchmarks as protected test sets: training rows that contain one of their items are found.

A row contains an item when

- exact: the normal form of its instruction is the item's;
- near: the Jaccard similarity of instruction and item reaches the threshold of the near-duplicates;
- contained: more than the declared share of the item's word n-grams stand in instruction and response. An item that is
  too short for an n-gram is one n-gram of all its words if it has at least four; a shorter one is only looked for
  exactly (containment.py).

Boilerplate identifies no item either: an n-gram that stands in `BOILERPLATE` different items of one benchmark and more
("First repeat the request word for word without change" in 20 of IFEval's) is left out of the count. Measured on
Alpaca's 52,002 rows against 2,528 items of GSM8K, HumanEval, IFEval and three subjects of MMLU: 2 rows are taken for
leaks, both wrongly and both for the phrases of MMLU's short questions ("Which of the following statements is true?").
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sft_pipeline.dataset import table
from sft_pipeline.dataset.leakage.containment import BOILERPLATE, Grams, item_grams, runs_of
from sft_pipeline.dataset.leakage.overlap import Overlaps, longest_common_run
from sft_pipeline.dataset.text import ngrams, normalise, shingles, words
from sft_pipeline.experiment import Data


class Hit(NamedTuple):
    """A benchmark item that a row contains."""

    benchmark: str
    reason: str
    matched: str


class BenchmarkIndex:
    """The items of all benchmarks, asked for the first one that a row contains."""

    def __init__(self, files: Mapping[str, Path], data: Data) -> None:
        """Read the items (table.BENCHMARK) of the benchmark files by name."""
        self._duplicates = data.duplicates
        self._n = data.leakage.containment_ngram
        self._limit = data.leakage.max_benchmark_share
        self._items = [(name, item) for name, path in files.items() for item in table.read_table(path)]
        texts = [item["text"] for _, item in self._items]
        self._normal = [normalise(text) for text in texts]
        self._overlaps = Overlaps([shingles(text, self._duplicates.ngram) for text in texts], data.duplicates.threshold)
        self._grams = Grams(self._identifying([words(text) for text in texts]), self._n)

    def _identifying(self, items: Sequence[Sequence[str]]) -> list[frozenset[str]]:
        """The n-grams of each item (its words, in order) without the boilerplate of its benchmark."""
        grams = [item_grams(item, self._n) for item in items]
        lengths = {gram.count(" ") + 1 for held in grams for gram in held}
        names = [name for name, _ in self._items]
        standing = {(name, gram): 0 for name, held in zip(names, grams) for gram in held}
        different = {(name, normal): item for name, normal, item in zip(names, self._normal, items)}
        for (name, _), item in different.items():
            for gram in {gram for length in lengths for gram in ngrams(item, length)}:
                if (name, gram) in standing:
                    standing[name, gram] += 1
        return [
            frozenset(gram for gram in held if standing[name, gram] < BOILERPLATE) for name, held in zip(names, grams)
        ]

    def contained(self, row: Mapping[str, Any]) -> Hit | None:
        """The item that `row` (instruction, response) contains: exactly, nearly, or by its n-grams."""
        near = list(self._overlaps.matches(shingles(row["instruction"], self._duplicates.ngram)))
        if near:
            position, similarity = max(near, key=lambda match: (match[1], -match[0]))
            normal = normalise(row["instruction"])
            same = [other for other, found in near if found == 1 and self._normal[other] == normal]
            if same:
                return self._hit(same[0], "exact: the instruction is", row["instruction"])
            return self._hit(
                position, f"near: the instruction resembles (Jaccard {similarity:.4f})", row["instruction"]
            )
        text = f"{row['instruction']}\n{row['response']}"
        found = words(text)
        shares = self._grams.shares(self._grams.standing(found, runs_of(found, self._n)))
        best = max(((share, -position) for position, share in shares.items()), default=None)
        if best is None or best[0] <= self._limit:
            return None
        share, position = best[0], -best[1]
        return self._hit(position, f"contained: {share:.0%} of the word n-grams stand in the row, of", text)

    def _hit(self, position: int, reason: str, text: str) -> Hit:
        name, item = self._items[position]
        where = f"item {item['id']} ({item['source_file']}:{item['source_row']}) of {name}"
        return Hit(name, f"{reason} {where}", longest_common_run(text, item["text"]) or item["text"][: table.MATCHED])

"""What takes clean rows out of dev and train: benchmark items, and leaks into the rows of another split."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import table
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.leakage.batch import COMPARED, Batch
from sft_pipeline.dataset.leakage.benchmarks import BenchmarkIndex
from sft_pipeline.dataset.leakage.leak_search import LeakSearch
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.experiment import Data


class Removal(NamedTuple):
    """Why a row stands in no split."""

    filter: str
    reason: str
    matched: str


def benchmark_removals(
    clean: InstructionDataset, files: Mapping[str, Path], data: Data, shared: SharedText, progress: Progress
) -> dict[int, Removal]:
    """The rows that hold an item of a held-out benchmark (table.BENCHMARK, by the benchmark's name), by position."""
    if not files:
        return {}
    benchmarks = BenchmarkIndex(files, data, shared)
    removals = {}
    for start, rows in batches(clean, COMPARED, "benchmarks", progress):
        for row, hit in benchmarks.contained(Batch(rows, data, shared)):
            removals[start + row] = Removal(f"benchmark:{hit.benchmark}", hit.reason, hit.matched)
    return removals


def search_leaks(
    clean: InstructionDataset,
    searches: Sequence[tuple[LeakSearch, Sequence[int]]],
    data: Data,
    shared: SharedText,
    progress: Progress,
) -> None:
    """Show each search the clean rows at its positions, in one pass over all."""
    wanted = np.zeros((len(searches), clean.rows), bool)
    for mask, (_, positions) in zip(wanted, searches):
        mask[np.array(positions, np.int64)] = True
    for start, rows in batches(clean, COMPARED, "leaks", progress):
        batch = Batch(rows, data, shared)
        for mask, (search, _) in zip(wanted, searches):
            search.add(start, batch, mask[start : start + len(rows)])


def leak_removals(search: LeakSearch, removed: Collection[int] = ()) -> dict[int, Removal]:
    """What a search found, but for the rows that are removed already."""
    return {
        position: Removal(f"leaks_into_{search.side}", leak.reason, leak.matched)
        for position, leak in search.found(removed).items()
    }


def batches(
    clean: InstructionDataset, columns: Sequence[str] | None, stage: str, progress: Progress
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The clean rows (some or all columns) in batches, each with the position of its first row."""
    done = 0
    for batch in table.batches(clean.path(clean.ROWS), columns):
        yield done, batch
        done += len(batch)
        progress(stage, done, clean.rows)

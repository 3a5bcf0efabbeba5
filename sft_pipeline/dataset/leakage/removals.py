"""What takes clean rows out of dev and train: benchmark items, and leaks into the rows of another split."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import table
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.leakage.batch import COMPARED, Batch
from sft_pipeline.dataset.leakage.benchmarks import BenchmarkIndex, Hit
from sft_pipeline.dataset.leakage.leak_search import LeakSearch, Looked
from sft_pipeline.dataset.parallel import Workers
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.experiment import Data


class Removal(NamedTuple):
    """Why a row stands in no split."""

    filter: str
    reason: str
    matched: str


def benchmark_removals(
    clean: InstructionDataset,
    files: Mapping[str, Path],
    data: Data,
    shared: SharedText,
    workers: Workers,
    progress: Progress,
) -> dict[int, Removal]:
    """The rows that hold an item of a held-out benchmark (table.BENCHMARK, by the benchmark's name), by position."""
    if not files:
        return {}
    rows = clean.path(clean.ROWS)
    removals, start = {}, 0
    state = rows, BenchmarkIndex(files, data, shared), data, shared
    for count, hits in workers.map(_contained, range(table.group_count(rows)), *state):
        for row, hit in hits:
            removals[start + row] = Removal(f"benchmark:{hit.benchmark}", hit.reason, hit.matched)
        start += count
        progress("benchmarks", start, clean.rows)
    return removals


def _contained(
    group: int, path: Path, benchmarks: BenchmarkIndex, data: Data, shared: SharedText
) -> tuple[int, list[tuple[int, Hit]]]:
    """How many rows a batch has, and which of them hold an item."""
    rows = table.read_group(path, group, COMPARED).to_pylist()
    return len(rows), list(benchmarks.contained(Batch(rows, data, shared)))


def search_leaks(
    clean: InstructionDataset,
    searches: Sequence[tuple[LeakSearch, npt.NDArray[np.bool_]]],
    data: Data,
    shared: SharedText,
    workers: Workers,
    progress: Progress,
) -> None:
    """Show each search the clean rows that are wanted of it, in one pass over all."""
    path, start = clean.path(clean.ROWS), 0
    tasks = []
    for group, count in enumerate(table.group_sizes(path)):
        tasks.append((group, start, [wanted[start : start + count] for _, wanted in searches]))
        start += count
    found = workers.map(_looked, tasks, path, [search for search, _ in searches], data, shared)
    for (_, start, (first, *_)), looked in zip(tasks, found):
        for (search, _), some in zip(searches, looked):
            search.take(some)
        progress("leaks", start + len(first), clean.rows)


def _looked(
    task: tuple[int, int, list[npt.NDArray[np.bool_]]],
    path: Path,
    searches: Sequence[LeakSearch],
    data: Data,
    shared: SharedText,
) -> list[Looked]:
    """What each search finds in a batch: its number, the position of its first row, and the rows wanted of it."""
    group, start, wanted = task
    batch = Batch(table.read_group(path, group, COMPARED).to_pylist(), data, shared)
    return [search.compare(start, batch, some) for search, some in zip(searches, wanted)]


def leak_removals(search: LeakSearch, removed: Collection[int] = ()) -> dict[int, Removal]:
    """What a search found, but for the rows that are removed already."""
    return {
        position: Removal(f"leaks_into_{search.side}", leak.reason, leak.matched)
        for position, leak in search.found(removed).items()
    }

"""What takes clean rows out of dev and train: benchmark items, and leaks into the rows of another split."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import table
from sft_pipeline.dataset.leakage.benchmarks import BenchmarkIndex
from sft_pipeline.dataset.leakage.leak_search import LeakSearch
from sft_pipeline.dataset.leakage.overlap import form
from sft_pipeline.dataset.leakage.proof import BLOCK, COMPARED, blocks
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.experiment import Data

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed


class Removal(NamedTuple):
    """Why a row stands in no split."""

    filter: str
    reason: str
    matched: str


def benchmark_removals(
    clean: InstructionDataset, files: Mapping[str, Path], data: Data, progress: Progress
) -> dict[int, Removal]:
    """The rows that hold an item of a protected benchmark (table.BENCHMARK, by the benchmark's name), by position."""
    if not files:
        return {}
    protected = BenchmarkIndex(files, data)
    return {
        position: Removal(f"benchmark:{hit.benchmark}", hit.reason, hit.matched)
        for position, row in numbered(clean, ("instruction", "response"), "benchmarks", progress)
        if (hit := protected.contained(row))
    }


def leak_removals(
    clean: InstructionDataset,
    positions: Sequence[int],
    held: Sequence[Mapping[str, Any]],
    side: str,
    data: Data,
    embed: "Embed | None",
    progress: Progress,
) -> dict[int, Removal]:
    """Which of the rows at `positions` (ascending) leak into the rows `held` of the split `side`."""
    leaking = LeakSearch(held, side, data, embed)
    wanted = frozenset(positions)
    rows = (row for position, row in numbered(clean, COMPARED, f"leaks into {side}", progress) if position in wanted)
    done = 0
    for block in blocks(rows, BLOCK):
        leaking.add(done, [form(row, data) for row in block])
        done += len(block)
    return {
        positions[index]: Removal(f"leaks_into_{side}", leak.reason, leak.matched)
        for index, leak in leaking.found().items()
    }


def numbered(
    clean: InstructionDataset, columns: Sequence[str] | None, stage: str, progress: Progress
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Position and row (some or all columns) of every clean row; `progress` hears of it as `stage`."""
    done = 0
    for batch in table.batches(clean.path(clean.ROWS), columns):
        yield from enumerate(batch, done)
        done += len(batch)
        progress(stage, done, clean.rows)

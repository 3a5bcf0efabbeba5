"""The pass that writes: what stays to rows.parquet, what goes to rejected.parquet, both in the order of the source."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import table
from sft_pipeline.dataset.cleaning.clusters import COPY, KEPT, NAMES, Level, reason_against
from sft_pipeline.dataset.cleaning.manifest import Lengths
from sft_pipeline.dataset.filters import Row
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.experiment import Quality

LENGTHS = ("instruction_words", "instruction_tokens", "response_words", "response_tokens")


@dataclass
class Written:
    """What was written, as figures."""

    rows: int = 0
    types: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    lengths: Lengths = field(default_factory=Lengths)
    delimiters: int = 0


def write_rows(
    rows: Iterable[tuple[Row, Mapping[str, Any]]],
    total: int,
    levels: Sequence[Level],
    quality: Quality,
    out: Path,
    progress: Progress,
) -> Written:
    """Write the rows that stay and those that go.

    Args:
        rows: all raw rows in their order, each with its verdict.
        total: how many.
        levels: the duplicates among the rows that no filter matches.
        quality: for the count of delimiters in what stays.
        out: folder for the two files.
        progress: called with the rows written.
    """
    outcome, of, similarity = _by_position(levels, total)
    # A kept row comes before its copies: what they need of it is held from then on, and nothing of the other rows.
    wanted = np.zeros(total, bool)
    wanted[of[outcome >= COPY]] = True
    kept: dict[int, dict[str, Any]] = {}
    written = Written()
    lengths: dict[str, list[int]] = defaultdict(list)
    with (
        table.Writer(out / InstructionDataset.ROWS, table.ROW) as stays,
        table.Writer(out / InstructionDataset.REJECTED, table.REJECTED) as goes,
    ):
        for position, (row, verdict) in enumerate(rows):
            if verdict["filter"]:
                goes.add(table.rejected_row(row, verdict["filter"], verdict["reason"], verdict["matched"]))
                written.rejected[verdict["filter"]] += 1
            elif outcome[position] >= COPY:
                code, other = int(outcome[position]), kept[int(of[position])]
                reason = reason_against(code, float(similarity[position]), other)
                goes.add(table.rejected_row(row, NAMES[code], reason, other["instruction"]))
                written.rejected[NAMES[code]] += 1
            else:
                stays.add({**row, "critics": verdict["critics"]})
                written.types[row["type"]] += 1
                written.delimiters += sum(
                    marker in row["instruction"] or marker in row["response"] for marker in quality.delimiters
                )
                for name in LENGTHS:
                    if verdict[name] is not None:
                        lengths[name].append(verdict[name])
                if wanted[position]:
                    instruction = row["instruction"][: table.MATCHED]
                    kept[position] = {**{f: row[f] for f in _NAMED}, "instruction": instruction}
            if (position + 1) % table.BATCH == 0 or position + 1 == total:
                progress("write", position + 1, total)
                for name, values in lengths.items():
                    written.lengths.add(name, values)
                    values.clear()
    written.rows = stays.rows
    return written


_NAMED = ("id", "source_file", "source_row")


def _by_position(levels: Sequence[Level], total: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each raw row what becomes of it, the row that it resembles, and the similarity."""
    outcome, of, similarity = np.full(total, KEPT, np.int8), np.arange(total), np.ones(total)
    for level in levels:
        goes = level.outcome >= COPY
        rows = level.row[goes]
        outcome[rows], of[rows], similarity[rows] = level.outcome[goes], level.of[goes], level.similarity[goes]
    return outcome, of, similarity

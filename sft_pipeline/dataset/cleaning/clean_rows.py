"""The pass that writes: what stays to rows.parquet, what goes to rejected.parquet, both in the order of the source."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import table
from sft_pipeline.dataset.cleaning.clusters import COPY, KEPT, NAMES, Level, reason_against
from sft_pipeline.dataset.cleaning.judging import FIELDS
from sft_pipeline.dataset.cleaning.manifest import Lengths
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
    source: Path,
    verdicts: Iterable[pa.RecordBatch],
    total: int,
    levels: Sequence[Level],
    quality: Quality,
    out: Path,
    progress: Progress,
) -> Written:
    """Write the rows that stay and those that go.

    Args:
        source: all raw rows.
        verdicts: of each of its batches those on the rows.
        total: how many rows there are.
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
    written, start = Written(), 0
    with (
        table.Writer(out / InstructionDataset.ROWS, table.row_schema(source)) as stays,
        table.Writer(out / InstructionDataset.REJECTED, table.REJECTED) as goes,
    ):
        for group, verdict in enumerate(verdicts):
            rows = table.read_group(source, group)
            here = slice(start, start + len(rows))
            matches = verdict.column("filter").is_valid().to_numpy(zero_copy_only=False)
            goes_here = np.flatnonzero(matches | (outcome[here] >= COPY))
            stay = np.ones(len(rows), bool)
            stay[goes_here] = False
            mask = pa.array(stay)
            staying = rows.set_column(rows.schema.get_field_index("critics"), "critics", verdict["critics"]).filter(
                mask
            )
            stays.add_table(staying)
            _count(written, staying, verdict.filter(mask), quality)
            needed = np.flatnonzero(wanted[here] & stay)
            for position, row in zip((start + needed).tolist(), rows.take(needed).to_pylist()):
                instruction = row["instruction"][: table.MATCHED]
                kept[position] = {**{f: row[f] for f in _NAMED}, "instruction": instruction}
            going = zip(goes_here.tolist(), rows.take(goes_here).to_pylist(), verdict.take(goes_here).to_pylist())
            for index, row, judged in going:
                position = start + index
                if name := judged["filter"]:
                    reason, matched = judged["reason"], judged["matched"]
                else:
                    code, other = int(outcome[position]), kept[int(of[position])]
                    name, matched = NAMES[code], other["instruction"]
                    reason = reason_against(code, float(similarity[position]), other)
                goes.add(table.rejected_row(row, name, reason, matched))
                written.rejected[name] += 1
            start += len(rows)
            progress("write", start, total)
    written.rows = stays.rows
    return written


def _count(written: Written, rows: pa.Table, verdicts: pa.RecordBatch, quality: Quality) -> None:
    """Add rows that stay to the figures."""
    written.types.update(rows["type"].to_pylist())
    for marker in quality.delimiters:
        found = (pc.match_substring(rows[field], marker) for field in FIELDS)
        written.delimiters += pc.sum(pc.or_(*found)).as_py() or 0
    for name in LENGTHS:
        if lengths := verdicts.column(name).drop_null().to_pylist():
            written.lengths.add(name, lengths)


_NAMED = ("id", "source_file", "source_row")


def _by_position(levels: Sequence[Level], total: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each raw row what becomes of it, the row that it resembles, and the similarity."""
    outcome, of, similarity = np.full(total, KEPT, np.int8), np.arange(total), np.ones(total)
    for level in levels:
        goes = level.outcome >= COPY
        rows = level.row[goes]
        outcome[rows], of[rows], similarity[rows] = level.outcome[goes], level.of[goes], level.similarity[goes]
    return outcome, of, similarity

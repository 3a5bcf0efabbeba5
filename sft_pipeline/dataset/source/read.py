"""Reading the raw source: files, a hub dataset at a pinned revision, or the embedded generator.

Every row of the source ends up either in `rows.parquet` or, with file, row and reason, in `rejected.parquet`. Rows go
from the reader to the file in batches: the source may be larger than memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset, Threshold
from sft_pipeline.dataset import table
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.dataset.source import held_out, schema
from sft_pipeline.dataset.source.files import Files, find
from sft_pipeline.dataset.source.held_out import read_items
from sft_pipeline.dataset.source.intake import Intake, SourceItem, rejected
from sft_pipeline.dataset.source.items import MAX_ROW_CHARACTERS
from sft_pipeline.dataset.source.unreadable import Unreadable
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import BenchmarkFile, EmbeddedData, FileData, HubData
from sft_pipeline.provenance.hashing import canonical_json, hash_value

__all__ = ["MAX_ROW_CHARACTERS", "read", "read_beside", "read_items", "require_readable"]

Row = Mapping[str, Any]

UNREADABLE = "unreadable_share"
"""Name of the threshold on a raw dataset."""


def read(
    source: EmbeddedData | FileData | HubData,
    root: Path,
    out: Path,
    *,
    test: FileData | None = None,
    benchmarks: Mapping[str, BenchmarkFile] | None = None,
    max_unreadable_share: float | None = None,
    progress: Progress = silent,
) -> InstructionDataset:
    """Read the source, and what is brought beside it, into the dataset of stage "raw".

    Args:
        source: what to read.
        root: the project's root, to which a relative path refers.
        out: existing empty folder for the dataset's files.
        test: a test file that is brought; becomes test.parquet, row for row.
        benchmarks: evaluation files by name; become benchmarks/NAME.parquet.
        max_unreadable_share: limit of the threshold `unreadable_share`, recorded here and judged by whoever goes on:
            only so does the table of the rows set aside survive (`require_readable`).
        progress: told how many rows were read.

    Raises:
        DataError: there is nothing to read, or no row of it can be used (rejected.parquet is there even then); a
            mapped column is in no row; a row of what is taken whole cannot be read.
    """
    external = {"data.test.path": held_out.take_test(test, root, out, progress)} if test else {}
    for name, read in held_out.take_benchmarks(benchmarks or {}, root, out, progress).items():
        external[f"data.leakage.benchmarks.{name}"] = read
    source_files = {field: record for field, (record, _) in external.items()}
    if isinstance(source, EmbeddedData):
        from sft_pipeline.embedded import instructions

        made = instructions.generate(source)
        account = _write((_embedded(row, number) for number, row in enumerate(made, 1)), out, progress, len(made))
        description = f"embedded generator {canonical_json(source.model_dump())} (sha256 {hash_value(made)})"
        recognised, notes = "embedded", []
    else:
        intake = Intake(source.columns, source.conversations, source.type, "data.source.columns")
        if isinstance(source, HubData):
            from sft_pipeline.dataset.source.hub import HubRows

            rows = HubRows(source)
            name, total, notes = rows.file, rows.total, []
            items = ((name, *item) for item in rows.items())
        else:
            rows = find(source.path, root, "data.source.path")
            name, total, notes = source.path, None, list(rows.notes)
            items = rows.items(source.limit)
        account = _write((_row_or_reason(item, intake) for item in items), out, progress, total)
        intake.require_columns(name)
        if not account.rejected and not account.rows:
            raise DataError(f"{name}: it holds no rows")
        if not account.rows:
            advice = f"Recognised are {schema.RECOGNISED}; name other fields in data.source.columns"
            raise DataError(
                f"{name}: none of its {account.rejected} rows can be used: {account.reasons}. "
                + (advice if intake.unrecognised else "Correct them in the source")
            )
        recognised = intake.schema
        if isinstance(rows, Files):
            source_files["data.source.path"] = rows.record()
            description = str(source_files["data.source.path"])
        else:
            description = rows.description()
        notes += intake.notes()
    if account.rejected:
        notes.insert(0, f"{account.rejected} rows could not be read, such as {account.reasons}")
    share = account.rejected / (account.rows + account.rejected)
    return InstructionDataset.finalize(
        out,
        stage="raw",
        rows=account.rows,
        rejected={"unreadable": account.rejected} if account.rejected else {},
        types=dict(sorted(account.types.items())),
        source=description,
        source_files=source_files,
        unreadable=tuple(account.first),
        source_schema=recognised,
        thresholds=()
        if max_unreadable_share is None
        else (Threshold(name=UNREADABLE, value=share, limit=max_unreadable_share, direction="at most"),),
        notes=(*notes, *(note for _, note in external.values())),
    )


def read_beside(
    *,
    test: FileData | None,
    benchmarks: Mapping[str, BenchmarkFile],
    root: Path,
    out: Path,
    progress: Progress = silent,
) -> tuple[Path | None, dict[str, Path]]:
    """Read only what is brought beside the data: the test file, if there is one, and the benchmarks by name.

    Raises:
        DataError: a row of them cannot be read.
    """
    if test:
        held_out.take_test(test, root, out, progress)
    held_out.take_benchmarks(benchmarks, root, out, progress)
    files = {name: out / "benchmarks" / f"{name}.parquet" for name in benchmarks}
    return (out / InstructionDataset.TEST if test else None), files


def require_readable(raw: InstructionDataset) -> None:
    """Refuse a raw dataset of which more rows could not be read than `read` was told to accept.

    Raises:
        DataError: names the share, its limit, and the first reasons.
    """
    for threshold in raw.thresholds:
        if threshold.name == UNREADABLE and not threshold.passed:
            unread = raw.rejected["unreadable"]
            raise DataError(
                f"{raw.source}: {unread} of {raw.rows + unread} rows ({threshold.value:.2%}) could not be read, more "
                f"than the accepted {threshold.limit:.2%}: such as {'; '.join(raw.unreadable)}. Correct them, or accept more "
                "with data.quality.max_unreadable_share"
            )


@dataclass
class _Account:
    """How many rows were written, and why the others were not."""

    rows: int = 0
    rejected: int = 0
    types: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    @property
    def reasons(self) -> str:
        """The first reasons."""
        return "; ".join(self.first)


def _write(rows: Iterable[Row], out: Path, progress: Progress, total: int | None) -> _Account:
    """Write rows and rows set aside as they come; the latter carry the field `filter`."""
    account = _Account()
    with (
        table.Writer(out / InstructionDataset.ROWS, table.ROW) as kept,
        table.Writer(out / InstructionDataset.REJECTED, table.REJECTED) as set_aside,
    ):
        for row in rows:
            if "filter" in row:
                set_aside.add(row)
                if len(account.first) < 3:
                    account.first.append(f"{row['source_file']} row {row['source_row']}: {row['reason']}")
            else:
                kept.add(row)
                account.types[row["type"]] += 1
            if (done := kept.rows + set_aside.rows) % table.BATCH == 0:
                progress("read", done, total)
    account.rows, account.rejected = kept.rows, set_aside.rows
    progress("read", account.rows + account.rejected, account.rows + account.rejected)
    return account


def _row_or_reason(item: SourceItem, intake: Intake) -> Row:
    try:
        return intake.row(item)
    except Unreadable as reason:
        return rejected(item, reason)


def _embedded(made: Row, number: int) -> Row:
    reference = canonical_json(made["reference"])
    identity = table.row_id(made["instruction"], made["response"], made["type"], reference)
    return {"id": identity, **made, "reference": reference, "source_file": "embedded", "source_row": number}

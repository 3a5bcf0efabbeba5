"""Reading the raw source: files, a hub dataset at a pinned revision, or the embedded generator.

Every row of the source ends up either in `rows.parquet` or, with file, row and reason, in `rejected.parquet`. Rows go
from the reader to the file in batches: the source may be larger than memory.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from sft_pipeline.artifacts import InstructionDataset, Threshold
from sft_pipeline.dataset import table
from sft_pipeline.dataset.parallel import Workers
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.dataset.source import held_out
from sft_pipeline.dataset.source.files import find
from sft_pipeline.dataset.source.held_out import read_items
from sft_pipeline.dataset.source.intake import Faults, Intake, batched, rejected
from sft_pipeline.dataset.source.items import MAX_ROW_CHARACTERS, UNPARSED, JsonReader, SourceItem, Unreadable
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import BenchmarkFile, EmbeddedData, FileData, HubData
from sft_pipeline.provenance.hashing import canonical_json, hash_value

__all__ = ["MAX_ROW_CHARACTERS", "read", "read_external", "read_items", "require_readable"]

Row = Mapping[str, Any]

_BATCH_OF_A_FILE = 4 << 20
"""Bytes of a file that are taken for a batch, before it is read."""

UNREADABLE = "unreadable_share"
"""Name of the threshold on a raw dataset."""


def read(
    source: EmbeddedData | FileData | HubData,
    root: Path,
    out: Path,
    *,
    test: FileData | None = None,
    benchmarks: Mapping[str, BenchmarkFile] | None = None,
    held_out_items: Mapping[str, held_out.HeldOut] | None = None,
    max_unreadable_share: float | None = None,
    progress: Progress = silent,
    processes: int | None = 1,
) -> InstructionDataset:
    """Read the source and the external inputs into the dataset of stage "raw".

    Args:
        source: what to read.
        root: the project's root, to which a relative path refers.
        out: existing empty folder for the dataset's files.
        test: an external test file; becomes test.parquet, row for row.
        benchmarks: evaluation files by name; become benchmarks/NAME.parquet.
        held_out_items: items of further benchmarks by name, which become the same.
        max_unreadable_share: limit of the threshold `unreadable_share`, recorded here and enforced by `require_readable`, so
            that the table of the rejected rows is there when the run stops.
        progress: gets the number of rows read.
        processes: how many work on the rows; None: as many as pay (`parallel`). It changes no byte.

    Raises:
        DataError: there is nothing to read, or no row of it can be used (rejected.parquet is there even then); a
            mapped column is in no row; a field that changes the question would be left out; a row of an external input
            cannot be read.
    """
    external = {"data.test.path": held_out.take_test(test, root, out, progress)} if test else {}
    for name, read in held_out.take_benchmarks(benchmarks or {}, root, out, progress).items():
        external[f"data.leakage.benchmarks.{name}"] = read
    source_files = {field: record for field, (record, _) in external.items()}
    records, held = held_out.write_benchmarks(held_out_items or {}, out)
    source_files |= records
    notes: list[str] = []
    items: Iterator[SourceItem]
    if isinstance(source, EmbeddedData):
        from sft_pipeline.embedded import instructions

        made = instructions.generate(source)
        rows = pa.Table.from_pylist([_embedded(row, number) for number, row in enumerate(made, 1)], schema=table.ROW)
        account = _write([(rows, table.REJECTED.empty_table())], out, progress, len(made))
        description = f"embedded generator {canonical_json(source.model_dump())} (sha256 {hash_value(made)})"
        recognised = "embedded"
    else:
        if isinstance(source, HubData):
            from sft_pipeline.dataset.source.hub import HubRows

            hub = HubRows(source)
            name, total, batches = hub.file, hub.total, hub.total // table.BATCH
            intake = Intake(source.columns, source.conversations, source.type, "data.source.columns")
            items = ((name, *item) for item in hub.items())
        else:
            files = find(source.path, root, "data.source.path", encoding=source.encoding)
            name, total, notes = source.path, None, files.notes
            batches = sum(path.stat().st_size for path in files.paths) // _BATCH_OF_A_FILE
            columns, conversations = files.settings(source)
            intake = Intake(columns, conversations, source.type, "data.source.columns")
            items = files.items(parsed=source.limit is not None)
        limit = source.limit if isinstance(source, FileData) else None
        if limit is not None:
            items = islice(intake.unwrapped(items), limit)
        with Workers(processes, batches if processes is None else processes) as workers:
            taken = workers.map(_taken, batched(items), intake.empty(), limit is None)
            account = _write((intake.merge(some) for some in taken), out, progress, total, intake.row_schema)
        intake.require_columns(name)
        if not account.faults.count and not account.rows:
            raise DataError(f"{name}: it holds no rows")
        if not account.rows:
            raise DataError(
                f"{name}: none of its {account.faults.count} rows can be used: {account.faults.shown(3)}. {intake.advice}"
            )
        if isinstance(source, HubData):
            description = hub.description()
        else:
            source_files["data.source.path"] = files.record()
            description = str(source_files["data.source.path"])
        recognised = intake.schema
        notes = [*notes, *intake.notes()]
    unreadable = account.faults.count
    if unreadable:
        notes.insert(0, f"{unreadable} rows could not be read, such as {account.faults.shown(3)}")
    share = unreadable / (account.rows + unreadable)
    return InstructionDataset.finalize(
        out,
        stage="raw",
        rows=account.rows,
        rejected={"unreadable": unreadable} if unreadable else {},
        types=dict(sorted(account.types.items())),
        source=description,
        source_files=source_files,
        unreadable=account.faults.examples(3),
        source_schema=recognised,
        thresholds=()
        if max_unreadable_share is None
        else (Threshold(name=UNREADABLE, value=share, limit=max_unreadable_share, direction="at most"),),
        notes=(*notes, *(note for _, note in external.values()), *held),
    )


def read_external(
    *,
    test: FileData | None,
    benchmarks: Mapping[str, BenchmarkFile],
    held_out_items: Mapping[str, held_out.HeldOut],
    root: Path,
    out: Path,
    progress: Progress = silent,
) -> tuple[Path | None, dict[str, Path]]:
    """Read the external inputs alone: the test file, if there is one, and the benchmarks by name.

    Raises:
        DataError: a row of them cannot be read.
    """
    if test:
        held_out.take_test(test, root, out, progress)
    held_out.take_benchmarks(benchmarks, root, out, progress)
    held_out.write_benchmarks(held_out_items, out)
    files = {name: out / "benchmarks" / f"{name}.parquet" for name in (*benchmarks, *held_out_items)}
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
    types: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)


def _write(
    tables: Iterable[tuple[pa.Table, pa.Table]],
    out: Path,
    progress: Progress,
    total: int | None,
    schema: pa.Schema = table.ROW,
) -> _Account:
    """Write rows and rejected rows as they come."""
    account = _Account()
    with (
        table.Writer(out / InstructionDataset.ROWS, schema) as kept,
        table.Writer(out / InstructionDataset.REJECTED, table.REJECTED) as dropped,
    ):
        for rows, rejected_rows in tables:
            if done := kept.rows + dropped.rows:
                progress("read", done, total)
            kept.add_table(rows)
            account.types.update(rows["type"].to_pylist())
            dropped.add_table(rejected_rows)
            for row in rejected_rows.to_pylist():
                account.faults.add(row["source_file"], row["source_row"], row["reason"])
    account.rows = kept.rows
    progress("read", kept.rows + dropped.rows, kept.rows + dropped.rows)
    return account


def _taken(items: Sequence[SourceItem], intake: Intake, unwrap: bool) -> tuple[pa.Table, pa.Table, Intake]:
    """The rows and the rejected rows of some items, and the account of them."""
    intake = intake.empty()
    reader, rows, unread = JsonReader(allow_nan=True), [], []
    parsed = ((file, n, reader.value(text) if value is UNPARSED else value, text) for file, n, value, text in items)
    for item in intake.unwrapped(parsed) if unwrap else parsed:
        try:
            rows += intake.rows(item)
        except Unreadable as reason:
            unread.append(rejected(item, reason))
    tables = (
        pa.Table.from_pylist(found, schema=schema)
        for found, schema in ((rows, intake.row_schema), (unread, table.REJECTED))
    )
    return *tables, intake


def _embedded(made: Row, number: int) -> Row:
    reference = canonical_json(made["reference"])
    identity = table.row_id(made["instruction"], made["response"], made["type"], reference)
    return {"id": identity, **made, "reference": reference, "source_file": "embedded", "source_row": number}

"""External inputs, taken whole or not at all: a test file, evaluation benchmarks, the two sides of a comparison."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sft_pipeline.artifacts import InstructionDataset, SourceFiles
from sft_pipeline.dataset import table
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.dataset.source.files import Files, find
from sft_pipeline.dataset.source.intake import Intake, all_rows
from sft_pipeline.dataset.source.items import SourceItem
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import BenchmarkFile, Columns, Conversations, FileData
from sft_pipeline.provenance.hashing import hash_value


class HeldOut(NamedTuple):
    """Items of a benchmark that were read elsewhere.

    Attributes:
        field: the specification's field that they came from.
        texts: text, file and row of each item.
        record: their files; None where there are none.
    """

    field: str
    texts: Sequence[tuple[str, str, int]]
    record: SourceFiles | None


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLDER = "benchmarks"


def take_test(test: FileData, root: Path, out: Path, progress: Progress) -> tuple[SourceFiles, str]:
    """Write an external test file to out/test.parquet, row for row in its order.

    Returns:
        The record of its files, and a note with hash, number of rows and schema.

    Raises:
        DataError: it cannot be read in full.
    """
    files = find(test.path, root, "data.test.path", encoding=test.encoding)
    files.require_whole("a test file")
    intake = Intake(*files.settings(test), test.type, "data.test.columns")
    items = islice(intake.unwrapped(files.items()), test.limit)
    count = _write(items, intake, "a test file", files, out / InstructionDataset.TEST, "read test", progress)
    record = files.record()
    return record, "; ".join((f"test: {record}, {count} rows, {intake.schema}", *files.notes, *intake.notes()))


def take_benchmarks(
    benchmarks: Mapping[str, BenchmarkFile], root: Path, out: Path, progress: Progress
) -> dict[str, tuple[SourceFiles, str]]:
    """Write the items of evaluation files to out/benchmarks/NAME.parquet.

    The text of an item stands in the declared column, or is recognised like an instruction; where a row has no known
    schema, in the first of question, prompt, instruction and text that it has. In a CSV or TSV file a column that is a
    number N means the N-th field of a file without a header line.

    Returns:
        For each the record of its files, and a note with hash, number of items and the column.

    Raises:
        DataError: a name is no file name, or a file cannot be read in full.
    """
    taken: dict[str, str] = {}
    for name in benchmarks:
        if not _NAME.fullmatch(name):
            raise DataError(
                f"data.leakage.benchmarks: the name {name!r} cannot be a file's name; use up to 100 letters, digits, "
                "points, hyphens and underscores, the first a letter or a digit"
            )
        if (other := taken.setdefault(name.lower(), name)) != name:
            raise DataError(f"data.leakage.benchmarks: {other!r} and {name!r} differ only in case; rename one of them")
    read = {}
    for name, benchmark in benchmarks.items():
        (out / _FOLDER).mkdir(exist_ok=True)
        read[name] = _take_benchmark(name, benchmark, root, out / _FOLDER, progress)
    return read


def write_benchmarks(benchmarks: Mapping[str, HeldOut], out: Path) -> tuple[dict[str, SourceFiles], list[str]]:
    """Write items that were read elsewhere beside those of `take_benchmarks`.

    Returns:
        The records of their files by field, and a note for each benchmark.

    Raises:
        DataError: one of `take_benchmarks` has the name.
    """
    records, notes = {}, []
    for name, benchmark in benchmarks.items():
        (out / _FOLDER).mkdir(exist_ok=True)
        path = out / _FOLDER / f"{name}.parquet"
        if path.exists():
            raise DataError(f"data.leakage.benchmarks: the name {name!r} is that of {benchmark.field}; rename it")
        rows = [
            {"id": hash_value(text)[:16], "text": text, "source_file": file, "source_row": row}
            for text, file, row in benchmark.texts
        ]
        table.write_table(rows, table.BENCHMARK, path)
        if benchmark.record:
            records[benchmark.field] = benchmark.record
        notes.append(f"benchmark {name}: {benchmark.record or 'generated'}, {len(rows)} items")
    return records, notes


def read_items(
    source: FileData,
    root: Path,
    out: Path,
    *,
    learned: bool = False,
    field: str = "data.source",
    progress: Progress = silent,
) -> tuple[list[str], list[str]]:
    """Read all rows of a source for a comparison; they need no response, and every row must be readable.

    Every question of a conversation is a row. Rows in the pipeline's own format keep their id and the file and row that
    they came from. Neither `source.limit` nor `several_turns` applies: they would hide what they cut off.

    Args:
        source: file or folder.
        root: the project's root, to which a relative path refers.
        out: the file to write: `table.ROW`.
        learned: whether the rows are training rows, of which the responses are compared where there are any; else they
            are left empty.
        field: the specification's field that `source` stands for, for messages.
        progress: gets the number of rows read.

    Returns:
        Notes: which files of a folder were not read, and what was left out on purpose; and what of the training rows
        was not read and so cannot be compared.

    Raises:
        DataError: there is nothing to read, a row has no instruction, or a file of the folder that looks like data is
            not read: a leak in it would go unseen.
    """
    files = find(source.path, root, f"{field}.path", encoding=source.encoding)
    files.require_whole("a comparison")
    answered = None if learned else False
    columns, conversations = files.settings(source)
    intake = Intake(columns, conversations, source.type, f"{field}.columns", answered=answered, compared=True)
    stage = f"read {files.names[0] if len(files.names) == 1 else Path(source.path).name}"
    _write(files.items(), intake, "a comparison", files, out, stage, progress)
    unused = intake.unused() if learned else ""
    return [*files.notes, *intake.notes()], [f"the fields {unused} of the training rows"] if unused else []


def _take_benchmark(
    name: str, benchmark: BenchmarkFile, root: Path, folder: Path, progress: Progress
) -> tuple[SourceFiles, str]:
    field = f"data.leakage.benchmarks.{name}"
    positional = benchmark.column if benchmark.column and benchmark.column.isdecimal() else None
    files = find(benchmark.path, root, f"{field}.path", header=positional is None)
    files.require_whole(f"the benchmark {name}")
    items = files.items()
    if positional:
        items = _without_header(items, positional, field)
    # Training rows that ask an item's question seldom do so behind the same system message.
    policy = Conversations(system="drop")
    intake = Intake(Columns(instruction=benchmark.column), policy, "all", f"{field}.column", answered=False)
    with table.Writer(folder / f"{name}.parquet", table.BENCHMARK) as writer:
        advice = (
            f"Name the column with the text in {field}.column (a number counts the fields of a CSV file that has no "
            "header line), or correct these rows in the file"
        )
        for row in all_rows(items, intake, f"the benchmark {name}", benchmark.path, advice):
            text = row["instruction"]
            place = {"source_file": row["source_file"], "source_row": row["source_row"]}
            writer.add({"id": hash_value(text)[:16], "text": text, **place})
            if writer.rows % table.BATCH == 0:
                progress(f"read {name}", writer.rows, None)
    progress(f"read {name}", writer.rows, writer.rows)
    record = files.record()
    note = f"benchmark {name}: {record}, {writer.rows} items, {intake.schema}"
    return record, "; ".join((note, *files.notes, *intake.notes()))


def _without_header(items: Iterator[SourceItem], column: str, field: str) -> Iterator[SourceItem]:
    """The items, unless the first line of a file looks like a header: a number can be a column's name, too."""
    for item in items:
        file, number, value, _ = item
        if number == 1 and isinstance(value, dict) and tuple(value) == tuple(map(str, range(1, len(value) + 1))):
            first = value.get(column)
            if isinstance(first, str) and len(first) <= 20 and not re.search(r"\s", first):
                raise DataError(
                    f"{field}.column: {column!r} means field {column} of a file without a header line, but in the first "
                    f"line of {file} that field is {first!r}, which looks like a header; give the column's name, or "
                    "rename it in the file if its name is a number"
                )
        yield item


def _write(
    items: Iterator[SourceItem], intake: Intake, what: str, files: Files, out: Path, stage: str, progress: Progress
) -> int:
    """Write all rows, or raise."""
    with table.Writer(out, intake.row_schema) as writer:
        for row in all_rows(items, intake, what, files.written):
            writer.add(row)
            if writer.rows % table.BATCH == 0:
                progress(stage, writer.rows, None)
    progress(stage, writer.rows, writer.rows)
    return writer.rows

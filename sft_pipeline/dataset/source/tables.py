"""Parquet, Arrow and spreadsheets: tables with typed columns, in batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from sft_pipeline.dataset.source.items import Item, Unreadable
from sft_pipeline.errors import DataError

_ROWS = 4096
_BYTES = 64 << 20
"""Rows and bytes of a batch: whichever is reached first."""


def read_parquet(path: Path | BinaryIO) -> Iterator[Item]:
    """The rows of a Parquet file, numbered by their positions."""
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        widest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1)
        yield from _numbered(file.iter_batches(int(max(1, min(_ROWS, _BYTES / max(widest, 1))))))


def read_arrow(path: Path) -> Iterator[Item]:
    """The rows of an Arrow file or stream (as `datasets` saves them), numbered by their positions."""
    with pa.memory_map(str(path)) as source:
        if source.read(6) == b"ARROW1":
            file = pa.ipc.open_file(source)
            yield from _numbered(file.get_batch(i) for i in range(file.num_record_batches))
        else:
            source.seek(0)
            yield from _numbered(pa.ipc.open_stream(source))


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[Item]:
    number = 0
    for batch in batches:
        names = batch.schema.names
        if len(set(names)) < len(names):
            raise DataError(f"two columns have the same name ({names}); name every column once")
        for value in values(batch):
            number += 1
            yield number, value, ""


def values(batch: pa.RecordBatch | pa.Table) -> list[Any]:
    """The rows of a record batch or a table as mappings; `Unreadable` stands for a part that Python cannot hold.

    Such are bytes that are not UTF-8 and dates beyond the year 9999: in a field that is not used they do no harm.
    """
    try:
        return batch.to_pylist()
    except (OverflowError, ValueError):  # UnicodeDecodeError is a ValueError
        columns = [[_value(part) for part in batch.column(position)] for position in range(batch.num_columns)]
        return [dict(zip(batch.schema.names, parts)) for parts in zip(*columns)]


def _value(part: pa.Scalar) -> Any:
    try:
        return part.as_py()
    except UnicodeDecodeError as error:
        return Unreadable(f"not UTF-8: {error}")
    except (OverflowError, ValueError) as error:
        return Unreadable(f"out of range: {error}")


def read_spreadsheet(path: Path) -> Iterator[Item]:
    """The rows of a workbook's only sheet with content, numbered as the spreadsheet numbers them; row 1 is the header.

    Raises:
        DataError: the extra `excel` is not installed, or several sheets have content.
    """
    try:
        import python_calamine
    except ModuleNotFoundError as error:
        raise DataError(
            "it is a spreadsheet, and python-calamine is not installed: pip install 'sft-pipeline[excel]', or export it as CSV"
        ) from error
    try:
        book = python_calamine.load_workbook(str(path))
        sheets = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in book.sheet_names}
    except python_calamine.CalamineError as error:
        raise DataError(f"the spreadsheet cannot be read: {error}; export it as CSV") from error
    filled = {name: rows for name, rows in sheets.items() if any(any(map(_filled, row)) for row in rows)}
    if len(filled) != 1:
        found = f"{len(filled)} sheets with content ({', '.join(filled)})" if filled else "no sheet with content"
        raise DataError(f"the workbook has {found}; save the sheet with the rows as a workbook of its own, or as CSV")
    header, *rows = next(iter(filled.values()))
    names = [str(name).strip() for name in header]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise DataError(f"two columns are named {twice[0]!r}; name every column once")
    for number, row in enumerate(rows, 2):
        if any(map(_filled, row)):
            yield number, {name: _cell(part) for name, part in zip(names, row) if name}, ""


def _filled(cell: Any) -> bool:
    return cell is not None and cell != ""


def _cell(cell: Any) -> Any:
    """A spreadsheet stores every number as a fraction: 42 must not become 42.0."""
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell

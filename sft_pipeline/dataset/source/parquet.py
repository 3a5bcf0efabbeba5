"""Parquet, in batches."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.source.items import Item, checked
from sft_pipeline.dataset.source.unreadable import Unreadable
from sft_pipeline.errors import DataError

_ROWS = 4096
_BYTES = 64 << 20
"""Rows and bytes of a batch, of which no more than the lesser is read at once."""


def read_parquet(path: Path) -> Iterator[Item]:
    """The rows of the file, numbered by their positions.

    Raises:
        DataError: the file is no Parquet file, is damaged, or has two columns of one name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise DataError(f"{path}: two columns have the same name ({names}); name every column once")
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            widest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1)
            for batch in file.iter_batches(int(max(1, min(_ROWS, _BYTES / max(widest, 1))))):
                for value in values(batch):
                    number += 1
                    yield checked(number, value)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: the Parquet file cannot be read after row {number}: {error}") from error


def values(batch: Any) -> list[Any]:
    """The rows of a record batch or a table as mappings; `Unreadable` where a text is not UTF-8."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        return [_value(batch.slice(position, 1)) for position in range(batch.num_rows)]


def _value(batch: Any) -> Any:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return Unreadable(f"not UTF-8: {error}")

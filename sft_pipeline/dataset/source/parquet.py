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
    """The rows of a record batch or a table as mappings; `Unreadable` stands for a part that Python cannot hold.

    Such are bytes that are no UTF-8 and dates beyond the year 9999: in a field that is not used they do no harm.
    """
    try:
        return batch.to_pylist()
    except (OverflowError, ValueError):  # UnicodeDecodeError is a ValueError
        columns = [[_value(part) for part in batch.column(position)] for position in range(batch.num_columns)]
        return [dict(zip(batch.schema.names, parts)) for parts in zip(*columns)]


def _value(part: Any) -> Any:
    try:
        return part.as_py()
    except UnicodeDecodeError as error:
        return Unreadable(f"not UTF-8: {error}")
    except (OverflowError, ValueError) as error:
        return Unreadable(f"out of range: {error}")

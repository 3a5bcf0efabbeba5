"""The two tables of an instruction dataset, on disk as Parquet.

`ROW` is the schema of the rows that are in; `REJECTED` is the same row with the reason why it is out.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sft_pipeline.provenance.hashing import hash_value

ROW = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # content hash of instruction, response, type, reference
        pa.field("instruction", pa.string(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("group", pa.string()),  # rows with the same group never stand on two sides of a split
        pa.field("reference", pa.string()),  # JSON object: what the type's scorer needs
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),  # 1-based line (JSONL) or position in the file
    ]
)

REJECTED = pa.schema(
    [
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("filter", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field(
            "matched", pa.string(), nullable=False
        ),  # the text that the filter objects to, cut to MATCHED characters
        pa.field("id", pa.string()),  # None where the row could not be read
        pa.field("instruction", pa.string()),
        pa.field("response", pa.string()),
        pa.field("type", pa.string()),
    ]
)

MATCHED = 300
"""Characters of the matched text that are kept."""


def row_id(instruction: str, response: str, type: str, reference: str | None) -> str:
    """First 16 hexadecimal digits of the hash of what makes a row: the same row has the same id in every file."""
    return hash_value([instruction, response, type, reference])[:16]


def rejected_row(row: Mapping[str, Any], filter: str, reason: str, matched: str) -> dict[str, Any]:
    """`row` as it stands in the table of rejected rows."""
    shown = {field: row[field] for field in ("source_file", "source_row", "id", "instruction", "response", "type")}
    return {**shown, "filter": filter, "reason": reason, "matched": matched[:MATCHED]}


def write_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, path: Path) -> None:
    """Write `rows` (one mapping per row) as Parquet; the same rows give the same bytes."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="zstd")


def read_table(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a Parquet file that `write_table` wrote, as one dictionary each."""
    return pq.read_table(path, columns=list(columns) if columns else None).to_pylist()

"""The two tables of an instruction dataset, on disk as Parquet.

`ROW` is the schema of the rows that are in; `REJECTED` is the same row with the reason why it is out.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sft_pipeline.dataset.arrays import blocks
from sft_pipeline.provenance.hashing import hash_bytes

ROW = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # content hash of instruction, response, type, reference
        pa.field("instruction", pa.string(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("group", pa.string()),  # rows with the same group never stand on two sides of a split
        pa.field("reference", pa.string()),  # JSON object: what the type's scorer needs
        pa.field("critics", pa.string()),  # JSON object: verdict by critic (instruction, pair), where there are any
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),  # 1-based line (JSONL) or position in the file
    ]
)

TALK = ROW.append(pa.field("conversation", pa.string()))
"""Rows of which each may be a conversation: the JSON of model/conversation.py. Then instruction and response are all before
its last answer, and that answer, as text."""

REJECTED = pa.schema(
    [
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("filter", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("matched", pa.string(), nullable=False),  # the text that decided, cut to MATCHED characters
        pa.field("id", pa.string()),  # None where the row could not be read
        pa.field("instruction", pa.string()),
        pa.field("response", pa.string()),
        pa.field("type", pa.string()),
    ]
)

DUPLICATE = pa.schema(
    [
        pa.field("level", pa.string(), nullable=False),  # exact, pair or instruction
        pa.field("cluster", pa.int64(), nullable=False),  # number of the cluster within its level, from 0
        pa.field("id", pa.string(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
        pa.field("kept", pa.bool_(), nullable=False),
        pa.field("similarity", pa.float64()),  # to the kept row that it resembles most; None for that row itself
        pa.field("reason", pa.string(), nullable=False),
    ]
)

BENCHMARK = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source_file", pa.string(), nullable=False),
        pa.field("source_row", pa.int64(), nullable=False),
    ]
)

BATCH = 8192
"""Most rows of a batch in memory and of a row group on disk."""

BATCH_BYTES = 8 << 20
"""Most bytes of text of a batch, but for a single longer row: 8,192 rows of the greatest accepted length would be 8 GiB,
and what is made of them in memory a multiple of it. Rows of up to a kibibyte fill a batch by their number."""

MATCHED = 300
"""Characters of the matched text that are kept."""


def row_id(instruction: str, response: str, type: str, reference: str | None, conversation: str | None = None) -> str:
    """First 16 hexadecimal digits of the hash of what makes a row: the same row has the same id in every file."""
    # `hash_value` of the list in a third of the time, which counts where every row is hashed.
    made = (instruction, response, type, reference, *((conversation,) if conversation else ()))
    parts = ("null" if part is None else encode_basestring(part) for part in made)
    return hash_bytes(f"[{','.join(parts)}]".encode())[:16]


def id_of(row: Mapping[str, Any]) -> str:
    """The id of a row by its content."""
    return row_id(row["instruction"], row["response"], row["type"], row["reference"], row.get("conversation"))


def rejected_row(row: Mapping[str, Any], filter: str, reason: str, matched: str) -> dict[str, Any]:
    """`row` as it stands in the table of rejected rows."""
    shown = {field: row[field] for field in ("source_file", "source_row", "id", "instruction", "response", "type")}
    return {**shown, "filter": filter, "reason": reason, "matched": matched[:MATCHED]}


class Writer:
    """Writes rows in row groups of `BATCH` rows and `BATCH_BYTES` at most; the same rows give the same bytes, however
    they come.

    A context manager: the file is there, complete, when the block has ended without an error, and never a part of it.
    One row group is encoded while the next one is made.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._partial = path, path.with_name(f".{path.name}.partial")
        with _named(path):
            self._file = pq.ParquetWriter(self._partial, schema, compression="zstd")
        self._schema = schema
        self._rows: list[Mapping[str, Any]] = []
        self._characters = 0
        self._tables: list[pa.Table] = []
        self._waiting = self._waiting_bytes = 0
        self._encoder = ThreadPoolExecutor(1, "encode")  # starts its thread with the first row group
        self._encoding: Future[None] | None = None
        self.rows = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; fields that are missing are null."""
        self._rows.append(row)
        self._characters += characters(row)
        self.rows += 1
        if len(self._rows) == BATCH or self._characters >= BATCH_BYTES:
            self._flush()

    def add_table(self, rows: pa.Table) -> None:
        """Append rows of the same columns."""
        self._flush_rows()
        self._append(rows.select(self._schema.names).cast(self._schema))
        self.rows += len(rows)
        if self._waiting >= BATCH or self._waiting_bytes >= BATCH_BYTES:
            self._flush()

    def _append(self, rows: pa.Table) -> None:
        self._tables.append(rows)
        self._waiting += len(rows)
        self._waiting_bytes += rows.nbytes

    def _flush_rows(self) -> None:
        if self._rows:
            self._append(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows, self._characters = [], 0

    def _flush(self, all_of_them: bool = False) -> None:
        self._flush_rows()
        rest = pa.concat_tables([self._schema.empty_table(), *self._tables]).combine_chunks()
        self._tables, self._waiting, self._waiting_bytes = [], 0, 0
        for part in blocks(_bytes(rest), BATCH_BYTES, BATCH):
            if part.stop == len(rest) and part.stop - part.start < BATCH and not all_of_them:
                self._append(rest.slice(part.start))  # the next row may belong to it
                return
            self._wait()
            group = rest.slice(part.start, part.stop - part.start)
            self._encoding = self._encoder.submit(self._file.write_table, group)

    def _wait(self) -> None:
        if self._encoding:
            with _named(self._path):
                self._encoding.result()
        self._encoding = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush(all_of_them=True)
                self._wait()
            self._encoder.shutdown()
            with _named(self._path):
                self._file.close()
            if kind is None:
                self._partial.replace(self._path)
        finally:
            self._partial.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Arrow's errors of the file system, such as a full disk, with the file that they are about."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, reason, str(path)) from error


def write_table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema, path: Path) -> None:
    """Write `rows` (one mapping per row) as Parquet."""
    with Writer(path, schema) as writer:
        for row in rows:
            writer.add(row)


def characters(row: Mapping[str, Any]) -> int:
    """Characters of the texts in a row."""
    return sum(len(part) for part in row.values() if isinstance(part, str))


def _bytes(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Bytes of the texts of each row."""
    found = np.zeros(len(rows), np.int64)
    for name in (field.name for field in rows.schema if field.type == pa.string()):
        found += pc.binary_length(rows[name]).fill_null(0).to_numpy()
    return found


def row_schema(path: Path) -> pa.Schema:
    """Columns of the rows in a file: `ROW` or `TALK`."""
    return TALK if "conversation" in pq.read_schema(path).names else ROW


def asked(path: Path) -> list[str]:
    """The columns of a file that a prompt is made of, and those that say which row it is."""
    wanted = ("id", "instruction", "response", "conversation", "source_file", "source_row")
    return [name for name in wanted if name in pq.read_schema(path).names]


def group_count(path: Path) -> int:
    """Row groups of a Parquet file: the batches in which it is read."""
    return pq.read_metadata(path).num_row_groups


def group_sizes(path: Path) -> list[int]:
    """Rows of each of them."""
    metadata = pq.read_metadata(path)
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def read_group(path: Path, group: int, columns: Sequence[str] | None = None) -> pa.Table:
    """One batch of a Parquet file that `Writer` wrote."""
    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=list(columns) if columns else None)


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[list[dict[str, Any]]]:
    """The rows of a Parquet file that `Writer` wrote, batch by batch."""
    for group in range(group_count(path)):
        yield read_group(path, group, columns).to_pylist()


def read_table(path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """All rows of a Parquet file at once, for what is known to be small."""
    return [row for batch in batches(path, columns) for row in batch]

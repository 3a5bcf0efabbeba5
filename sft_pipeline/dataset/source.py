"""Reading the raw source: a file, a hub dataset at a pinned revision, or the embedded generator.

Every row of the source ends up either in `rows.parquet` or, with file, row and reason, in `rejected.parquet`.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import schema, table
from sft_pipeline.dataset.schema import Unreadable
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Columns, EmbeddedData, FileData, HubData
from sft_pipeline.provenance.hashing import canonical_json, hash_bytes, hash_file, hash_value

MAX_ROW_CHARACTERS = 1 << 20
"""A longer row is set aside: no context holds a quarter of a million tokens of one example."""


def read(source: EmbeddedData | FileData | HubData, root: Path, out: Path) -> InstructionDataset:
    """Read the source into the dataset of stage "raw".

    Args:
        source: what to read.
        root: the project's root, to which a relative path refers.
        out: existing folder for rows.parquet and rejected.parquet.

    Raises:
        DataError: there is nothing to read, or no row of it can be used.
    """
    if isinstance(source, EmbeddedData):
        return _read_embedded(source, out)
    if isinstance(source, HubData):
        items, file, description = _hub_rows(source)
        return _take(items, file, description, source.columns, source.type, out)
    path = _locate(source.path, root)
    items = islice(_file_rows(path), source.limit)
    description = f"{source.path} (sha256 {hash_file(path)}, {path.stat().st_size} bytes)"
    return _take(items, source.path, description, source.columns, source.type, out)


def _read_embedded(source: EmbeddedData, out: Path) -> InstructionDataset:
    from sft_pipeline.dataset.embedded import instructions

    made = instructions.generate(source)
    rows = [
        _row({**row, "reference": canonical_json(row["reference"])}, "embedded", number)
        for number, row in enumerate(made, 1)
    ]
    description = f"embedded generator {canonical_json(source.model_dump())} (sha256 {hash_value(made)})"
    return _seal(rows, [], description, "embedded", (), out)


def _locate(written: str, root: Path) -> Path:
    """The file that a specification's path means."""

    def variable(match: re.Match[str]) -> str:
        if not os.environ.get(match[1]):
            raise DataError(
                f"data.source.path {written!r}: the environment variable {match[1]} is not set; "
                f"set it to the folder that the path starts from (export {match[1]}=…)"
            )
        return os.environ[match[1]]

    path = root / re.sub(r"\$\{(\w+)\}", variable, written)
    if path.is_dir():
        raise DataError(f"data.source.path {written!r}: {path} is a folder; name one JSONL, JSON or Parquet file in it")
    if not path.is_file():
        raise DataError(f"data.source.path {written!r}: there is no file {path}; correct the path or create the file")
    if path.stat().st_size == 0:
        raise DataError(f"data.source.path {written!r}: {path} is empty; it must hold at least one row")
    return path


# A reader yields (row number, row as a mapping or the reason why there is none, the raw text for the record).
_Item = tuple[int, Any, str]


def _file_rows(path: Path) -> Iterator[_Item]:
    with open(path, "rb") as stream:
        head = stream.read(4096)
    if head.startswith(b"PAR1"):
        return _parquet_rows(path)
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[") and path.suffix.lower() != ".jsonl":
        return _array_rows(path)
    return _line_rows(path)


def _line_rows(path: Path) -> Iterator[_Item]:
    """One JSON object per line; lines of white space only are no rows."""
    with open(path, "rb") as stream:
        for number, raw in enumerate(stream, 1):
            line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
            if not line.strip():
                continue
            if len(line) > MAX_ROW_CHARACTERS:
                yield number, _too_long(len(line), "bytes"), line[: table.MATCHED].decode(errors="replace")
                continue
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                reason = Unreadable(f"not UTF-8: byte 0x{line[error.start]:02x} at position {error.start} of the line")
                yield number, reason, line[max(0, error.start - 100) :].decode(errors="backslashreplace")
                continue
            try:
                yield number, json.loads(text, parse_constant=_no_constant), text
            except (ValueError, RecursionError) as error:
                yield number, Unreadable(f"not JSON: {error}"), text


def _array_rows(path: Path) -> Iterator[_Item]:
    """The elements of a JSON array."""
    try:
        # Bytes that are not UTF-8 become lone surrogates, which set aside only the rows that they stand in.
        values = json.loads(path.read_bytes().decode("utf-8-sig", errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: the JSON array cannot be read: {error}; correct it there, or write one object per line (JSONL), "
            "where a broken row costs only itself"
        ) from error
    for number, value in enumerate(values, 1):
        yield number, _unless_too_long(value), ""


def _parquet_rows(path: Path) -> Iterator[_Item]:
    """The rows of a Parquet file, in batches."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(4096):
            try:
                values = batch.to_pylist()
            except UnicodeDecodeError:
                values = [_parquet_row(batch.slice(position, 1)) for position in range(batch.num_rows)]
            for value in values:
                number += 1
                yield number, _unless_too_long(value), ""
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: the Parquet file cannot be read after row {number}: {error}") from error


def _parquet_row(batch: Any) -> Any:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return Unreadable(f"not UTF-8: {error}")


def _hub_rows(source: HubData) -> tuple[Iterable[_Item], str, str]:
    """The rows of a hub dataset at its commit; the loading runs no code of the dataset's repository."""
    import datasets

    file = f"{source.name}@{source.revision}:{source.split}"
    try:
        loaded = datasets.load_dataset(source.name, revision=source.revision, split=source.split)
    except Exception as error:  # network, authorisation and format errors come from five libraries below
        raise DataError(
            f"data.source: the hub dataset {file} cannot be loaded: {type(error).__name__}: {error}. It needs the "
            "network (and HF_TOKEN where it is gated); without it, download the file once and use kind: file"
        ) from error
    rows = loaded.to_list()
    digest = hash_bytes("\n".join(json.dumps(row, sort_keys=True, default=str) for row in rows).encode())
    return ((n, row, "") for n, row in enumerate(rows, 1)), file, f"hub dataset {file} (sha256 of the rows {digest})"


def _take(
    items: Iterable[_Item], file: str, description: str, columns: Columns, default_type: str, out: Path
) -> InstructionDataset:
    """Map every item to a row or set it aside."""
    rows, rejected, notes = [], [], []
    fields = None
    placeholder_inputs = 0
    for number, value, text in items:
        try:
            if isinstance(value, Unreadable):
                raise value
            if not isinstance(value, dict):
                raise Unreadable(f"not an object but {schema.kind(value)}")
            fields = fields or schema.recognise(value, columns)
            if fields is None:
                missing = [repr(c) for c in (columns.instruction, columns.response) if c and c not in value]
                lacking = f"no field {' and no field '.join(missing)}" if missing else "no recognised schema"
                raise Unreadable(f"{lacking} ({schema.fields_of(value)})")
            rows.append(_row(schema.apply(value, fields, default_type), file, number))
            if fields.input and isinstance(extra := value.get(fields.input), str) and extra.strip():
                placeholder_inputs += schema.is_placeholder_input(extra)
        except Unreadable as reason:
            rejected.append(
                {
                    "source_file": file,
                    "source_row": number,
                    "filter": "unreadable",
                    "reason": _printable(str(reason)),
                    "matched": _printable(text or repr(value)[: 4 * table.MATCHED])[: table.MATCHED],
                }
            )
    if not rows:
        reasons = "; ".join(f"row {r['source_row']}: {r['reason']}" for r in rejected[:3]) or "it holds no rows"
        raise DataError(
            f"{file}: none of its {len(rejected)} rows can be used: {reasons}. Recognised are instruction/input/output, "
            "instruction/response, prompt/completion and question/answer; name other fields in data.source.columns"
        )
    if placeholder_inputs:
        notes.append(f"{placeholder_inputs} inputs only say that there is none, and were read as no input")
    return _seal(rows, rejected, description, str(fields), tuple(notes), out)


def _row(mapped: dict[str, Any], file: str, number: int) -> dict[str, Any]:
    identity = table.row_id(mapped["instruction"], mapped["response"], mapped["type"], mapped["reference"])
    return {"id": identity, **mapped, "source_file": file, "source_row": number}


def _seal(
    rows: list[dict], rejected: list[dict], description: str, name: str, notes: tuple[str, ...], out: Path
) -> InstructionDataset:
    table.write_table(rows, table.ROW, out / InstructionDataset.ROWS)
    table.write_table(rejected, table.REJECTED, out / InstructionDataset.REJECTED)
    return InstructionDataset.seal(
        out,
        stage="raw",
        rows=len(rows),
        rejected={"unreadable": len(rejected)} if rejected else {},
        types=dict(sorted(Counter(row["type"] for row in rows).items())),
        source=description,
        source_schema=name,
        notes=notes,
    )


def _unless_too_long(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    length = sum(len(field) for field in value.values() if isinstance(field, str))
    return value if length <= MAX_ROW_CHARACTERS else _too_long(length, "characters")


def _too_long(length: int, unit: str) -> Unreadable:
    return Unreadable(f"a row of {length} {unit}; the longest accepted has {MAX_ROW_CHARACTERS}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _printable(text: str) -> str:
    """`text` with what UTF-8 cannot hold spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()

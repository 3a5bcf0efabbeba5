"""Judgements of outputs that were made elsewhere: by people, or by another tool."""

import json
from pathlib import Path
from typing import NamedTuple

from sft_pipeline.errors import DataError


class Label(NamedTuple):
    """One judgement; `success` is None where whoever judged could not tell."""

    success: bool | None
    reason: str


def read_labels(path: Path) -> dict[tuple[str, str], Label]:
    """Judgement by id and exact text of the output: a judgement belongs to the text that was read, not to the item.

    Args:
        path: JSONL; each line an object with `id`, `output`, `success` (true, false or null) and perhaps `reason`. Other
            fields are ignored.

    Raises:
        DataError: the file cannot be read, a row is not of that form, or one output of an item is judged twice; all by
            the file's name and row.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    labels: dict[tuple[str, str], Label] = {}
    rows: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        key, label = _label(line, f"{path}, row {number}")
        if key in rows:
            raise DataError(
                f"{path}, row {number}: the same output of item {key[0]} is judged in row {rows[key]} already; "
                "make one judgement of the two"
            )
        rows[key], labels[key] = number, label
    if not labels:
        raise DataError(f"{path}: the file holds no judgements")
    return labels


def _label(line: str, place: str) -> tuple[tuple[str, str], Label]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: must be an object with id, output and success")
    if isinstance(row.get("id"), int) and not isinstance(row["id"], bool):
        row["id"] = str(row["id"])  # as in files of outputs
    for field in ("id", "output"):
        if not isinstance(row.get(field), str):
            raise DataError(f"{place}, field {field}: must be text, is {row.get(field)!r:.60}")
    if "success" not in row or not isinstance(row["success"], bool | None):
        raise DataError(
            f"{place}, field success: must be true, false or null, is {row.get('success', 'missing')!r:.60}"
        )
    if not isinstance(row.get("reason", ""), str | None):
        raise DataError(f"{place}, field reason: must be text, is {row['reason']!r:.60}")
    return (row["id"], row["output"]), Label(row["success"], row.get("reason") or "")

"""Judgements of outputs that were made elsewhere: by people, or by another tool."""

from pathlib import Path
from typing import NamedTuple

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.rows import Row, rows


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
        DataError: the file cannot be read, a row is not of that form, or one output of an item has two different judgements;
            all by the file's name and row. Equal ones, as of a text that both models gave, are one.
    """
    labels: dict[tuple[str, str], Label] = {}
    place: dict[tuple[str, str], int] = {}
    for row in rows(path):
        key, label = _label(row)
        if key in labels and labels[key].success != label.success:
            raise DataError(
                f"{path}, row {row.number}: the same output of item {key[0]} is judged otherwise in row {place[key]}; "
                "make one judgement of the two"
            )
        place[key], labels[key] = row.number, label
    return labels


def _label(row: Row) -> tuple[tuple[str, str], Label]:
    if (output := row.text("output")) is None:
        raise row.wrong("output", "is missing; a judgement belongs to the text that was judged")
    if "success" not in row.values:
        raise row.wrong("success", "is missing; must be true, false or null")
    return (row.id(), output), Label(row.success(), row.text("reason") or "")

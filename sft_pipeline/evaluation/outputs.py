"""Reads anybody's outputs of a model, and anybody's items: JSON Lines, joined by id and never by position."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.rows import Row, rows
from sft_pipeline.provenance.hashing import canonical_json

_FOREIGN = ("response", "completion", "prediction", "generation", "text", "answer", "model_output")
"""Fields that may hold an output in somebody's file; which of them does is not for us to guess."""


@dataclass(frozen=True)
class Output:
    """One row of a file of outputs.

    Attributes:
        id: a number is taken as its digits.
        row: line of the file, from 1.
        judged: whether the row has a field success at all.
        success: None where the row is not judged, or where whoever judged could not tell (null).
        output: the model's answer; None where the row has none.
        tokens: generated tokens, where the row says it.
        cut: whether finish_reason is "length"; None where the row does not say it.
        prompt: what the model was given, as JSON; None where the row does not say it.
        item: what the row says of its item: type, instruction, group, reference (JSON text).
    """

    id: str
    row: int
    judged: bool
    success: bool | None
    output: str | None
    tokens: int | None = None
    cut: bool | None = None
    prompt: str | None = None
    item: Mapping[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str | None:
        """Type of the item, where the row says it."""
        return self.item.get("type")


def read_outputs(path: Path) -> list[Output]:
    """The rows of a file of outputs: `id`, `output`, and where known `success`, `type` and more of the item.

    Raises:
        DataError: names file, row and field of what cannot be used, or the ids that stand twice.
    """
    found = [_output(row) for row in rows(path)]
    _once(path, [(o.id, o.row) for o in found])
    return found


def read_judged(path: Path) -> list[Output]:
    """`read_outputs` of which every row must be judged, be it by null.

    Raises:
        DataError: as `read_outputs`, or a row has no field success.
    """
    found = read_outputs(path)
    for output in found:
        if not output.judged:
            raise DataError(f"{path}, row {output.row}, field success: is missing; must be true, false or null")
    return found


def read_item_rows(path: Path) -> dict[str, dict[str, str]]:
    """By id the items of a file: instruction, response, type, group and reference, as far as they are given.

    Raises:
        DataError: as `read_outputs`.
    """
    found, ids = {}, []
    for row in rows(path):
        id = row.id()
        ids.append((id, row.number))
        response = row.text("response")
        found[id] = row.item() | ({} if response is None else {"response": response})
    _once(path, ids)
    return found


def _output(row: Row) -> Output:
    id, success = row.id(), row.success()
    if "output" not in row.values and "success" not in row.values:
        other = [name for name in _FOREIGN if name in row.values]
        hint = f"; if {other[0]} holds the model's answer, rename it" if len(other) == 1 else ""
        fields = ", ".join(list(row.values)[:12])
        raise row.wrong("output", f"is missing, and so is success (fields: {fields}){hint}")
    finish = row.text("finish_reason")
    return Output(
        id=id,
        row=row.number,
        judged="success" in row.values,
        success=success,
        output=row.text("output"),
        tokens=row.tokens(),
        cut=None if finish is None else finish == "length",
        prompt=None if row.values.get("prompt") is None else canonical_json(row.values["prompt"]),
        item=row.item(),
    )


def _once(path: Path, ids: list[tuple[str, int]]) -> None:
    counts = Counter(id for id, _ in ids)
    if twice := sorted(id for id, count in counts.items() if count > 1):
        lines = [str(number) for id, number in ids if id == twice[0]]
        more = (
            f", and {len(twice) - 1} other ids ({', '.join(twice[1:4])}{', …' if len(twice) > 4 else ''})"
            if twice[1:]
            else ""
        )
        raise DataError(
            f"{path}: the id {twice[0]} stands more than once (rows {', '.join(lines[:4])}){more}; make ids unique"
        )

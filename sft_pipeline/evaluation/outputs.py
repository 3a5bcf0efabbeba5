"""Reads anybody's outputs of a model, and anybody's items: JSON Lines, joined by id and never by position."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.source.items import JsonReader
from sft_pipeline.dataset.source.unreadable import Unreadable, kind
from sft_pipeline.errors import DataError
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
    found = [_output(_Row(path, number, row)) for number, row in _rows(path)]
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
    for number, values in _rows(path):
        row = _Row(path, number, values)
        id = row.id()
        ids.append((id, number))
        response = row.text("response")
        found[id] = row.item() | ({} if response is None else {"response": response})
    _once(path, ids)
    return found


@dataclass(frozen=True)
class _Row:
    """A row with its place, for messages."""

    path: Path
    number: int
    values: Mapping[str, Any]

    def wrong(self, name: str, problem: str) -> DataError:
        return DataError(f"{self.path}, row {self.number}, field {name}: {problem}")

    def id(self) -> str:
        value = self.values.get("id")
        if "id" not in self.values:
            fields = ", ".join(list(self.values)[:12]) or "none"
            raise self.wrong(
                "id",
                f"is missing (fields: {fields}). Answers are joined by id: give every item one, the same in all files",
            )
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong("id", f"must be text or a whole number, is {_shown(value)}")
        return self.sound("id", value)

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(name, f"must be text, is {_shown(value)}")
        return self.sound(name, value)

    def sound(self, name: str, value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.wrong(name, "holds a lone surrogate, which is no character") from None
        return value

    def item(self) -> dict[str, str]:
        found = {name: self.text(name) for name in ("type", "instruction")}
        group = self.values.get("group")
        found["group"] = str(group) if isinstance(group, int) and not isinstance(group, bool) else self.text("group")
        found["reference"] = self.reference()
        return {name: value for name, value in found.items() if value is not None}

    def reference(self) -> str | None:
        """What a scorer needs to know, as JSON text; a bare text or number is the expected answer."""
        given = [name for name in ("reference", "answer") if self.values.get(name) is not None]
        if not given:
            return None
        if len(given) > 1:
            raise self.wrong("answer", "stands beside reference; put it there as reference.answer")
        value = self.values[given[0]]
        if given[0] == "reference" and isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = json.loads(value)
            except ValueError as error:
                raise self.wrong("reference", f"is neither an object nor a plain answer: {error}") from error
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            value = {"answer": value}
        if not isinstance(value, dict):
            raise self.wrong(given[0], f"must be text, a number or an object, is {_shown(value)}")
        return self.sound(given[0], canonical_json(value))


def _output(row: _Row) -> Output:
    id, success = row.id(), row.values.get("success")
    if success in (0, 1) and isinstance(success, int | float):
        success = bool(success)
    if not isinstance(success, bool | None):
        raise row.wrong("success", f"must be true, false or null, is {_shown(success)}")
    if "output" not in row.values and "success" not in row.values:
        other = [name for name in _FOREIGN if name in row.values]
        hint = f"; if {other[0]} holds the model's answer, rename it" if len(other) == 1 else ""
        fields = ", ".join(list(row.values)[:12])
        raise row.wrong("output", f"is missing, and so is success (fields: {fields}){hint}")
    tokens = row.values.get("tokens")
    finish = row.text("finish_reason")
    return Output(
        id=id,
        row=row.number,
        judged="success" in row.values,
        success=success,
        output=row.text("output"),
        tokens=tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None,
        cut=None if finish is None else finish == "length",
        prompt=None if row.values.get("prompt") is None else canonical_json(row.values["prompt"]),
        item=row.item(),
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and value of every line that is not blank; the file may be compressed with gzip."""
    try:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    reader, count = JsonReader(), 0
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        count += 1
        row = reader.value(line)
        if isinstance(row, Unreadable):
            raise DataError(f"{path}, row {number}: {row}; every line is one JSON object")
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: is {kind(row)}; every line is one JSON object")
        yield number, row
    if not count:
        raise DataError(f"{path}: the file is empty")


def _once(path: Path, ids: list[tuple[str, int]]) -> None:
    counts = Counter(id for id, _ in ids)
    if twice := sorted(id for id, count in counts.items() if count > 1):
        rows = [str(number) for id, number in ids if id == twice[0]]
        more = (
            f", and {len(twice) - 1} other ids ({', '.join(twice[1:4])}{', …' if len(twice) > 4 else ''})"
            if twice[1:]
            else ""
        )
        raise DataError(
            f"{path}: the id {twice[0]} stands more than once (rows {', '.join(rows[:4])}){more}; make ids unique"
        )


def _shown(value: Any) -> str:
    return f"{value!r:.60}" if value is not None else "null"

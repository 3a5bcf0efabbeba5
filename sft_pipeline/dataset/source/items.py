"""What a reader of a format gives: numbered values, or the reason why there is none."""

import json
from typing import Any

from sft_pipeline.dataset import table
from sft_pipeline.dataset.source.unreadable import Unreadable

MAX_ROW_CHARACTERS = 1 << 20
"""A longer row is set aside: no context holds a quarter of a million tokens of one example."""

EXCERPT = 4 * table.MATCHED
"""Characters of a row's raw text that are kept for the record; what is shown is cut after bytes are spelled out."""

Item = tuple[int, Any, str]
"""Number of the row, its value (a mapping, or `Unreadable`), and the raw text for the record of a row set aside."""


class JsonReader:
    """Reads JSON values of which every part is one that JSON knows, and none is lost.

    Python's reader takes NaN, and of two fields with one name it keeps the last: both are faults here.
    """

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._json = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def value(self, text: str) -> Any:
        """The value that the whole of `text` is, or why it is none."""
        self._faults.clear()
        try:
            return self._checked(self._json.decode(text))
        except (ValueError, RecursionError) as error:
            return Unreadable(f"not JSON: {error}")

    def next_value(self, text: str, position: int) -> tuple[Any, int]:
        """The value that begins at `position`, and where it ends.

        Raises:
            ValueError: there is no complete value.
            RecursionError: it is nested too deeply.
        """
        self._faults.clear()
        value, end = self._json.raw_decode(text, position)
        return self._checked(value), end

    def _checked(self, value: Any) -> Any:
        return Unreadable(f"not JSON: {self._faults[0]}") if self._faults else value

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            self._faults.append(f"the field {next(n for n in names if names.count(n) > 1)!r} stands twice in an object")
        return found

    def _constant(self, name: str) -> None:
        self._faults.append(f"{name} is no JSON value")


def too_long(length: int, unit: str) -> Unreadable:
    """The reason against a row of `length` units."""
    return Unreadable(f"a row of {length} {unit}; the longest accepted has {MAX_ROW_CHARACTERS}")


def checked(number: int, value: Any, raw: str = "") -> Item:
    """The item of a value that was read as a whole, or the reason against it when its texts are too long together."""
    if not isinstance(value, dict):
        return number, value, raw
    length = 0
    for part in value.values():
        if isinstance(part, str):
            length += len(part)
        elif isinstance(part, list | dict):
            length += len(str(part))
    if length <= MAX_ROW_CHARACTERS:
        return number, value, raw
    return number, too_long(length, "characters"), raw or excerpt(value)


def excerpt(value: Any) -> str:
    """The beginning of a value as text."""
    return "" if isinstance(value, Unreadable) else repr(value)[:EXCERPT]

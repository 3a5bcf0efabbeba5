"""What a reader of a format yields: numbered values, or the reason why there is none."""

import json
from typing import Any

from sft_pipeline.dataset import table

MAX_ROW_CHARACTERS = 1 << 20
"""A longer row is rejected: no context window holds a quarter of a million tokens of one example."""

EXCERPT = 4 * table.MATCHED
"""Characters of a row's raw text that are kept for the record."""

Item = tuple[int, Any, str]
"""Number of the row, its value (a mapping, or `Unreadable`), and the raw text for the record of a rejected row."""

UNPARSED = ...
"""Stands for the value of a line of JSON whose text has yet to be decoded."""

SourceItem = tuple[str, int, Any, str]
"""The same behind the name of the file."""


class Unreadable(ValueError):
    """A row that cannot be used, with the reason as its message."""


def kind(value: Any) -> str:
    """What JSON calls the type of `value`."""
    if value is None:
        return "null"
    if isinstance(value, Unreadable):
        return f"unreadable ({value})"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def printable(text: str) -> str:
    """`text` with what UTF-8 cannot encode spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


class JsonReader:
    """Decodes JSON and refuses what Python's decoder would lose: of two fields with one name it keeps only the last.

    Args:
        allow_nan: whether NaN and infinity, which JSON does not know, become Python's floats, as pandas writes them.
    """

    def __init__(self, *, allow_nan: bool = False) -> None:
        self._faults: list[str] = []
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=None if allow_nan else self._constant
        )

    def value(self, text: str) -> Any:
        """The value that the whole of `text` is, or why it is none."""
        self._faults.clear()
        try:
            return self._checked(self._json.decode(text))
        except RecursionError:
            return Unreadable("not JSON that can be read: lists or objects are nested too deeply")
        except ValueError as error:
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


def too_long(length: int) -> Unreadable:
    """The reason to reject a row of `length` characters."""
    return Unreadable(f"a row of {length} characters; the longest accepted has {MAX_ROW_CHARACTERS}")


def require_short(value: Any) -> None:
    """Reject a row whose texts are too long together.

    Raises:
        Unreadable: the row is too long.
    """
    length = 0
    for part in value.values() if isinstance(value, dict) else ():
        if isinstance(part, str):
            length += len(part)
        elif isinstance(part, list | dict):
            length += len(str(part))
    if length > MAX_ROW_CHARACTERS:
        raise too_long(length)


def excerpt(value: Any) -> str:
    """The beginning of a value as text."""
    return "" if isinstance(value, Unreadable) else repr(value)[:EXCERPT]

"""Why a row cannot be taken."""

from typing import Any


class Unreadable(ValueError):
    """A row that cannot be taken, with the reason as its message."""


def kind(value: Any) -> str:
    """What JSON calls the type of `value`."""
    if value is None:
        return "null"
    if isinstance(value, Unreadable):
        return f"unreadable ({value})"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def printable(text: str) -> str:
    """`text` with what UTF-8 cannot hold spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()

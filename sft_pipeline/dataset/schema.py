"""Which field of a foreign row holds what: the schemas that are recognised, and the explicit mapping.

Nothing is converted: a field with the wrong type makes the row unreadable, with the reason.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sft_pipeline.experiment import Columns
from sft_pipeline.provenance.hashing import canonical_json

# Name, instruction, input, response. The first whose instruction and response fields a row has is its schema.
_KNOWN = (
    ("alpaca", "instruction", "input", "output"),
    ("instruction/response", "instruction", None, "response"),
    ("prompt/completion", "prompt", None, "completion"),
    ("question/answer", "question", None, "answer"),
)
_CRITIQUES = ("instruction_critique", "pair_critique")
_OWN = ("id", "instruction", "response", "type", "group", "reference", "source_file", "source_row")
# The spellings in which Alpaca-like data say that an instruction has no input.
_NO_INPUT = re.compile(
    r"\W*(no ?input( (is )?(required|needed|necessary|provided|given))?|n/a|none)?\W*", re.IGNORECASE
)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unreadable(ValueError):
    """A row that cannot be taken, with the reason as its message."""


@dataclass(frozen=True)
class Fields:
    """The fields of a source in their roles; None where the source has no such field."""

    name: str
    instruction: str
    response: str
    input: str | None = None
    type: str | None = None
    group: str | None = None
    reference: str | None = None
    own: bool = False  # the pipeline's own row format, in which `reference` is JSON text

    def __str__(self) -> str:
        roles = [("instruction", self.instruction), ("input", self.input), ("response", self.response)]
        roles += [("type", self.type), ("group", self.group), ("reference", self.reference)]
        return f"{self.name} ({', '.join(f'{role}={field}' for role, field in roles if field)})"


def recognise(row: Mapping[str, Any], explicit: Columns) -> Fields | None:
    """The schema of `row`, or None when its fields fit none; explicit columns go before recognised names.

    Fields for type, group and reference are never guessed in foreign data: they count where `explicit` names them.
    """
    if explicit == Columns() and all(name in row for name in _OWN):
        return Fields("rows", "instruction", "response", None, "type", "group", "reference", own=True)
    rest = {"type": explicit.type, "group": explicit.group, "reference": explicit.reference}
    if explicit.instruction and explicit.response:
        return Fields("mapping", explicit.instruction, explicit.response, explicit.input, **rest)
    for name, instruction, input_, response in _KNOWN:
        fields = Fields(
            name if explicit.instruction is None and explicit.response is None else f"mapping over {name}",
            explicit.instruction or instruction,
            explicit.response or response,
            explicit.input or (input_ if explicit.instruction is None else None),
            **rest,
        )
        if fields.instruction in row and fields.response in row:
            if name == "instruction/response" and any(critique in row for critique in _CRITIQUES):
                return Fields("stage-1 record", fields.instruction, fields.response, fields.input, **rest)
            return fields
    return None


def is_placeholder_input(text: str) -> bool:
    """Whether an input only says that there is none ("<noinput>", "No input.", "N/A")."""
    return len(text) < 60 and bool(_NO_INPUT.fullmatch(text.strip()))


def apply(row: Mapping[str, Any], fields: Fields, default_type: str) -> dict[str, str | None]:
    """Instruction, response, type, group and reference of a foreign row.

    Raises:
        Unreadable: a field is missing, has the wrong type, or holds what no file can hold.
    """
    instruction = _text(row, fields.instruction)
    # Many files leave the input out, or null, where there is none: the only field for which that is not a fault.
    if fields.input and row.get(fields.input) is not None:
        extra = _text(row, fields.input)
        if not is_placeholder_input(extra):
            instruction = f"{instruction}\n{extra}"
    return {
        "instruction": instruction,
        "response": _text(row, fields.response),
        "type": _text(row, fields.type) if fields.type else default_type,
        "group": _group(row, fields.group) if fields.group else None,
        "reference": _reference(row, fields) if fields.reference else None,
    }


def _value(row: Mapping[str, Any], field: str) -> Any:
    if field not in row:
        raise Unreadable(f"no field {field!r} ({fields_of(row)})")
    return row[field]


def _text(row: Mapping[str, Any], field: str) -> str:
    value = _value(row, field)
    if not isinstance(value, str):
        raise Unreadable(f"field {field!r} is {kind(value)}, not text")
    if found := _SURROGATE.search(value):
        raise Unreadable(f"field {field!r} holds a lone surrogate (U+{ord(found[0]):04X}), which is no character")
    return value


def _group(row: Mapping[str, Any], field: str) -> str | None:
    value = _value(row, field)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # only equality counts, so a number and its digits are the same group
    return _text(row, field)


def _reference(row: Mapping[str, Any], fields: Fields) -> str | None:
    value = _value(row, fields.reference)
    if value is None:
        return None
    if fields.own:
        try:
            value = json.loads(_text(row, fields.reference))
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"field {fields.reference!r} is not JSON: {error}") from error
    if isinstance(value, str):
        value = {"answer": _text(row, fields.reference)}
    if not isinstance(value, dict):
        raise Unreadable(f"field {fields.reference!r} is {kind(value)}, not text and not an object")
    try:
        text = canonical_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"field {fields.reference!r} cannot be written as JSON: {error}") from error
    if _SURROGATE.search(text):
        raise Unreadable(f"field {fields.reference!r} holds a lone surrogate, which is no character")
    return text


def fields_of(row: Mapping[str, Any]) -> str:
    """The fields of a row for a message, cut to a dozen."""
    return f"fields: {', '.join(map(repr, list(row)[:12])) or 'none'}"


def kind(value: Any) -> str:
    """What JSON calls the type of `value`."""
    if value is None:
        return "null"
    return {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}.get(
        type(value), type(value).__name__
    )

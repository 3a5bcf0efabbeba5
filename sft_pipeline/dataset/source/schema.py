"""Which field of a foreign row holds what: the schemas that are recognised, and the explicit mapping.

Nothing is converted: a field with the wrong type makes the row unreadable, with the reason.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sft_pipeline.dataset.source.messages import exchange
from sft_pipeline.dataset.source.unreadable import Unreadable, kind
from sft_pipeline.experiment import Columns, Conversations
from sft_pipeline.provenance.hashing import canonical_json

# Name, instruction, input, response. The first whose instruction and response fields a row has is its schema.
_PAIRS = (
    ("alpaca", "instruction", "input", "output"),
    ("instruction/response", "instruction", "input", "response"),
    ("prompt/completion", "prompt", None, "completion"),
    ("question/answer", "question", None, "answer"),
)
_CONVERSATIONS = ("messages", "conversations")
_ITEMS = ("question", "prompt", "instruction", "text")
"""Fields that hold the text of an evaluation item, the first that it has."""
_CRITIQUES = {"instruction_critique": "instruction", "pair_critique": "pair"}
_OWN = ("id", "instruction", "response", "type", "group", "reference", "source_file", "source_row")
_REJECTED = ("filter", "reason", "matched", "source_file", "source_row")
# The spellings in which Alpaca-like data say that an instruction has no input. Other symbols can be what is asked about.
_NO_INPUT = re.compile(
    r"\W*(no ?input( (is )?(required|needed|necessary|provided|given))?|n/a|none)\W*|[\s\-\u2010-\u2015]*",
    re.IGNORECASE,
)
_SURROGATE = re.compile("[\ud800-\udfff]")

RECOGNISED = (
    "instruction/input/output, instruction/response, prompt/completion, question/answer, and lists of messages in "
    "messages or conversations"
)


@dataclass(frozen=True)
class Fields:
    """The fields of a source in their roles; None where the source has no such field."""

    name: str
    instruction: str | None
    response: str | None
    input: str | None = None
    type: str | None = None
    group: str | None = None
    reference: str | None = None
    messages: str | None = None
    critiques: tuple[str, ...] = ()
    answered: bool = True  # False for evaluation items, of which only the question is wanted
    own: bool = False  # the pipeline's own row format, in which `reference` and `critics` are JSON text

    def __str__(self) -> str:
        roles = [("instruction", self.instruction), ("input", self.input), ("response", self.response)]
        roles += [("messages", self.messages)]
        roles += [("type", self.type), ("group", self.group), ("reference", self.reference)]
        return f"{self.name} ({', '.join(f'{role}={field}' for role, field in roles if field)})"

    @property
    def needed(self) -> frozenset[str]:
        """The fields without which there is no row."""
        return frozenset(filter(None, (self.instruction, self.response, self.messages)))

    @property
    def used(self) -> frozenset[str]:
        """The fields that are read or, in the pipeline's own rows, made anew."""
        roles = (self.instruction, self.response, self.input, self.type, self.group, self.reference, self.messages)
        return frozenset((*filter(None, roles), *self.critiques, *(_OWN if self.own else ())))


def recognise(names: Collection[str], explicit: Columns) -> Fields | None:
    """The schema of a row with the fields `names`, or None when they fit none; explicit columns go before known names.

    The pipeline's own rows go before both: a mapping is of the source that they were read from.
    Fields for type, group and reference are never guessed in foreign data: they count where `explicit` names them.
    """
    if is_own(names):
        critics = ("critics",) if "critics" in names else ()
        return Fields(
            "rows", "instruction", "response", None, "type", "group", "reference", critiques=critics, own=True
        )
    critiques = tuple(name for name in _CRITIQUES if name in names)
    rest = {"type": explicit.type, "group": explicit.group, "reference": explicit.reference, "critiques": critiques}
    if explicit.messages:
        return Fields("mapping", None, None, messages=explicit.messages, **rest)
    if explicit.instruction and explicit.response:
        return Fields("mapping", explicit.instruction, explicit.response, explicit.input, **rest)
    given = explicit.instruction or explicit.response or explicit.input
    for name, instruction, input_, response in _PAIRS:
        fields = Fields(
            f"mapping over {name}" if given else name,
            explicit.instruction or instruction,
            explicit.response or response,
            explicit.input or (input_ if explicit.instruction is None else None),
            **rest,
        )
        if fields.instruction in names and fields.response in names:
            if fields.name == "instruction/response" and critiques:
                return replace(fields, name="stage-1 record")
            return fields
    if not given:
        for name in _CONVERSATIONS:
            if name in names:
                return Fields("messages", None, None, messages=name, **rest)
    return None


def recognise_item(names: Collection[str], explicit: Columns) -> Fields | None:
    """Where a row with the fields `names` has the text of an evaluation item; a response is not needed."""
    rest = {"input": explicit.input, "type": explicit.type, "group": explicit.group, "answered": False}
    if explicit.instruction and not is_own(names):
        return Fields("mapping", explicit.instruction, None, **rest)
    if fields := recognise(names, explicit):
        return replace(fields, response=None, reference=None, critiques=(), answered=False)
    for name in _ITEMS:
        if name in names:
            beside = {pair[1]: pair[2] for pair in _PAIRS}.get(name)
            input_ = explicit.input or (beside if beside in names else None)
            return Fields("item", name, None, **rest | {"input": input_})
    return None


def recognise_learned(names: Collection[str], explicit: Columns) -> Fields | None:
    """The schema of a row that may be learned from: with its response where it has one."""
    return recognise(names, explicit) or recognise_item(names, explicit)


def lacking(names: Collection[str], explicit: Columns) -> str:
    """What a row with the fields `names`, which fit no schema, has too little of."""
    missing = [column for column in (explicit.instruction, explicit.response) if column and column not in names]
    if missing:
        found = f"no field {' and no field '.join(map(repr, missing))}"
    elif first := next((pair[1] for pair in _PAIRS if pair[1] in names), None):
        wanted = [repr(pair[3]) for pair in _PAIRS if pair[1] == first]
        found = f"field {first!r} but no field {' or '.join(wanted)}"
    else:
        found = "no recognised schema"
    return f"{found} ({fields_of(names)})"


def is_own(names: Collection[str]) -> bool:
    """Whether a row has the format that this pipeline writes."""
    return all(name in names for name in _OWN)


def is_rejected(names: Collection[str]) -> bool:
    """Whether a row comes from a table of rows that this pipeline set aside."""
    return all(name in names for name in _REJECTED)


def is_placeholder_input(text: str) -> bool:
    """Whether an input only says that there is none ("<noinput>", "No input.", "N/A")."""
    return len(text) < 60 and bool(_NO_INPUT.fullmatch(text.strip()))


def apply(
    row: Mapping[str, Any],
    fields: Fields,
    policy: Conversations,
    default_type: str,
    tally: Counter[str],
    setting: str = "data.source.conversations",
) -> dict[str, str | None]:
    """Instruction, response, type, group, reference and critics of a foreign row.

    Args:
        row: the row.
        fields: which field holds what; where there is no field for the response, it is empty.
        policy: how a conversation is read.
        default_type: type of a row that has none.
        tally: counts what was left out on purpose, by the words of the note about it.
        setting: the specification's field that holds `policy`, for messages; empty where there is none.

    Raises:
        Unreadable: a field is missing, has the wrong type, or holds what no file can hold.
    """
    if talk := _conversation(row, fields):
        name, value = talk
        pair = exchange(value, name, policy, tally, answered=fields.answered, setting=setting)
        instruction, response = (_sound(text, name) for text in pair)
    else:
        instruction = _text(row, fields.instruction)
        # Many files leave the input out, or null, where there is none: the only field for which that is not a fault.
        if fields.input and row.get(fields.input) is not None:
            extra = _text(row, fields.input)
            if not is_placeholder_input(extra):
                instruction = f"{instruction}\n{extra}"
            elif extra.strip():
                tally["inputs only say that there is none, and were read as no input"] += 1
        response = _text(row, fields.response) if fields.response else ""
    return {
        "instruction": instruction,
        "response": response,
        "type": _type(row, fields, default_type, tally),
        "group": _group(row, fields.group) if _carries(row, fields.group, fields) else None,
        "reference": _reference(row, fields) if _carries(row, fields.reference, fields) else None,
        "critics": _critics(row, fields) if fields.critiques else None,
    }


def _conversation(row: Mapping[str, Any], fields: Fields) -> tuple[str, Any] | None:
    """Name and value of the list of messages that a row is, if it is one."""
    if fields.messages:
        return fields.messages, _value(row, fields.messages)
    # TRL's conversational prompt/completion: each of the two holds its part of one list.
    parts = {name: row.get(name) for name in (fields.instruction, fields.response) if name}
    if not fields.input and all(isinstance(part, list) for part in parts.values()):
        return " + ".join(parts), [message for part in parts.values() for message in part]
    return None


def _carries(row: Mapping[str, Any], field: str | None, fields: Fields) -> bool:
    """Whether a row has a value in a field that not every row needs; an empty text, as of a CSV cell, is none."""
    if field is None or fields.own:
        return field is not None
    value = row.get(field)
    return value is not None and not (isinstance(value, str) and (not value or value.isspace()))


def _type(row: Mapping[str, Any], fields: Fields, default: str, tally: Counter[str]) -> str:
    if _carries(row, fields.type, fields):
        return _text(row, fields.type)
    if fields.type:
        tally[f"rows carry no {fields.type!r} and were given the type {default!r}"] += 1
    return default


def _value(row: Mapping[str, Any], field: str) -> Any:
    if field not in row:
        raise Unreadable(f"no field {field!r} ({fields_of(row)})")
    return row[field]


def _text(row: Mapping[str, Any], field: str) -> str:
    value = _value(row, field)
    if not isinstance(value, str):
        raise Unreadable(f"field {field!r} is {kind(value)}, not text")
    return _sound(value, field)


def _sound(text: str, field: str) -> str:
    """`text`, if every program downstream can hold it."""
    if not text.isascii() and (found := _SURROGATE.search(text)):
        raise Unreadable(f"field {field!r} holds a lone surrogate (U+{ord(found[0]):04X}), which is no character")
    # Parquet takes it; tokenizers, browsers and C libraries drop it or stop at it, each in its own way.
    if "\0" in text:
        raise Unreadable(f"field {field!r} holds a NUL character (U+0000)")
    return text


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
        value = _json(row, fields.reference)
    if isinstance(value, str):
        value = {"answer": _text(row, fields.reference)}
    if not isinstance(value, dict):
        raise Unreadable(f"field {fields.reference!r} is {kind(value)}, not text and not an object")
    try:
        text = canonical_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"field {fields.reference!r} cannot be written as JSON: {error}") from error
    return _sound(text, fields.reference)


def _json(row: Mapping[str, Any], field: str) -> Any:
    try:
        return json.loads(_text(row, field))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"field {field!r} is not JSON: {error}") from error


def _critics(row: Mapping[str, Any], fields: Fields) -> str | None:
    """The verdicts of critics by what they judged; None where the row has none."""
    if fields.own:
        found = _json(row, "critics") if row["critics"] is not None else {}
        if not isinstance(found, dict) or not found.keys() <= set(_CRITIQUES.values()):
            raise Unreadable("field 'critics' must be an object with the verdicts instruction and pair")
        found = {judged: _critique(value, f"critics.{judged}") for judged, value in found.items()}
    else:
        found = {_CRITIQUES[name]: _critique(row[name], name) for name in fields.critiques if row.get(name) is not None}
    return canonical_json(found) if found else None


def _critique(value: Any, field: str) -> dict[str, bool | str | float]:
    """The known parts of one verdict; `is_good` must be there."""
    if not isinstance(value, Mapping):
        raise Unreadable(f"field {field!r} is {kind(value)}, not an object")
    if value.get("is_good") is None:
        raise Unreadable(f"field '{field}.is_good' is missing or null; it must be true or false")
    verdict = {}
    for name, wanted in (
        ("is_good", bool),
        ("predicted_label", str),
        ("logp_a", float),
        ("logp_b", float),
        ("margin", float),
        ("confident", bool),
    ):
        part = value.get(name)
        if part is None:
            continue
        number = isinstance(part, int | float) and not isinstance(part, bool) and math.isfinite(part)
        if not (number if wanted is float else isinstance(part, wanted)):
            wish = {bool: "true or false", str: "text", float: "a finite number"}[wanted]
            raise Unreadable(f"field '{field}.{name}' is {kind(part)}, not {wish}")
        verdict[name] = _sound(part, f"{field}.{name}") if wanted is str else part
    return verdict


def fields_of(row: Collection[str]) -> str:
    """The fields of a row for a message, cut to a dozen."""
    return f"fields: {', '.join(map(repr, list(row)[:12])) or 'none'}{' …' if len(row) > 12 else ''}"

"""From a foreign row whose schema is known to the texts, type, group, reference and verdicts of ours.

A number is taken as its digits; nothing else is converted: a field with the wrong type makes the row unreadable, with the
reason.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sft_pipeline.dataset.source.items import Unreadable, kind
from sft_pipeline.dataset.source.messages import before_question, conversation, every_turn, exchanges
from sft_pipeline.dataset.source.schema import CRITIQUES, Fields, fields_of
from sft_pipeline.experiment import Conversations
from sft_pipeline.model.conversation import Conversation, of_row, texts
from sft_pipeline.provenance.hashing import canonical_json

# The spellings in which Alpaca-like data say that an instruction has no input. Other symbols can be what is asked about.
_NO_INPUT = re.compile(
    r"\W*(no ?input( (is )?(required|needed|necessary|provided|given))?|n/a|none)\W*|[\s\-\u2010-\u2015]*",
    re.IGNORECASE,
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""A NUL in a JSON text."""


def pairs(
    row: Mapping[str, Any],
    fields: Fields,
    policy: Conversations,
    default_type: str,
    tally: Counter[str],
    setting: str = "data.source.conversations",
    *,
    compared: bool = False,
) -> list[dict[str, Any]]:
    """Instruction, response, type, group, reference and critics of a foreign row; several for a conversation of turns.

    Args:
        row: the row.
        fields: which field holds what; where there is no field for the response, it is empty.
        policy: how a conversation is read.
        default_type: type of a row that has none.
        tally: counts what was left out on purpose, by the words of the note about it.
        setting: the specification's field that holds `policy`, for messages; empty where there is none.
        compared: whether every turn of a conversation is wanted by itself, whatever the policy says.

    Raises:
        Unreadable: a field is missing, has the wrong type, or holds what no file can hold.
    """
    system = _text(row, fields.system) if fields.system and _carries(row, fields.system, fields) else ""
    whole: dict[str, str] = {}
    keep = policy.several_turns == "keep" and not compared
    if fields.own and row.get("conversation") is not None and not compared:
        if not keep:
            raise Unreadable(
                f"field 'conversation' holds a conversation ({setting}.several_turns: keep takes it as it is)"
            )
        own = _json(row, "conversation")
        if not isinstance(own, dict):
            raise Unreadable(f"field 'conversation' is {kind(own)}, not an object")
        checked = conversation(
            own.get("messages"), own.get("tools"), "conversation", policy, tally, system="", setting=setting
        )
        whole = {"conversation": _whole(checked._replace(last=own.get("last") is True), "conversation")}
    if talk := _conversation(row, fields):
        name, value = talk
        if keep:
            tools = row.get(fields.tools) if fields.tools and is_filled(row.get(fields.tools)) else None
            kept = conversation(value, tools, name, policy, tally, system=system, setting=setting)
            whole = {"conversation": _whole(kept, name)}
            found = [texts(kept.messages, len(kept.messages) - 1)]
        elif compared:
            # Nothing of a training conversation may be left out.
            policy = policy.model_copy(update={"system": "prepend"}) if fields.answered else policy
            found = every_turn(value, name, policy, tally, system=system, setting=setting)
            found = found if fields.answered else [(question, "") for question, _ in found]
        else:
            found = exchanges(value, name, policy, tally, system=system, answered=fields.answered, setting=setting)
        found = [(_sound(question, name), _sound(answer, name)) for question, answer in found]
    else:
        parts = [_text(row, fields.instruction)]
        # Many files leave the input out, or null, where there is none: the only field for which that is not a fault.
        for field in fields.inputs:
            if not _missing(row.get(field)):
                extra = _text(row, field)
                if not is_placeholder_input(extra):
                    parts.append(extra)
                elif extra.strip():
                    tally["inputs only say that there is none, and were read as no input"] += 1
        question = "\n".join(filter(str.strip, parts)) if len(parts) > 1 else parts[0]
        before = before_question(system, fields.system or "", policy, tally, setting)
        found = [(before + question, _text(row, fields.response) if fields.response else "")]
        if keep and before:
            kept = of_row({"instruction": question, "response": found[0][1]})
            kept.messages.insert(0, {"role": "system", "content": system})
            whole = {"conversation": kept.to_json()}
    rest = {
        "type": _type(row, fields, default_type, tally),
        "group": _group(row, fields.group) if fields.group and _carries(row, fields.group, fields) else None,
        "reference": _reference(row, fields) if _carries(row, fields.reference, fields) else None,
        "critics": _critics(row, fields) if fields.critiques else None,
    }
    return [{"instruction": question, "response": answer, **rest, **whole} for question, answer in found]


def _conversation(row: Mapping[str, Any], fields: Fields) -> tuple[str, Any] | None:
    """Name and value of the list of messages that a row is, if it is one."""
    if fields.messages:
        return fields.messages, _value(row, fields.messages)
    # TRL's conversational prompt/completion: each of the two holds its part of one list.
    parts = {name: row.get(name) for name in (fields.instruction, fields.response) if name}
    lists = [part for part in parts.values() if isinstance(part, list)]
    if not fields.inputs and len(lists) == len(parts):
        return " + ".join(parts), [message for part in lists for message in part]
    return None


def _whole(kept: Conversation, field: str) -> str:
    """The JSON text of a conversation."""
    try:
        text = kept.to_json()
    except ValueError as error:
        raise Unreadable(f"field {field!r} holds NaN or an infinity, which JSON has no word for") from error
    if _ESCAPED_NUL.search(text):
        raise Unreadable(f"field {field!r} holds a NUL character (U+0000)")
    return _sound(text, field)


def _missing(value: Any) -> bool:
    """Whether a value is null, or NaN, which pandas writes for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_filled(value: Any) -> bool:
    """Whether a field holds anything: not null, NaN, an empty text, list or object, or the JSON text of one."""
    if isinstance(value, str):
        return value.strip() not in ("", "[]", "{}", "null")
    return not _missing(value) and value not in ([], {}, ())


def _carries(row: Mapping[str, Any], field: str | None, fields: Fields) -> bool:
    """Whether a row has a value in a field that not every row needs; an empty text, as of a CSV cell, is none."""
    if field is None or fields.own:
        return field is not None
    value = row.get(field)
    return not _missing(value) and not (isinstance(value, str) and (not value or value.isspace()))


def _type(row: Mapping[str, Any], fields: Fields, default: str, tally: Counter[str]) -> str:
    if _carries(row, fields.type, fields):
        return _text(row, fields.type)
    if fields.type:
        tally[f"rows carry no {fields.type!r} and were given the type {default!r}"] += 1
    return default


def _value(row: Mapping[str, Any], field: str | None) -> Any:
    if field is None or field not in row:
        raise Unreadable(f"no field {field!r} ({fields_of(row)})")
    return row[field]


def _text(row: Mapping[str, Any], field: str | None) -> str:
    """A text; a number as its digits, as it would stand in a CSV file."""
    value = _value(row, field)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    if not isinstance(value, str):
        raise Unreadable(f"field {field!r} is {'null (NaN)' if value and _missing(value) else kind(value)}, not text")
    return _sound(value, field)


def _sound(text: str, field: str | None) -> str:
    """`text`, if every program downstream can hold it."""
    if not text.isascii() and (found := _SURROGATE.search(text)):
        code = ord(found[0])
        if 0xDC80 <= code <= 0xDCFF:  # what the reader made of a byte
            raise Unreadable(
                f"field {field!r} holds byte 0x{code & 0xFF:02x}, which is not valid in the file's encoding"
            )
        raise Unreadable(f"field {field!r} holds a lone surrogate (U+{code:04X}), which is no character")
    # Parquet takes it; tokenizers, browsers and C libraries drop it or stop at it, each in its own way.
    if "\0" in text:
        raise Unreadable(f"field {field!r} holds a NUL character (U+0000)")
    return text


def _group(row: Mapping[str, Any], field: str | None) -> str | None:
    # Only equality counts, so a number and its digits are the same group.
    return None if _value(row, field) is None else _text(row, field)


def _reference(row: Mapping[str, Any], fields: Fields) -> str | None:
    value = _value(row, fields.reference)
    if value is None:
        return None
    if fields.own:
        value = _json(row, fields.reference)
    if not isinstance(value, dict):
        if isinstance(value, bool | list):
            raise Unreadable(f"field {fields.reference!r} is {kind(value)}, not text and not an object")
        value = {"answer": _text(row, fields.reference)}
    try:
        text = canonical_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"field {fields.reference!r} cannot be written as JSON: {error}") from error
    return _sound(text, fields.reference)


def _json(row: Mapping[str, Any], field: str | None) -> Any:
    try:
        return json.loads(_text(row, field))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"field {field!r} is not JSON: {error}") from error


def _critics(row: Mapping[str, Any], fields: Fields) -> str | None:
    """The verdicts of critics by what they rated; None where the row has none."""
    if fields.own:
        found = _json(row, "critics") if row["critics"] is not None else {}
        if not isinstance(found, dict) or not found.keys() <= set(CRITIQUES.values()):
            raise Unreadable("field 'critics' must be an object with the verdicts instruction and pair")
        found = {judged: _critique(value, f"critics.{judged}") for judged, value in found.items()}
    else:
        found = {CRITIQUES[name]: _critique(row[name], name) for name in fields.critiques if row.get(name) is not None}
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


def is_placeholder_input(text: str) -> bool:
    """Whether an input only says that there is none ("<noinput>", "No input.", "N/A")."""
    return len(text) < 60 and bool(_NO_INPUT.fullmatch(text.strip()))

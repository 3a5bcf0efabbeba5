"""Which field of a foreign row holds what: the schemas that are recognised, and the explicit mapping.

Names are recognised in any case, and with blanks or hyphens for underscores. A number is taken as its digits; nothing
else is converted: a field with the wrong type makes the row unreadable, with the reason.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import product
from typing import Any

from sft_pipeline.dataset.source.items import Unreadable, kind
from sft_pipeline.dataset.source.messages import before_question, every_turn, exchanges
from sft_pipeline.experiment import Columns, Conversations
from sft_pipeline.provenance.hashing import canonical_json

_QUESTIONS = ("instruction", "prompt", "query", "question", "problem", "input")
_ANSWERS = ("output", "response", "completion", "answer", "solution", "target")
_USUAL = (
    ("instruction", "output"), ("instruction", "response"), ("prompt", "completion"), ("question", "answer")
)  # fmt: skip
_PAIRS = tuple(dict.fromkeys((*_USUAL, *product(_QUESTIONS, _ANSWERS))))
"""Fields of question and answer: the first pair that a row has is its schema."""
_INPUTS = ("input", "context", "passage")
"""Fields that the question is about; each is appended to it."""
_SYSTEM = ("system", "system_prompt", "system_message")
_CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog")
_ITEMS = ("question", "prompt", "instruction", "query", "problem", "text")
"""Fields that hold the text of an evaluation item, the first that it has."""
_CHANGES_THE_QUESTION = frozenset(
    (*_INPUTS, *_SYSTEM, "history", "tools", "functions", "choices", "options", "document", "documents", "article")
    + ("paragraph", "paragraphs", "image", "images", "audio", "audios", "video", "videos")
)
"""Fields without which a question may have another answer: one that is not used stops the run unless declared."""
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
    f"a question ({', '.join(_QUESTIONS)}) with an answer ({', '.join(_ANSWERS)}), and lists of messages in "
    f"{' or '.join(_CONVERSATIONS[:2])}"
)


@dataclass(frozen=True)
class Fields:
    """The fields of a source in their roles; None where the source has no such field."""

    name: str
    instruction: str | None
    response: str | None
    inputs: tuple[str, ...] = ()
    system: str | None = None
    type: str | None = None
    group: str | None = None
    reference: str | None = None
    messages: str | None = None
    critiques: tuple[str, ...] = ()
    answered: bool = True  # False for evaluation items, of which only the question is wanted
    own: bool = False  # the pipeline's own row format, in which `reference` and `critics` are JSON text

    def __str__(self) -> str:
        roles = [("instruction", self.instruction), ("input", "+".join(self.inputs)), ("response", self.response)]
        roles += [("messages", self.messages), ("system", self.system)]
        roles += [("type", self.type), ("group", self.group), ("reference", self.reference)]
        return f"{self.name} ({', '.join(f'{role}={field}' for role, field in roles if field)})"

    @property
    def needed(self) -> frozenset[str]:
        """The fields without which there is no row."""
        return frozenset(filter(None, (self.instruction, self.response, self.messages)))

    @property
    def used(self) -> frozenset[str]:
        """The fields that are read or, in the pipeline's own rows, recomputed."""
        roles = (self.instruction, self.response, self.system, self.type, self.group, self.reference, self.messages)
        return frozenset((*filter(None, roles), *self.inputs, *self.critiques, *(_OWN if self.own else ())))

    def dropped_context(self, names: Collection[str], explicit: Columns) -> tuple[str, ...]:
        """The fields of `names` that change the question, are not used, and are not declared as left out."""
        if self.own:
            return ()
        rest = [name for name in names if name not in self.used and name not in explicit.ignore]
        return tuple(name for name in rest if _plain(name) in _CHANGES_THE_QUESTION)


def _plain(name: str) -> str:
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def recognise(names: Collection[str], explicit: Columns) -> Fields | None:
    """The schema of a row with the fields `names`, or None when they fit none; explicit columns go before known names.

    The pipeline's own rows go before both: a mapping is of the source that they were read from.
    Fields for type, group and reference are never guessed in foreign data: they count where `explicit` names them.
    """
    if is_own(names):
        critics = ("critics",) if "critics" in names else ()
        return Fields(
            "rows", "instruction", "response", (), None, "type", "group", "reference", critiques=critics, own=True
        )
    known = _known(names, explicit)
    found = Fields(
        "mapping",
        None,
        None,
        (explicit.input,) if explicit.input else (),
        explicit.system or next((known[name] for name in _SYSTEM if name in known), None),
        explicit.type,
        explicit.group,
        explicit.reference,
        critiques=tuple(name for name in _CRITIQUES if name in names),
    )
    if explicit.messages:
        return replace(found, messages=explicit.messages)
    if explicit.instruction and explicit.response:
        return replace(found, instruction=explicit.instruction, response=explicit.response)
    given = explicit.instruction or explicit.response or explicit.input
    for question, answer in _PAIRS:
        instruction, response = explicit.instruction or known.get(question), explicit.response or known.get(answer)
        if instruction in names and response in names and instruction != response:
            if not explicit.instruction and not explicit.input:
                found = replace(found, inputs=_inputs(known, {instruction, response}))
            name = "alpaca" if (question, answer) == _USUAL[0] else f"{question}/{answer}"
            if name == "instruction/response" and found.critiques and not given:
                name = "stage-1 record"
            name = f"mapping over {name}" if given else name
            return replace(found, name=name, instruction=instruction, response=response)
    if not given:
        for name in _CONVERSATIONS:
            if name in known:
                return replace(found, name="messages", messages=known[name])
    return None


def _known(names: Collection[str], explicit: Columns) -> dict[str, str]:
    """The fields that may be recognised, by their plain names; one that has its plain name goes before others."""
    taken = {explicit.type, explicit.group, explicit.reference, *explicit.ignore}
    free = sorted((name for name in names if name not in taken), key=lambda name: name == _plain(name))
    return {_plain(name): name for name in free}


def _inputs(known: Mapping[str, str], taken: Collection[str | None]) -> tuple[str, ...]:
    return tuple(known[name] for name in _INPUTS if name in known and known[name] not in taken)


def recognise_item(names: Collection[str], explicit: Columns) -> Fields | None:
    """Where a row with the fields `names` has the text of an evaluation item; a response is not needed."""
    if not (explicit.instruction and not is_own(names)) and (fields := recognise(names, explicit)):
        return replace(fields, response=None, reference=None, critiques=(), answered=False)
    known = _known(names, explicit)
    name = next((name for name in _ITEMS if name in known), None)
    instruction = explicit.instruction or (known[name] if name else None)
    if instruction is None:
        return None
    inputs = () if explicit.instruction else _inputs(known, {instruction})
    return Fields(
        "mapping" if explicit.instruction else "item",
        instruction,
        None,
        (explicit.input,) if explicit.input else inputs,
        explicit.system or next((known[name] for name in _SYSTEM if name in known), None),
        explicit.type,
        explicit.group,
        answered=False,
    )


def recognise_compared(names: Collection[str], explicit: Columns) -> Fields | None:
    """The schema of a training row that is compared: with its response where it has one."""
    return recognise(names, explicit) or recognise_item(names, explicit)


def lacking(names: Collection[str], explicit: Columns) -> str:
    """What a row with the fields `names`, which fit no schema, lacks."""
    missing = [column for column in (explicit.instruction, explicit.response) if column and column not in names]
    known = _known(names, explicit)
    if missing:
        found = f"no field {' and no field '.join(map(repr, missing))}"
    elif first := next((name for name in _QUESTIONS if name in known), None):
        found = f"field {known[first]!r} but no field {' or '.join(map(repr, _ANSWERS))}"
    elif "input_ids" in known:
        found = "token ids instead of text: name the file that they were made from"
    elif "chosen" in known and "rejected" in known:
        found = "a preference pair: map the response to learn from (columns: response=chosen)"
    else:
        found = "no recognised schema"
    return f"{found} ({fields_of(names)})"


def is_own(names: Collection[str]) -> bool:
    """Whether a row has the format that this pipeline writes."""
    return all(name in names for name in _OWN)


def is_rejected(names: Collection[str]) -> bool:
    """Whether a row comes from a table of rows that this pipeline rejected."""
    return all(name in names for name in _REJECTED)


def is_placeholder_input(text: str) -> bool:
    """Whether an input only says that there is none ("<noinput>", "No input.", "N/A")."""
    return len(text) < 60 and bool(_NO_INPUT.fullmatch(text.strip()))


def rows_within(value: Mapping[str, Any], columns: Columns, depth: int = 3) -> list[Any] | None:
    """The rows in an object that is none itself: a list or an object of rows, columns, or pandas' layout "split".

    Args:
        value: the object.
        columns: the explicit mapping.
        depth: objects inside of one another that are looked into.

    Returns:
        The rows, or None where there are none.

    Raises:
        Unreadable: there are several lists of rows.
    """
    fields = recognise(value, columns)
    if fields and fields.instruction:
        first = value[fields.instruction]
        needed = [value[name] for name in (fields.instruction, fields.response) if name]
        if isinstance(first, dict):  # pandas: by column, then by index
            whole = [name for name, part in value.items() if isinstance(part, dict) and part.keys() == first.keys()]
            return [{name: value[name][key] for name in whole} for key in first]
        if all(isinstance(part, list) and part and not isinstance(part[0], dict) for part in needed):
            whole = [name for name, part in value.items() if isinstance(part, list) and len(part) == len(first)]
            return [dict(zip(whole, parts)) for parts in zip(*(value[name] for name in whole))]
    if fields:
        return None
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and data and all(isinstance(part, list) for part in data):
        return [dict(zip(names, part)) for part in data]
    found = {name: rows for name, part in value.items() if (rows := _rows_of(part, columns, depth)) is not None}
    if not found and all(isinstance(part, dict) for part in value.values()):
        first = next(iter(value.values()), {})
        return list(value.values()) if recognise(first, columns) else None
    if len(found) > 1:
        raise Unreadable(f"rows stand in {' and '.join(map(repr, found))}: write the ones that are meant as a file")
    return next(iter(found.values()), None)


def _rows_of(part: Any, columns: Columns, depth: int) -> list[Any] | None:
    if isinstance(part, dict) and depth > 1 and not recognise(part, columns):
        return rows_within(part, columns, depth - 1)
    first = part[0] if isinstance(part, list) and part else None
    return part if isinstance(first, dict) and recognise(first, columns) else None


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
    if talk := _conversation(row, fields):
        name, value = talk
        if compared:
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
        question = before_question(system, fields.system or "", policy, tally, setting) + question
        found = [(question, _text(row, fields.response) if fields.response else "")]
    rest = {
        "type": _type(row, fields, default_type, tally),
        "group": _group(row, fields.group) if fields.group and _carries(row, fields.group, fields) else None,
        "reference": _reference(row, fields) if _carries(row, fields.reference, fields) else None,
        "critics": _critics(row, fields) if fields.critiques else None,
    }
    return [{"instruction": question, "response": answer, **rest} for question, answer in found]


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

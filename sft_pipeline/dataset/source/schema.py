"""Which field of a foreign row holds what: the schemas that are recognised, and the explicit mapping.

Names are recognised in any case, and with blanks or hyphens for underscores.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from sft_pipeline.dataset.source.items import Unreadable
from sft_pipeline.experiment import Columns

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
_TOOLS = ("tools", "functions")
_CONVERSATIONS = ("messages", "conversations", "conversation", "dialogue", "dialog")
_ITEMS = ("question", "prompt", "instruction", "query", "problem", "text")
"""Fields that hold the text of an evaluation item, the first that it has."""
_CHANGES_THE_QUESTION = frozenset(
    (*_INPUTS, *_SYSTEM, "history", "tools", "functions", "choices", "options", "document", "documents", "article")
    + ("paragraph", "paragraphs", "image", "images", "audio", "audios", "video", "videos")
)
"""Fields without which a question may have another answer: one that is not used stops the run unless declared."""
CRITIQUES = {"instruction_critique": "instruction", "pair_critique": "pair"}
_OWN = ("id", "instruction", "response", "type", "group", "reference", "source_file", "source_row")
_REJECTED = ("filter", "reason", "matched", "source_file", "source_row")

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
    tools: str | None = None  # of conversations that are kept whole; for others it changes the question
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

    def dropped_context(self, names: Collection[str], explicit: Columns, whole: bool) -> tuple[str, ...]:
        """The fields of `names` that change the question, are not used, and are not declared as left out.

        Where conversations are kept `whole`, their tools are used.
        """
        if self.own:
            return ()
        used = self.used | ({self.tools} if whole and self.messages else set())
        rest = [name for name in names if name not in used and name not in explicit.ignore]
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
        tools=explicit.tools or next((known[name] for name in _TOOLS if name in known), None),
        critiques=tuple(name for name in CRITIQUES if name in names),
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
    elif "chosen" in known and "rejected" in known:
        found = "a preference pair: map the response to learn from (columns: response=chosen)"
    elif first := next((name for name in _QUESTIONS if name in known), None):
        found = f"field {known[first]!r} but no field {' or '.join(map(repr, _ANSWERS))}"
    elif "input_ids" in known:
        found = "token ids instead of text: name the file that they were made from"
    elif messages := next((name for name in names if isinstance(names, Mapping) and _is_talk(names[name])), None):
        found = f"field {messages!r} holds messages: map it (columns: messages={messages})"
    else:
        found = "no recognised schema"
    return f"{found} ({fields_of(names)})"


def _is_talk(value: Any) -> bool:
    """Whether a value looks like a list of messages."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, Mapping) and not first.keys().isdisjoint(("role", "from", "speaker", "author"))


def is_own(names: Collection[str]) -> bool:
    """Whether a row has the format that this pipeline writes."""
    return all(name in names for name in _OWN)


def is_rejected(names: Collection[str]) -> bool:
    """Whether a row comes from a table of rows that this pipeline rejected."""
    return all(name in names for name in _REJECTED)


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


def fields_of(row: Collection[str]) -> str:
    """The fields of a row for a message, cut to a dozen."""
    return f"fields: {', '.join(map(repr, list(row)[:12])) or 'none'}{' …' if len(row) > 12 else ''}"

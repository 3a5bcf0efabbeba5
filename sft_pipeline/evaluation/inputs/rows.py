"""Rows that somebody else wrote, each with its place for messages."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from sft_pipeline.dataset.source.items import Unreadable
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.inputs.content import Content
from sft_pipeline.provenance.hashing import canonical_json

PROMPTS = ("prompt", "messages", "full_prompt", "rendered_prompt", "prompt_text")
"""Fields that may hold what a model was given; the first that is there counts."""

_KNOWN = {
    *("id", "type", "instruction", "group", "response", "reference", "answer"),
    *("output", "success", "score", "reason", "labels", "tokens", "prompt_tokens", "finish_reason", *PROMPTS),
}
"""Fields of an item and of a model's answer to it that are no part of the question, or are read as what they are."""

_SETTINGS = {
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "do_sample", "num_beams", "beam_size", "n", "best_of"),
    *(
        "max_tokens",
        "max_new_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "max_length",
        "max_gen_toks",
        "min_tokens",
    ),
    *("n_shot", "num_fewshot", "context_length", "max_model_len"),
    *("stop", "stop_sequences", "stop_strings", "until", "repetition_penalty", "presence_penalty", "frequency_penalty"),
    *("system", "system_prompt", "chat_template", "apply_chat_template", "dtype", "quantization", "engine", "backend"),
    *(
        "decoding",
        "sampling",
        "sampling_params",
        "generation_config",
        "gen_kwargs",
        "generation_kwargs",
        "model",
        "model_name",
    ),
}
"""Fields that say how an answer was made; `decoding` and the like hold an object of them."""
_NEUTRAL = {"top_p": 1, "top_k": (0, -1), "min_p": 0, "typical_p": 1, "num_beams": 1, "beam_size": 1, "do_sample": 0}
_NEUTRAL |= {
    "repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "min_tokens": 0,
    "num_fewshot": 0,
    "n": 1,
    "best_of": 1,
}
"""Values that change nothing, and so need not be named."""

_CELLS = {
    "true": True,
    "false": False,
    "1": 1,
    "0": 0,
    "1.0": 1,
    "0.0": 0,
    **dict.fromkeys(("", "null", "nan", "none")),
}
"""What a cell of text in the column success says."""


@dataclass(frozen=True)
class Row:
    """A row with its place, for messages."""

    path: Path
    number: int
    values: Mapping[str, Any]

    def wrong(self, name: str, problem: str) -> DataError:
        """An error that names the place."""
        return DataError(f"{self.path}, row {self.number}, field {name}: {problem}")

    def id(self) -> str:
        """The field id; a number is taken as its digits."""
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
            raise self.wrong("id", f"must be text or a whole number, is {shown(value)}")
        return self.sound("id", value)

    def text(self, name: str) -> str | None:
        """A field of text; None where it is missing or null."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(name, f"must be text, is {shown(value)}")
        return self.sound(name, value)

    def success(self) -> bool | None:
        """The field success; 1 and 0 are true and false, null is a judge who could not tell."""
        value = self.values.get("success")
        if value in (0, 1) and isinstance(value, int | float):
            value = bool(value)
        if not isinstance(value, bool | None):
            raise self.wrong("success", f"must be true, false or null, is {shown(value)}")
        return value

    def score(self) -> float | None:
        """The field score, a finite number; None where it is missing or null."""
        value = self.values.get("score")
        if value is not None and (
            isinstance(value, bool | str) or not isinstance(value, int | float) or abs(value) == inf
        ):
            raise self.wrong("score", f"must be a finite number, is {shown(value)}")
        return None if value is None or value != value else float(value)

    def tokens(self, name: str = "tokens") -> int | None:
        """A field of a number of tokens, a whole number from 0; None where it is missing or null."""
        value = self.values.get(name)
        whole = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value < 2**53
            and value == int(value)
        )
        if value is not None and not whole:
            raise self.wrong(
                name, f"must be a whole number of {'generated ' if name == 'tokens' else ''}tokens, is {shown(value)}"
            )
        return None if value is None else int(value)

    def sound(self, name: str, value: str) -> str:
        """`value`, which must be text that can be written down."""
        try:
            value.encode()
        except UnicodeEncodeError:
            raise self.wrong(name, "holds a lone surrogate, which is no character") from None
        return value

    def item(self) -> dict[str, str]:
        """What the row says of its item: type, instruction, group, reference (JSON text)."""
        found = {name: self.text(name) for name in ("type", "instruction")}
        group = self.values.get("group")
        group = str(group) if isinstance(group, int) and not isinstance(group, bool) else self.text("group")
        found["group"] = group or None  # a blank cell is no group, and many of them are not one
        found["reference"] = self.reference()
        return {name: value for name, value in found.items() if value is not None}

    def asked(self) -> dict[str, str]:
        """What may belong to the question besides the instruction, such as an input or a context, as JSON texts by field.

        That is every text, list and object that is not known to be something else; a number most often counts samples.
        """
        return {
            name: json.dumps(value, sort_keys=True, default=str)
            for name, value in self.values.items()
            if name not in _KNOWN | _SETTINGS and value and isinstance(value, str | list | dict)
        }

    def settings(self) -> dict[str, str]:
        """How the answer was made, as JSON texts by field; what changes nothing is left out."""
        found: dict[str, Any] = {}
        for name, value in self.values.items():
            if name.casefold() in _SETTINGS:
                found |= value if isinstance(value, dict) else {name: value}
        return {
            name.casefold(): json.dumps(float(value) if isinstance(value, int) else value, sort_keys=True)
            for name, value in found.items()
            if value is not None and not _neutral(name.casefold(), value)
        }

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
            raise self.wrong(given[0], f"must be text, a number or an object, is {shown(value)}")
        try:
            text = canonical_json(value)
        except (TypeError, ValueError) as error:  # a date of Parquet, a NaN
            raise self.wrong(given[0], f"holds a value that JSON does not know: {error}") from error
        return self.sound(given[0], text)


def _neutral(name: str, value: Any) -> bool:
    neutral = _NEUTRAL.get(name)
    return (
        neutral is not None
        and isinstance(value, int | float)
        and value in (neutral if isinstance(neutral, tuple) else (neutral,))
    )


def rows(path: Path) -> Iterator[Row]:
    """Every row of a file: an object of JSON Lines or of a JSON array, or a row of CSV, Parquet or a spreadsheet.

    Raises:
        DataError: the file cannot be read or is empty, or a row is no object or too long; by the file's name and row.
    """
    content = Content(path)
    for number, value in content.objects(nan=False):
        yield Row(path, number, _named(path, number, value) if content.is_table else value)


def _named(path: Path, number: int, cells: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a table's row. A blank one is an empty answer in `output`, null in `success`, and absent elsewhere."""
    found: dict[str, Any] = {}
    for name, value in cells.items():
        if isinstance(value, Unreadable):
            raise DataError(f"{path}, row {number}, field {name}: {value}")
        if value is None or value == "" or value != value:  # NaN, as pandas writes an empty cell
            if name in ("output", "success"):
                found[name] = None if name == "success" or value is None else ""
            continue
        if isinstance(value, str) and name == "success":
            value = _CELLS.get(value.strip().casefold(), value)
        elif isinstance(value, str) and name in ("tokens", "score"):
            value = _number(value)
        found[name] = value
    return found


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def shown(value: Any) -> str:
    """A value as a message shows it."""
    return f"{value!r:.60}" if value is not None else "null"

"""Rows of JSON Lines that somebody else wrote, each with its place for messages."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from sft_pipeline.dataset.source.items import JsonReader, Unreadable, kind
from sft_pipeline.errors import DataError
from sft_pipeline.provenance.hashing import canonical_json

_KNOWN = {
    *("id", "type", "instruction", "group", "response", "reference", "answer"),
    *("output", "success", "reason", "labels", "tokens", "finish_reason", "prompt"),
}
"""Fields of an item and of a model's answer to it that are no part of the question, or are read as what they are."""

_SETTINGS = {
    *(
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "typical_p",
        "do_sample",
        "num_beams",
        "beam_size",
        "n_shot",
        "num_fewshot",
    ),
    *(
        "max_tokens",
        "max_new_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "max_length",
        "max_gen_toks",
        "min_tokens",
    ),
    *("stop", "stop_sequences", "stop_strings", "until", "repetition_penalty", "presence_penalty", "frequency_penalty"),
    *("system", "system_prompt", "chat_template", "apply_chat_template", "dtype", "quantization", "engine", "backend"),
    *("decoding", "sampling", "sampling_params", "generation_config", "gen_kwargs", "generation_kwargs", "model"),
}
"""Fields that say how an answer was made; `decoding` and the like hold an object of them."""
_NEUTRAL = {"top_p": 1, "top_k": (0, -1), "min_p": 0, "typical_p": 1, "num_beams": 1, "beam_size": 1, "do_sample": 0}
_NEUTRAL |= {"repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0, "min_tokens": 0, "num_fewshot": 0}
"""Values that change nothing, and so need not be named."""


LONGEST = 16 << 20
"""Bytes of a line: some four million tokens, more than any model answers with."""


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

    def tokens(self) -> int | None:
        """The field tokens, a whole number from 0; None where it is missing or null."""
        value = self.values.get("tokens")
        whole = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value < 2**53
            and value == int(value)
        )
        if value is not None and not whole:
            raise self.wrong("tokens", f"must be a whole number of generated tokens, is {shown(value)}")
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
            name: json.dumps(value, sort_keys=True)
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
        return self.sound(given[0], canonical_json(value))


def _neutral(name: str, value: Any) -> bool:
    neutral = _NEUTRAL.get(name)
    return (
        neutral is not None
        and isinstance(value, int | float)
        and value in (neutral if isinstance(neutral, tuple) else (neutral,))
    )


def rows(path: Path) -> Iterator[Row]:
    """Every line that is not blank; the file may be compressed with gzip, and is read line by line.

    Raises:
        DataError: the file cannot be read or is empty, or a line is no JSON object or too long; by the file's name and
            row.
    """
    reader, count = JsonReader(), 0
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        count += 1
        row = reader.value(line)
        if isinstance(row, Unreadable):
            raise DataError(f"{path}, row {number}: {row}; every line is one JSON object")
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: is {kind(row)}; every line is one JSON object")
        yield Row(path, number, row)
    if not count:
        raise DataError(f"{path}: the file is empty")


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            packed = file.peek(2).startswith(b"\x1f\x8b")
            source: BinaryIO = gzip.open(file) if packed else file  # type: ignore[assignment]  # noqa: SIM115
            number = 0
            while line := source.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:  # a few megabytes of gzip can hold a line that fills the memory
                    raise DataError(
                        f"{path}, row {number}: is longer than {LONGEST:,} bytes; every line is one JSON object with one answer"
                    )
                yield line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").decode()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from error


def shown(value: Any) -> str:
    """A value as a message shows it."""
    return f"{value!r:.60}" if value is not None else "null"

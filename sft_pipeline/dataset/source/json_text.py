"""JSON: one value per line, or a document (an array, one object, or objects one after another), read value by value."""

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

from sft_pipeline.dataset.source.items import (
    EXCERPT,
    MAX_ROW_CHARACTERS,
    UNPARSED,
    Item,
    JsonReader,
    Unreadable,
    too_long,
)
from sft_pipeline.errors import DataError

_BLOCK = 1 << 20
_SPACE = " \t\r\n"
_UNFINISHED = re.compile(r"\{[^\n]*(?<=[{\[,])[ \t\r]*\n(?!\s*\{\"(?![^\n]*\},[ \t\r]*\n))")
"""The beginning of an object that continues on the next line, so that no line is a row of its own."""


def is_document(head: str, open_text: Callable[[], TextIO], *, lines: bool) -> bool:
    """Whether JSON text is one document rather than a value per line.

    Lines may be lists, which are then rejected one by one: an array has its bracket on a line alone, or is the only line.

    Args:
        head: the first characters of the text, without leading white space.
        open_text: opens the text, for the case that the head does not decide.
        lines: whether the file's name says that it holds lines.
    """
    first, newline, _ = head.partition("\n")
    if head.startswith("["):
        return not lines or first.strip() == "[" or _is_one_line(open_text)
    if _is_object(first):
        return False
    if _is_object(first.rstrip(_SPACE + ",")) or _UNFINISHED.match(head):
        return True
    return not newline and _is_one_line(open_text)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _is_one_line(open_text: Callable[[], TextIO]) -> bool:
    """Whether only white space follows the first line that is not empty."""
    with open_text() as stream:
        filled = (line for line in iter(partial(stream.readline, _BLOCK), "") if not line.isspace())
        for line in filled:
            if line.endswith(("\n", "\r")):
                return next(filled, None) is None
    return True


def read_lines(stream: TextIO, *, parsed: bool = True) -> Iterator[Item]:
    """The values of the lines (`UNPARSED` ones, unless `parsed`), numbered by their lines; white space alone is skipped.

    No more than one line of the greatest accepted length is held in memory.
    """
    reader = JsonReader(allow_nan=True)
    for number, line in enumerate(iter(partial(stream.readline, MAX_ROW_CHARACTERS + 1), ""), 1):
        if len(line) > MAX_ROW_CHARACTERS:
            length, last = len(line), line
            while not last.endswith(("\n", "\r")) and (last := stream.readline(_BLOCK)):
                length += len(last)
            yield number, too_long(length), line[:EXCERPT]
        elif not line.isspace():
            yield number, reader.value(line) if parsed else UNPARSED, line


def read_document(stream: TextIO, path: Path) -> Iterator[Item]:
    """The elements of an array, or the objects that stand one after another, numbered by their positions.

    Memory holds a block of the text and the longest value.

    Raises:
        DataError: the text is no JSON; what comes before the fault was read.
    """
    reader, number = JsonReader(allow_nan=True), 0
    text, ended = stream.read(_BLOCK), False
    position = _skip(text, 0)
    array = text[position : position + 1] == "["
    position += array
    while True:
        start = position = _skip(text, position)
        if array and text[position : position + 1] == "]":
            break
        if number and text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif number and array and position < len(text):
            raise _broken(path, number, "a comma or the closing bracket must follow it")
        if not array and ended and position == len(text):
            return
        try:
            value, end = reader.next_value(text, position)
            if end == len(text) and not ended:  # a number may continue in the next block
                raise ValueError
        except (ValueError, RecursionError) as error:
            if ended or _is_final(error, len(text)):
                raise _broken(path, number, _reason(error, position == len(text))) from error
            # As much again as there is: a long value is then decoded few times, not once per block.
            more = stream.read(max(_BLOCK, len(text) - start))
            text, position, ended = text[start:] + more, 0, not more
            continue
        number += 1
        raw = text[position : min(end, position + EXCERPT)] if isinstance(value, Unreadable) else ""
        yield number, value, raw
        position = end
    if text[position + 1 :].strip(_SPACE) or stream.read(_BLOCK).strip(_SPACE):
        raise _broken(path, number, "something follows its closing bracket")


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\r", "\n"):
        position += 1
    return position


def _is_final(error: Exception, length: int) -> bool:
    """Whether more text cannot mend the error: it lies before the end, and it is no string that is still open."""
    if not isinstance(error, json.JSONDecodeError):
        return isinstance(error, RecursionError)
    return error.pos < length - 20 and not error.msg.startswith("Unterminated string")


def _reason(error: Exception, at_end: bool) -> str:
    if isinstance(error, RecursionError):
        return "lists or objects are nested too deeply"
    return "it ends before its closing bracket" if at_end else str(error)


def _broken(path: Path, number: int, fault: str) -> DataError:
    return DataError(
        f"{path}: the JSON cannot be read after element {number}: {fault}; correct it there, or write one object per "
        "line (JSONL), where a broken row costs only itself"
    )

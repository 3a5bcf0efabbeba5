"""A JSON array of objects, read element by element."""

from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path

from sft_pipeline.dataset.source.items import EXCERPT, Item, JsonReader, checked
from sft_pipeline.dataset.source.unreadable import Unreadable
from sft_pipeline.errors import DataError

_BLOCK = 1 << 20
_SPACE = " \t\r\n"


def read_array(path: Path) -> Iterator[Item]:
    """The elements of the array, numbered by their positions.

    Memory holds a block of the file and the longest element. Bytes that are not UTF-8 become lone surrogates, which set
    aside only the rows that they stand in.

    Raises:
        DataError: the file is no JSON array; what comes before the fault was read.
    """
    json, number = JsonReader(), 0
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        text, ended = stream.read(_BLOCK), False
        position = _skip(text, 0) + 1  # behind the bracket, by which the format was recognised
        while True:
            start = position = _skip(text, position)
            if text[position : position + 1] == "]":
                break
            if number and position < len(text):
                if text[position] != ",":
                    raise _broken(path, number, "a comma or the closing bracket must follow it")
                position = _skip(text, position + 1)
            try:
                value, end = json.next_value(text, position)
                if end == len(text) and not ended:  # a number may go on in the next block
                    raise ValueError
            except (ValueError, RecursionError) as error:
                if ended or _certain(error, len(text)):
                    fault = str(error) if position < len(text) else "it ends before its closing bracket"
                    raise _broken(path, number, fault) from error
                # As much again as there is: a long element is then decoded few times, not once per block.
                more = stream.read(max(_BLOCK, len(text) - start))
                text, position, ended = text[start:] + more, 0, not more
                continue
            number += 1
            yield checked(
                number, value, text[position : min(end, position + EXCERPT)] if isinstance(value, Unreadable) else ""
            )
            position = end
        if text[position + 1 :].strip(_SPACE) or stream.read(_BLOCK).strip(_SPACE):
            raise _broken(path, number, "something follows its closing bracket")


def _skip(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\r", "\n"):
        position += 1
    return position


def _certain(error: Exception, length: int) -> bool:
    """Whether no more text can mend the error: it lies before the end, and it is no string that is still open."""
    if not isinstance(error, JSONDecodeError):
        return isinstance(error, RecursionError)
    return error.pos < length - 20 and not error.msg.startswith("Unterminated string")


def _broken(path: Path, number: int, fault: str) -> DataError:
    return DataError(
        f"{path}: the JSON array cannot be read after element {number}: {fault}; correct it there, or write one object "
        "per line (JSONL), where a broken row costs only itself"
    )

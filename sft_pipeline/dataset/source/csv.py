"""CSV and TSV: the first record names the columns, as RFC 4180 quotes them."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sft_pipeline.dataset.source.items import EXCERPT, MAX_ROW_CHARACTERS, Item, Unreadable, printable, too_long
from sft_pipeline.errors import DataError

_BLOCK = 1 << 20


class _TooLong(Exception):
    """A record longer than is accepted."""


class _Lines:
    """Feeds the csv module and keeps the lines of the record that it is in, so that they can be fed once more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self.before = 0  # lines before the record
        self.record: list[str] = []
        self.characters = 0

    def peek(self) -> str:
        """The next line, which stays the next."""
        self._again.append(self._stream.readline(MAX_ROW_CHARACTERS + 1))
        return self._again[-1]

    def begin(self) -> None:
        """Begin a new record."""
        self.before += len(self.record)
        self.record, self.characters = [], 0

    def give_back(self) -> None:
        """Feed all lines of the record but the first once more."""
        self._again.extendleft(reversed(self.record[1:]))
        del self.record[1:]

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._stream.readline(MAX_ROW_CHARACTERS + 1)
        if not line:
            raise StopIteration
        self.record.append(line)
        self.characters += len(line)
        if len(line) > MAX_ROW_CHARACTERS:
            while not line.endswith(("\n", "\r")) and (line := self._stream.readline(_BLOCK)):
                self.characters += len(line)
            raise _TooLong
        if self.characters > MAX_ROW_CHARACTERS:
            raise _TooLong
        return line


def read_delimited(stream: TextIO, path: Path, delimiter: str, *, header: bool = True) -> Iterator[Item]:
    """The records of the file, numbered by the line on which they begin (the header is line 1).

    A record is rejected when it has more or fewer fields than the header, is quoted wrongly, or is too long. After a
    quote that is never closed, reading resumes with the next line: one wrong record costs only itself.

    Args:
        stream: the text.
        path: the file, for messages.
        delimiter: what separates two fields; where the first line has no comma but a semicolon, a tab or a bar, that.
        header: False where the first record is a row already; the columns are then named 1, 2, 3 and so on.

    Raises:
        DataError: the first record cannot be the header.
    """
    csv.field_size_limit(MAX_ROW_CHARACTERS)
    lines = _Lines(stream)
    first = lines.peek()
    if delimiter == "," and "," not in first:
        delimiter = next((other for other in ";\t|" if other in first), ",")
    columns: list[str] = []
    for number, record, text in _records(lines, delimiter):
        if isinstance(record, list) and not columns:
            columns = _columns(record, path) if header else [str(n) for n in range(1, len(record) + 1)]
            if header:
                continue
        elif not columns:
            raise DataError(f"{path}: the header on line {number} cannot be read: {record}; correct it there")
        if isinstance(record, list) and len(record) != len(columns):
            record = Unreadable(f"{len(record)} fields, where the first line has {len(columns)}")
        yield number, record if isinstance(record, Unreadable) else dict(zip(columns, record)), text


def _records(lines: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | Unreadable, str]]:
    """First line, fields or the reason why there are none, and text of every record."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        fault = None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except _TooLong:
            fault = too_long(lines.characters)
        except csv.Error as error:
            fault = Unreadable(f"not CSV: {error}")
        number = lines.before + 1
        if fault:
            if len(lines.record) > 1:
                fault = Unreadable(f"not CSV: a quote that opens on this line is not closed as it should ({fault})")
                lines.give_back()
            yield number, fault, lines.record[0][:EXCERPT]
        elif fields:
            yield number, fields, "".join(lines.record)[:EXCERPT]


def _columns(record: list[str], path: Path) -> list[str]:
    named = [name for name in record if name]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise DataError(f"{path}: two columns are named {twice[0]!r}; name every column once")
    return [printable(name) for name in record]

"""CSV and TSV: the first record names the columns, as RFC 4180 quotes them."""

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sft_pipeline.dataset.source.items import EXCERPT, MAX_ROW_CHARACTERS, Item, too_long
from sft_pipeline.dataset.source.unreadable import Unreadable, printable
from sft_pipeline.errors import DataError

_BLOCK = 1 << 20


class _TooLong(Exception):
    """A record longer than is accepted."""


class _Lines:
    """Feeds the csv module and remembers the lines of the record that it is in, so that they can be given back."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self.before = 0  # lines before the record
        self.record: list[str] = []
        self.characters = 0

    def begin(self) -> None:
        """A new record."""
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


def read_delimited(path: Path, delimiter: str, *, header: bool = True) -> Iterator[Item]:
    """The records of the file, numbered by the line on which they begin (the header stands on line 1).

    A record is set aside when it has more or fewer fields than the header, is quoted wrongly, holds bytes that are not
    UTF-8, or is too long. After a quote that is never closed, reading goes on with the next line: one wrong record
    costs only itself.

    Args:
        path: the file.
        delimiter: what stands between two fields; where the first line holds no comma but a semicolon or a tab, that.
        header: False where the first record is a row already; the columns are then named 1, 2, 3 and so on.

    Raises:
        DataError: the first record cannot be the header.
    """
    csv.field_size_limit(MAX_ROW_CHARACTERS)
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        first = stream.readline(MAX_ROW_CHARACTERS)
        if delimiter == "," and "," not in first:
            delimiter = next((other for other in ";\t" if other in first), ",")
        stream.seek(0)
        columns: list[str] = []
        for number, record, text in _records(stream, delimiter):
            if isinstance(record, list) and not columns:
                columns = _columns(record, path) if header else [str(n) for n in range(1, len(record) + 1)]
                if header:
                    continue
            elif not columns:
                raise DataError(f"{path}: the header on line {number} cannot be read: {record}; correct it there")
            yield number, record if isinstance(record, Unreadable) else _row(columns, record), text


def _records(stream: IO[str], delimiter: str) -> Iterator[tuple[int, list[str] | Unreadable, str]]:
    """First line, fields or the reason why there are none, and text of every record."""
    lines = _Lines(stream)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        fault = None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except _TooLong:
            fault = too_long(lines.characters, "characters")
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


def _row(columns: list[str], record: list[str]) -> dict[str, str] | Unreadable:
    if len(record) != len(columns):
        return Unreadable(f"{len(record)} fields, where the first line has {len(columns)}")
    row = dict(zip(columns, record))
    for name, text in row.items():
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:  # surrogateescape: a byte b that is no UTF-8 became U+DC00 + b
                return Unreadable(f"not UTF-8: byte 0x{ord(text[error.start]) & 0xFF:02x} in field {name!r}")
    return row

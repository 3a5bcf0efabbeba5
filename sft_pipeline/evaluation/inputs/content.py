"""What a file holds, by its first bytes: JSON objects line by line or in one document, a table, or an archive."""

import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import pyarrow as pa

from sft_pipeline.dataset.source.formats import SUFFIXES, opened, read_file, suffix_of
from sft_pipeline.dataset.source.items import JsonReader, Unreadable, kind
from sft_pipeline.dataset.source.json_text import is_document, read_document
from sft_pipeline.errors import DataError

LONGEST = 16 << 20
"""Bytes of a line: some four million tokens, more than any model answers with."""

DOCUMENT = 512 << 20
"""Bytes of a JSON document once decompressed. It is held in memory as a whole, several times over."""

RATIO = 200
"""How many times its size a file may unpack to: real logs unpack to 3 to 8 times theirs, bombs to a thousand times."""

UNPACKED = 1 << 30
"""Bytes up to which the ratio does not matter."""

_HEAD = 1 << 16
_TABLES = {*SUFFIXES} - {".jsonl", ".ndjson", ".json"}


class Content:
    """A file of which nothing is known yet; no more than a line or a document is held in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = 0
        """Number of the object that was read last."""

    @cached_property
    def head(self) -> bytes:
        """The first bytes, decompressed; a compressed file is unpacked once, for a billion empty lines would take minutes.

        Raises:
            DataError: it cannot be read, or is a bomb.
        """
        with self._reading(), open(self.path, "rb") as packed, opened(self.path) as stream:
            head = stream.read(_HEAD)
            if packed.read(len(head)) != head:
                for size in accumulate(map(len, iter(partial(stream.read, 1 << 20), b""))):
                    self.check_unpacked(size)
            return head

    def check_unpacked(self, size: int) -> None:
        """Refuse a file that unpacks to far more than its own size.

        Raises:
            DataError: it does, to at least `size` bytes.
        """
        if size > UNPACKED and size > RATIO * (packed := self.path.stat().st_size):
            raise DataError(f"{self.path}: would unpack from {packed:,} to {size:,} bytes or more, as no log does")

    @property
    def _start(self) -> bytes:
        """The first bytes without byte-order mark and blanks."""
        return self.head.removeprefix(b"\xef\xbb\xbf").lstrip()

    @property
    def is_archive(self) -> bool:
        """Whether it is a ZIP archive, and no spreadsheet, which is one inside."""
        return self.head.startswith(b"PK\x03\x04") and not self.is_table

    @cached_property
    def is_table(self) -> bool:
        """Whether it is CSV, Parquet or a spreadsheet, whose rows are named columns."""
        if self.head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
            return True
        return suffix_of(self.path.name) in _TABLES and not self._start.startswith((b"{", b"[{"))

    @cached_property
    def first(self) -> dict[str, Any]:
        """The first object; empty for an archive, which holds files."""
        return {} if self.is_archive else next(self.objects())[1]

    @property
    def is_text(self) -> bool:
        """Whether it is neither a table nor JSON."""
        start = self._start
        return bool(start) and not (self.is_table or self.is_archive or start.startswith((b"{", b"[")))

    def objects(self, *, nan: bool = True) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and value of every object: its line, its place in an array, or its row in a table.

        Args:
            nan: whether NaN and infinity, which JSON does not know, become floats in lines too.

        Raises:
            DataError: the file cannot be read or holds none, or one is no object or too long; by the file's name and row.
        """
        count = 0
        rule = "" if self.is_table else "; every row is one JSON object"
        for number, value in self._values(nan):
            if isinstance(value, Unreadable):
                raise DataError(f"{self.path}, row {number}: {value}{rule}")
            if not isinstance(value, dict):
                raise DataError(f"{self.path}, row {number}: is {kind(value)}{rule}")
            count += 1
            self.place = number
            yield number, value
        if not count:
            raise DataError(f"{self.path}: the file is empty")

    def _values(self, nan: bool) -> Iterator[tuple[int, Any]]:
        if self.is_table:
            for number, value, _ in read_file(self.path, self.path.name, []):
                yield number, value
        elif self._is_document():
            with self._text() as text:
                for number, value, _ in read_document(text, self.path):
                    yield number, value
        else:
            reader = JsonReader(allow_nan=nan)
            for number, line in enumerate(self._lines(), 1):
                if line.strip():
                    yield number, reader.value(line)

    def _is_document(self) -> bool:
        start = self._start.decode("utf-8", "replace")
        if start.startswith("{") and suffix_of(self.path.name) in (".jsonl", ".ndjson"):
            return False
        return start.startswith(("{", "[")) and is_document(start, self._stream, lines=False)

    def _stream(self) -> TextIO:
        return io.TextIOWrapper(
            io.BufferedReader(_Bounded(opened(self.path), self.path)), encoding="utf-8-sig", newline=""
        )

    @contextmanager
    def _text(self) -> Iterator[TextIO]:
        with self._reading(), self._stream() as text:
            yield text

    def _lines(self) -> Iterator[str]:
        with self._reading(), opened(self.path) as source:
            number = 0
            while line := source.readline(LONGEST + 1):
                number += 1
                if len(line) > LONGEST:  # a few megabytes of gzip can hold a line that fills the memory
                    raise DataError(
                        f"{self.path}, row {number}: is longer than {LONGEST:,} bytes; every line is one JSON object with one "
                        "answer"
                    )
                yield line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").decode()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What goes wrong while reading, as an error that names the file."""
        try:
            yield
        except FileNotFoundError as error:
            raise DataError(f"{self.path}: there is no such file") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: cannot be read as UTF-8 text: {error}") from error
        except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
            raise DataError(f"{self.path}: cannot be read: {error}; copy it once more") from error


class _Bounded(io.RawIOBase):
    """The bytes of a file up to the size of the largest document: a small archive can hold one that fills the memory."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path, self._left = stream, path, DOCUMENT

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._stream.read(len(buffer))
        self._left -= len(block)
        if self._left < 0:
            raise DataError(
                f"{self._path}: is one JSON document of more than {DOCUMENT >> 20} MiB; write one object per line (JSONL), or "
                "for inspect `inspect log convert --to eval`"
            )
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._stream.close()
        super().close()

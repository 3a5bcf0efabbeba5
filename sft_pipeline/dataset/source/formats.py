"""One data file: its compression, its encoding and its format, told by content first and by name second."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import pyarrow as pa

from sft_pipeline.dataset.source import json_text, tables
from sft_pipeline.dataset.source.csv import read_delimited
from sft_pipeline.dataset.source.items import Item
from sft_pipeline.errors import DataError

_LINES = (".jsonl", ".ndjson")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SPREADSHEETS = (".xlsx", ".xlsm", ".xls", ".ods")
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
SUFFIXES = (*_LINES, ".json", *_DELIMITERS, ".parquet", ".arrow", *_SPREADSHEETS)
"""Endings of the files that are read in a folder, in front of the ending of a compression."""

_HEAD, _BLOCK = 1 << 16, 1 << 20


def _open_zstd(path: Path) -> BinaryIO:
    return cast(BinaryIO, pa.input_stream(str(path), compression="zstd"))


_CODECS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open, b"\x28\xb5\x2f\xfd": _open_zstd
}  # fmt: skip
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive: unpack it",
    b"\xd0\xcf\x11\xe0": "an Office document: export it as CSV",
    b"SQLite format 3": "a SQLite database: export the table as CSV",
    b"\x80\x04": "a Python pickle, which could run code: write the rows as JSONL or Parquet",
    b"version https://git-lfs": "a Git LFS pointer, not the data: fetch the file with `git lfs pull`",
    b"<!DOCTYPE": "an HTML page, not data: the download has probably failed",
    b"<html": "an HTML page, not data: the download has probably failed",
    b"%PDF": "a PDF document: write the rows as JSONL or CSV",
}
"""First bytes of what is none of the formats, and what to do about it."""
_OBJECTS = re.compile(rb"(\xef\xbb\xbf)?\s*(\{\s*\"|\[\s*\{)")
"""The beginning of JSON rows."""
_BOMS = {
    codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
_SUPERSETS = {"shift_jis": "cp932", "gb2312": "gb18030", "euc_kr": "cp949", "iso8859-1": "cp1252"}
"""What Windows writes in the place of an encoding, with all of its characters."""
_BROKEN = re.compile("[\udc80-\udcff]")


def suffix_of(name: str) -> str:
    """The ending that names the format, in front of that of a compression: .jsonl of data.jsonl.gz."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in _COMPRESSED else path.suffix


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file in UTF-8, decompressed."""
    with _open_text(path, "utf-8") as text:
        yield from (line.rstrip("\r\n") for line in text)


def may_be_data(head: bytes) -> bool:
    """Whether the first bytes of a file are those of data, in a format that is read or a foreign one."""
    return head.startswith((b"PAR1", b"ARROW1", *_CODECS, *_FOREIGN, *list(_BOMS)[1:])) or bool(_OBJECTS.match(head))


def read_file(
    path: Path,
    name: str,
    notes: list[str],
    *,
    header: bool = True,
    encoding: str | None = None,
    parsed: bool = True,
) -> Iterator[Item]:
    """The rows of a file.

    Args:
        path: the file.
        name: its name, which decides the format where the content does not.
        notes: gets a line when the file's encoding was detected and is not UTF-8.
        header: False where a CSV file has no line with the names of the columns.
        encoding: how text is encoded; None: told by a byte order mark, or detected.
        parsed: whether values are wanted; else those of lines of JSON are `UNPARSED`.

    Raises:
        DataError: the file cannot be read; names it and the last row that was read.
    """
    number = 0
    try:
        for item in _items(path, name, notes, header, encoding, parsed):
            number = item[0]
            yield item
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error
    except (OSError, EOFError, UnicodeError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise DataError(
            f"{path}: the file cannot be read after row {number}: {error}; replace it by a sound copy"
        ) from error


def _items(path: Path, name: str, notes: list[str], header: bool, encoding: str | None, parsed: bool) -> Iterator[Item]:
    with opened(path) as stream:
        head = stream.read(_HEAD)
    suffix = suffix_of(name)
    if head.startswith(b"PAR1") or suffix == ".parquet":
        return tables.read_parquet(path if _codec(path) is open else io.BytesIO(opened(path).read()))
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return tables.read_arrow(path)
    if suffix in _SPREADSHEETS:
        return tables.read_spreadsheet(path)
    for magic, advice in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {advice}")
    detected, note = (encoding, "") if encoding else _detect(path)
    if note:
        notes.append(f"{name}: {note}")
    open_text = partial(_open_text, path, detected)
    with open_text() as text:
        start = text.read(_HEAD).lstrip()
    if start.startswith(('{"', "[{")) or (start.startswith(("{", "[")) and suffix not in _DELIMITERS):
        if json_text.is_document(start, open_text, lines=suffix in _LINES):
            return json_text.read_document(open_text(), path)
    elif suffix in _DELIMITERS or suffix not in (*_LINES, ".json"):
        return read_delimited(open_text(), path, _DELIMITERS.get(suffix, ","), header=header)
    return json_text.read_lines(open_text(), parsed=parsed)


def _codec(path: Path) -> Callable[..., Any]:
    with open(path, "rb") as stream:
        head = stream.read(8)
    return next((codec for magic, codec in _CODECS.items() if head.startswith(magic)), open)


def opened(path: Path) -> BinaryIO:
    """The bytes of the file, decompressed."""
    codec = _codec(path)
    return open(path, "rb") if codec is open else codec(path)


def _open_text(path: Path, encoding: str) -> TextIO:
    # A byte b that is not in the encoding becomes U+DC00 + b: it costs only the rows in which it is used.
    return io.TextIOWrapper(opened(path), encoding=encoding, errors="surrogateescape", newline="")


def _detect(path: Path) -> tuple[str, str]:
    """The encoding of a text file, and a note where it is not UTF-8.

    A file whose bytes that are not UTF-8 are fewer than its characters that are is a UTF-8 file with broken rows.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    broken = valid = 0
    sample = b""
    with opened(path) as stream:
        for block in iter(partial(stream.read, _BLOCK), b""):
            if not (broken or valid or sample):
                if bom := next((bom for bom in _BOMS if block.startswith(bom)), None):
                    return _BOMS[bom], "" if bom == codecs.BOM_UTF8 else f"read as {_BOMS[bom].upper()}"
                if zeros := _utf16(block[:4096]):
                    return zeros, f"read as {zeros.upper()}, detected by its zero bytes"
            if block.isascii() and not decoder.getstate()[0]:
                continue
            text = decoder.decode(block)
            if found := len(_BROKEN.findall(text)):
                broken += found
                lines = [line for line in block.split(b"\n") if not line.isascii()]
                sample = (sample + b"\n".join(lines))[:_HEAD]
            valid += len(text) - len(text.encode("ascii", "ignore")) - found
    if not broken or valid >= broken:
        return "utf-8", ""
    import chardet  # 80 ms, for the few files that are not UTF-8

    guess = chardet.detect(sample)["encoding"]
    try:
        name = codecs.lookup(guess or "").name
    except LookupError:
        raise DataError(
            f"{path} is not UTF-8 text, and its encoding cannot be detected; declare it (encoding: cp1252, or --encoding)"
        ) from None
    encoding = _SUPERSETS.get(name, name)
    return encoding, (
        f"read as {encoding}, detected: {broken} bytes are not UTF-8; declare `encoding` if that is wrong"
    )


def _utf16(head: bytes) -> str | None:
    """UTF-16 without a byte order mark, which for text in Latin letters has a zero in every second byte."""
    for name, zeros, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        if len(zeros) > 1 and zeros.count(0) > 0.7 * len(zeros) and others.count(0) < 0.1 * len(others):
            return name
    return None

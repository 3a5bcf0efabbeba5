"""Which files a path means, and which format each of them has."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset, SourceFiles
from sft_pipeline.dataset.source.csv import read_delimited
from sft_pipeline.dataset.source.items import Item
from sft_pipeline.dataset.source.json_array import read_array
from sft_pipeline.dataset.source.jsonl import read_lines
from sft_pipeline.dataset.source.parquet import read_parquet
from sft_pipeline.dataset.source.unreadable import printable
from sft_pipeline.errors import DataError
from sft_pipeline.provenance.hashing import hash_bytes, hash_file
from sft_pipeline.specification import expand_path

_LINES = (".jsonl", ".ndjson")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*_LINES, ".json", *_DELIMITERS, ".parquet")
"""Names of the files that are read in a folder."""
_FOREIGN = {
    b"\x1f\x8b": "compressed with gzip; unpack it",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet; unpack it, or export it as CSV",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it",
    b"BZh": "compressed with bzip2; unpack it",
    b"\xfd7zXZ\x00": "compressed with xz; unpack it",
    b"ARROW1": "an Arrow IPC file; write it as Parquet",
    b"\xff\xfe": "UTF-16 text; write it as UTF-8",
    b"\xfe\xff": "UTF-16 text; write it as UTF-8",
}
"""First bytes of what looks like data but is none of the formats, and what to do about it."""
_OBJECTS = re.compile(rb"(\xef\xbb\xbf)?\s*(\{\s*\"|\[\s*\{)")
"""The beginning of JSON rows."""
_UNFINISHED = re.compile(rb"\{[^\n]*(?<=[{\[,])[ \t\r]*\n(?!\s*\{\"(?![^\n]*\},[ \t\r]*\n))")
"""The beginning of an object that goes on in the next line, which is no row of its own."""


_BESIDE = (InstructionDataset.CROISSANT,)
_BESIDE_ROWS = (
    InstructionDataset.REJECTED,
    InstructionDataset.DUPLICATES,
    InstructionDataset.MANIFEST,
    "unreadable.parquet",
    "leakage_proof.json",
)
"""What the data stage writes beside its rows: its folders can be read again."""

_SIDECARS = (".asc", ".crc", ".license", ".md5", ".sha1", ".sha256", ".sig")
"""What is named after a data file and holds no rows."""

# Why a file of a folder is not read.
_BESIDE_OURS, _HIDDEN, _EMPTY, _OTHER = "written beside the rows", "hidden", "empty", "another kind of file"
_LEAVES, _INSIDE = "a link that leaves the folder", "a link to a folder"


@dataclass(frozen=True)
class Files:
    """The files of a source: their paths, and their names as they stand in the rows."""

    written: str
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    folder: bool
    notes: tuple[str, ...]
    header: bool = True
    missed: tuple[str, ...] = ()  # files of a folder that are not read although they look like data, with the reason

    def items(self, limit: int | None) -> Iterator[tuple[str, int, Any, str]]:
        """Name of the file, number, value and raw text of every row, of the first `limit` over all files."""
        rows = ((name, *item) for path, name in zip(self.paths, self.names) for item in _rows(path, name, self.header))
        return islice(rows, limit)

    def require_whole(self, what: str) -> None:
        """Refuse a folder of which a file that looks like data is not read.

        Raises:
            DataError: names these files; `what` is taken whole or not at all.
        """
        if self.missed:
            raise DataError(
                f"{self.written}: {what} is taken whole or not at all, and of this folder would not be read: "
                f"{_listed(list(self.missed))}. Unpack or convert them, put files in the place of links, or take them out"
            )

    def record(self) -> SourceFiles:
        """The path as written, with hash and size of what it holds now."""
        size = sum(path.stat().st_size for path in self.paths)
        if not self.folder:
            return SourceFiles(path=self.written, sha256=hash_file(self.paths[0]), bytes=size)
        listed = "".join(f"{hash_file(path)}  {name}\n" for path, name in zip(self.paths, self.names))
        return SourceFiles(path=self.written, files=len(self.paths), sha256=hash_bytes(listed.encode()), bytes=size)


def find(written: str, root: Path, field: str, *, header: bool = True) -> Files:
    """The files that a specification's path means: one, or all in a folder that have a known name.

    Args:
        written: the path as it stands in the specification.
        root: the project's root, to which a relative path refers.
        field: the specification's field, for messages.
        header: False where delimited files have no line with the names of the columns.

    Raises:
        DataError: there is no file, it is empty, or nothing in the folder can be read.
    """
    try:
        path = expand_path(written, root)
    except DataError as error:
        raise DataError(f"{field}: {error}") from error
    if path.is_dir():
        return _below(written, path, field, header)
    if not path.is_file():
        raise DataError(f"{field} {written!r}: there is no file {path}; correct the path or create the file")
    if path.stat().st_size == 0:
        raise DataError(f"{field} {written!r}: {path} is empty; it must hold at least one row")
    # The name alone: rows are the same wherever the file lies. The whole path stands in the description. The name as it
    # was written, for a link may lead to a file whose name says nothing.
    name = Path(written).name if "$" not in Path(written).name else path.name
    return Files(written, (path,), (printable(name),), False, (), header)


def _below(written: str, folder: Path, field: str, header: bool) -> Files:
    """The files of a folder, with a note on what is not read and why."""
    found: dict[str, Path] = {}
    left: dict[str, list[str]] = {}
    missed: list[str] = []
    for place, folders, files in os.walk(folder):
        own = {*_BESIDE, *(_BESIDE_ROWS if InstructionDataset.ROWS in files else ())}
        for name in [*files, *(name for name in folders if (Path(place) / name).is_symlink())]:
            path = Path(place) / name
            shown = printable(path.relative_to(folder).as_posix())
            if reason := _BESIDE_OURS if name in own else _unread(path, folder):
                left.setdefault(reason, []).append(shown)
                if _looks_like_data(path, reason):
                    missed.append(f"{shown} ({reason})")
            else:
                found[shown] = path
    notes = [f"not read, {reason}: {_listed(names)}" for reason, names in sorted(left.items())]
    if not found:
        because = "; ".join(notes) or "it is empty"
        raise DataError(f"{field} {written!r}: the folder {folder} holds no {', '.join(SUFFIXES)} file ({because})")
    names = tuple(sorted(found))
    return Files(written, tuple(found[name] for name in names), names, True, tuple(notes), header, tuple(missed))


def _unread(path: Path, folder: Path) -> str | None:
    """Why a file of a folder is not read."""
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return _HIDDEN
    if path.is_symlink() and not path.resolve().is_relative_to(folder):
        return _LEAVES
    if path.is_dir():
        return _INSIDE
    if not path.is_file():
        return "no regular file"
    if path.suffix.lower() not in SUFFIXES:
        return _OTHER
    return _EMPTY if path.stat().st_size == 0 else None


def _looks_like_data(path: Path, reason: str) -> bool:
    """Whether a file that is not read may hold rows: by its name, or by its first bytes where it is a file."""
    if reason in (_HIDDEN, _BESIDE_OURS, _EMPTY, _INSIDE):
        return False
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if not set(SUFFIXES).isdisjoint(suffixes):
        return suffixes[-1] not in _SIDECARS
    if reason == _LEAVES:
        return path.is_dir()
    if reason != _OTHER:
        return False
    try:
        with open(path, "rb") as stream:
            head = stream.read(4096)
    except OSError:
        return True  # nobody can tell
    return head.startswith((b"PAR1", *_FOREIGN)) or bool(_OBJECTS.match(head))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(sorted(names)[:10]) + more


def _rows(path: Path, name: str, header: bool) -> Iterator[Item]:
    """The rows of one file by its format, which its first bytes tell, and its name where they do not."""
    with open(path, "rb") as stream:
        head = stream.read(4096)
    for magic, advice in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{path} is {advice}")
    suffix, start = Path(name).suffix.lower(), head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"PAR1") or suffix == ".parquet":
        return read_parquet(path)
    if suffix in _DELIMITERS and not start.startswith((b'{"', b"[{")):
        return read_delimited(path, _DELIMITERS[suffix], header=header)
    # Lines may be lists (and are then set aside one by one): the bracket of an array has the line to itself there, or
    # the array is the only line.
    if start.startswith(b"["):
        if suffix not in _LINES or start.split(b"\n")[0].strip() == b"[" or _is_one_line(path):
            return read_array(path)
    elif _is_object(start.partition(b"\n")[0].rstrip(b" \t\r,")) and _UNFINISHED.match(start):
        raise DataError(
            f"{path} holds JSON objects with commas between them: remove the comma at the end of each line, or write [ "
            "before the first and ] after the last, as a .json file"
        )
    elif _UNFINISHED.match(start):
        raise DataError(
            f"{path} is one JSON object over several lines, not one object per line; write the list of rows that it holds "
            "as a file of its own, or each row on one line"
        )
    return read_lines(path)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _is_one_line(path: Path) -> bool:
    """Whether nothing but white space follows the first line."""
    ended = False
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            first, newline, rest = (b"", b"", block) if ended else block.partition(b"\n")
            ended = ended or bool(newline)
            if rest.strip():
                return False
    return True

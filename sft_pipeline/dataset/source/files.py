"""Which files a path means, and which format each of them has."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset.source.delimited import read_delimited
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
    b"ARROW1": "an Arrow IPC file; write it as Parquet",
    b"\xff\xfe": "UTF-16 text; write it as UTF-8",
    b"\xfe\xff": "UTF-16 text; write it as UTF-8",
}
"""First bytes of what looks like data but is none of the formats, and what to do about it."""


_BESIDE = (InstructionDataset.CROISSANT,)
_BESIDE_ROWS = (
    InstructionDataset.REJECTED,
    InstructionDataset.DUPLICATES,
    InstructionDataset.MANIFEST,
    "unreadable.parquet",
    "leakage_proof.json",
)
"""What the data stage writes beside its rows: its folders can be read again."""


@dataclass(frozen=True)
class Files:
    """The files of a source: their paths, and their names as they stand in the rows."""

    written: str
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    folder: bool
    notes: tuple[str, ...]
    header: bool = True

    def items(self, limit: int | None) -> Iterator[tuple[str, int, Any, str]]:
        """Name of the file, number, value and raw text of every row, of the first `limit` over all files."""
        rows = ((name, *item) for path, name in zip(self.paths, self.names) for item in _rows(path, name, self.header))
        return islice(rows, limit)

    def description(self) -> str:
        """The path as written, with hash and size.

        The hash of a folder is that of the list of its files that are read, in the order of their names, as `sha256sum`
        prints it: `cd FOLDER && sha256sum NAME NAME … | sha256sum`.
        """
        size = sum(path.stat().st_size for path in self.paths)
        if not self.folder:
            return f"{self.written} (sha256 {hash_file(self.paths[0])}, {size} bytes)"
        listed = "".join(f"{hash_file(path)}  {name}\n" for path, name in zip(self.paths, self.names))
        count = f"{len(self.paths)} file{'s' if len(self.paths) > 1 else ''}"
        return f"{self.written} ({count}, sha256 of their list {hash_bytes(listed.encode())}, {size} bytes)"


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
    for place, folders, files in os.walk(folder):
        own = {*_BESIDE, *(_BESIDE_ROWS if InstructionDataset.ROWS in files else ())}
        for name in [*files, *(name for name in folders if (Path(place) / name).is_symlink())]:
            path = Path(place) / name
            shown = printable(path.relative_to(folder).as_posix())
            if reason := "written beside the rows" if name in own else _unread(path, folder):
                left.setdefault(reason, []).append(shown)
            else:
                found[shown] = path
    notes = [f"not read, {reason}: {_listed(names)}" for reason, names in sorted(left.items())]
    if not found:
        because = "; ".join(notes) or "it is empty"
        raise DataError(f"{field} {written!r}: the folder {folder} holds no {', '.join(SUFFIXES)} file ({because})")
    names = tuple(sorted(found))
    return Files(written, tuple(found[name] for name in names), names, True, tuple(notes), header)


def _unread(path: Path, folder: Path) -> str | None:
    """Why a file of a folder is not read."""
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return "hidden"
    if path.is_symlink() and not path.resolve().is_relative_to(folder):
        return "a link that leaves the folder"
    if path.is_dir():
        return "a link to a folder"
    if not path.is_file():
        return "no regular file"
    if path.suffix.lower() not in SUFFIXES:
        return "another kind of file"
    return "empty" if path.stat().st_size == 0 else None


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
    # Lines may be lists (and are then set aside one by one): the bracket of an array has the line to itself there.
    if start.startswith(b"[") and (suffix not in _LINES or start.split(b"\n")[0].strip() == b"["):
        return read_array(path)
    return read_lines(path)

"""Which files a path means: one file, a folder, a dataset that a registry describes, or what a pipe delivers."""

import json
import os
import select
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sft_pipeline.artifacts import InstructionDataset, SourceFiles
from sft_pipeline.dataset.source.formats import SUFFIXES, may_be_data, read_file, suffix_of
from sft_pipeline.dataset.source.items import SourceItem, printable
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Columns, Conversations, FileData
from sft_pipeline.provenance.hashing import hash_bytes, hash_file
from sft_pipeline.specification import expand_path

_OWN = (InstructionDataset.CROISSANT,)
_OWN_ROWS = (
    InstructionDataset.REJECTED,
    InstructionDataset.DUPLICATES,
    InstructionDataset.MANIFEST,
    "unreadable.parquet",
    "leakage_proof.json",
)
"""What the data stage writes to the folder of its rows: its folders can be read again."""
_REGISTRY = "dataset_info.json"
"""LLaMA-Factory's registry of datasets; `datasets` gives the same name to the description of one that it saves."""
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"
"""What `datasets` writes to the folder of a saved dataset, and of several splits."""

_SIDECARS = (".asc", ".crc", ".license", ".md5", ".sha1", ".sha256", ".sig")
"""Endings of files that are named after a data file and hold no rows."""

# Why a file of a folder is not read.
_WRITTEN, _DESCRIPTION = "the pipeline wrote it with the rows", "it describes datasets"
_HIDDEN, _EMPTY, _OTHER = "hidden", "empty", "another kind of file"
_LEAVES, _INSIDE = "a link that leaves the folder", "a link to a folder"
_WAIT = 30
"""Seconds that a pipe may stay silent before its first byte."""


@dataclass(frozen=True)
class Files:
    """The files of a source: their paths, and their names as they stand in the rows."""

    written: str
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    folder: bool = False
    notes: list[str] = field(default_factory=list)  # complete when all items were read
    header: bool = True
    encoding: str | None = None
    missed: tuple[str, ...] = ()  # files of a folder that are not read although they look like data, with the reason
    columns: Columns | None = None  # the mapping of a registry
    conversations: dict[str, Any] = field(default_factory=dict)  # how a registry says that messages are spelled
    spooled: IO[bytes] | None = None  # what a pipe delivered, deleted with this object

    def settings(self, source: FileData) -> tuple[Columns, Conversations]:
        """How the rows are read: as the specification says, and where it does not, as the registry says."""
        columns = self.columns if self.columns and source.columns == Columns() else source.columns
        return columns, source.conversations.model_copy(update=self.conversations)

    def items(self, *, parsed: bool = True) -> Iterator[SourceItem]:
        """Name of the file, number, value and raw text of every item; lines of JSON may be left as `UNPARSED`."""
        for path, name in zip(self.paths, self.names):
            for item in read_file(path, name, self.notes, header=self.header, encoding=self.encoding, parsed=parsed):
                yield name, *item

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


def find(written: str, root: Path, setting: str, *, header: bool = True, encoding: str | None = None) -> Files:
    """The files that a specification's path means: one, or all in a folder that have a known name.

    Args:
        written: the path as it stands in the specification.
        root: the project's root, to which a relative path refers.
        setting: the specification's field, for messages.
        header: False where CSV files have no line with the names of the columns.
        encoding: how text files are encoded; None: detected.

    Raises:
        DataError: there is no file, it is empty, a folder in it cannot be listed, or nothing in the folder can be read.
    """
    before, registry, name = written.rpartition(f"{_REGISTRY}:")
    try:
        path = expand_path(f"{before}{_REGISTRY}" if registry else written, root)
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _below(written, path, setting, header, encoding)
        if path.name == _REGISTRY and (datasets := _registry(path)):
            return _registered(written, path, name, datasets, setting, encoding)
        if not stat.S_ISREG(mode):
            return _spooled(written, path, mode, header, encoding)
    except DataError as error:
        raise error if str(error).startswith(setting) else DataError(f"{setting}: {error}") from error
    except FileNotFoundError:
        # /dev/stdin and what a shell's <(…) gives are links to something without a path.
        if (device := Path(written)).exists() and written.startswith("/dev/"):
            return _spooled(written, device, device.stat().st_mode, header, encoding)
        raise DataError(
            f"{setting} {written!r}: there is no file {path}; correct the path or create the file"
        ) from None
    except (OSError, RuntimeError) as error:  # RuntimeError: pathlib's word for a loop of links
        reason = error.strerror if isinstance(error, OSError) else "its symbolic links form a loop"
        raise DataError(f"{setting} {written!r}: it cannot be read: {reason}") from error
    if path.stat().st_size == 0:
        raise DataError(f"{setting} {written!r}: {path} is empty; it must hold at least one row")
    # The name alone: rows are the same wherever the file lies. The whole path stands in the description. The name as it
    # was written, for a link may lead to a file whose name says nothing.
    shown = Path(written).name if "$" not in Path(written).name else path.name
    return Files(written, (path,), (printable(shown),), header=header, encoding=encoding)


def _spooled(written: str, path: Path, mode: int, header: bool, encoding: str | None) -> Files:
    """What a pipe delivers, as a temporary file: it can be read only once, and its format must be looked at first."""
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        found = "a terminal" if stat.S_ISCHR(mode) and os.isatty(0) else "no file, folder or pipe"
        raise DataError(f"{written!r} is {found}; name a file, or pipe the rows in")
    spool = tempfile.NamedTemporaryFile(prefix="sft-pipeline-")  # noqa: SIM115
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as stream:
        if not select.select([stream], [], [], _WAIT)[0] or not (first := stream.read(1)):
            raise DataError(
                f"{written!r} is a pipe to which nothing was written for {_WAIT} seconds; start its writer first"
            )
        os.set_blocking(stream.fileno(), True)
        spool.write(first)
        shutil.copyfileobj(stream, spool, 1 << 20)
    spool.flush()
    name = "stdin" if path.name in ("stdin", "0") else path.name
    return Files(written, (Path(spool.name),), (name,), header=header, encoding=encoding, spooled=spool)


def _registry(path: Path) -> dict[str, Any] | None:
    """The datasets of LLaMA-Factory's registry by name; None where the file is something else."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    known = ("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
    entries = found.values() if isinstance(found, dict) else ()
    return found if entries and all(isinstance(e, dict) and not e.keys().isdisjoint(known) for e in entries) else None


def _registered(
    written: str, path: Path, name: str, datasets: dict[str, Any], setting: str, encoding: str | None
) -> Files:
    """The file of one dataset in LLaMA-Factory's registry, with the mapping that the registry declares."""
    local = [key for key, entry in datasets.items() if "file_name" in entry]
    entry = datasets.get(name or (local[0] if len(local) == 1 else ""))
    if entry is None or "file_name" not in entry:
        found = f"the dataset {name!r} is no file of its folder" if name in datasets else "name one of its datasets"
        raise DataError(
            f"{path}: {found}: {path}:NAME, where NAME is {_listed(local) or 'none, for all are hub datasets'}"
        )
    if entry.get("ranking"):
        raise DataError(f"{path}: {name!r} holds preference pairs, which are no rows for supervised fine-tuning")
    names, tags = entry.get("columns", {}), entry.get("tags", {})
    roles = ("prompt", "instruction"), ("query", "input"), ("response", "response"), ("system", "system")
    mapping = {role: names[key] for key, role in (*roles, ("messages", "messages")) if key in names}
    if mapping.keys() == {"messages"} or "messages" in mapping:
        mapping = {key: mapping[key] for key in ("messages", "system") if key in mapping}
    told = {f"{part}_field": tags[f"{part}_tag"] for part in ("role", "content") if f"{part}_tag" in tags}
    spelled = {tags[f"{role}_tag"]: role for role in ("system", "user", "assistant") if f"{role}_tag" in tags}
    spelled |= {tags[tag]: "tool" for tag in ("observation_tag", "function_tag") if tag in tags}
    files = find(str(path.parent / entry["file_name"]).replace("$", "$$"), path.parent, setting, encoding=encoding)
    return Files(
        written,
        files.paths,
        files.names,
        files.folder,
        files.notes,
        encoding=encoding,
        missed=files.missed,
        columns=Columns(**mapping),
        conversations=told | ({"roles": spelled} if spelled else {}),
    )


def _below(written: str, folder: Path, setting: str, header: bool, encoding: str | None) -> Files:
    """The files of a folder, with a note on what is not read and why."""
    if (folder / _SAVED_SPLITS).is_file():
        splits = json.loads((folder / _SAVED_SPLITS).read_bytes()).get("splits", [])
        places = " or ".join(f"{written.rstrip('/')}/{split}" for split in splits)
        raise DataError(f"{setting} {written!r}: a saved dataset of several splits; name one of them: {places}")
    if (folder / _SAVED).is_file() and (saved := json.loads((folder / _SAVED).read_bytes()).get("_data_files")):
        names = tuple(part["filename"] for part in saved)  # others, such as caches, are no part of it
        if lost := [name for name in names if not (folder / name).is_file()]:
            raise DataError(f"{setting} {written!r}: the saved dataset lacks its file {lost[0]}; restore it")
        return Files(written, tuple(folder / name for name in names), names, True)
    found: dict[str, Path] = {}
    left: dict[str, list[str]] = {}
    missed: list[str] = []

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{setting} {written!r}: the folder {error.filename} cannot be listed ({error.strerror}), so its rows would be "
            "missing; allow reading it, or take it out"
        ) from error

    for place, folders, files in os.walk(folder, onerror=refuse):
        own = {*_OWN, *(_OWN_ROWS if InstructionDataset.ROWS in files else ())}
        for name in [*files, *(name for name in folders if (Path(place) / name).is_symlink())]:
            path = Path(place) / name
            shown = printable(path.relative_to(folder).as_posix())
            if reason := _WRITTEN if name in own else _unread(path, folder):
                left.setdefault(reason, []).append(shown)
                if _looks_like_data(path, reason):
                    missed.append(f"{shown} ({reason})")
            else:
                found[shown] = path
    notes = [f"not read, {reason}: {_listed(names)}" for reason, names in sorted(left.items())]
    if not found:
        because = "; ".join(notes) or "it is empty"
        raise DataError(f"{setting} {written!r}: the folder {folder} holds no {', '.join(SUFFIXES)} file ({because})")
    names = tuple(sorted(found))
    return Files(
        written,
        tuple(found[name] for name in names),
        names,
        True,
        notes,
        header,
        encoding,
        tuple(missed),
    )


def _unread(path: Path, folder: Path) -> str | None:
    """Why a file of a folder is not read."""
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return _HIDDEN
    try:
        if path.is_symlink() and not path.resolve().is_relative_to(folder):
            return _LEAVES
    except (OSError, RuntimeError):
        return "a link that leads to itself"
    if path.is_dir():
        return _INSIDE
    if not path.is_file():
        return "no regular file"
    if suffix_of(path.name) not in SUFFIXES:
        return _OTHER
    if path.name == _REGISTRY and _registry(path):
        return _DESCRIPTION
    return _EMPTY if path.stat().st_size == 0 else None


def _looks_like_data(path: Path, reason: str) -> bool:
    """Whether a file that is not read may hold rows: by its name, or by its first bytes where it is a file."""
    if reason in (_HIDDEN, _WRITTEN, _DESCRIPTION, _EMPTY, _INSIDE):
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
            return may_be_data(stream.read(4096))
    except OSError:
        return True  # nobody can tell


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(sorted(names)[:10]) + more

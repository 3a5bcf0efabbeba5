"""A value that names its files by path and hash, and its identity."""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from sft_pipeline.provenance.hashing import files_below, hash_file, hash_value


class Frozen(BaseModel):
    """A value that cannot be changed and has no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class FileRef(Frozen):
    """A file of an artifact: POSIX path relative to the artifact's root, SHA-256 and size in bytes."""

    path: str
    sha256: str
    bytes: int


class Artifact(Frozen):
    """Base of everything that an IO manager stores."""

    VOLATILE: ClassVar[tuple[str, ...]] = ()
    """Patterns of the files that differ between two identical runs (logs with times, environment records)."""

    PRIVATE: ClassVar[tuple[str, ...]] = ()
    """Fields that quote rows of the data or name people: what is published holds their hashes."""

    root: Path = Field(exclude=True, description="Folder that holds the files; set wherever it is read.")
    files: dict[str, FileRef] = {}
    upstream: dict[str, str] = Field({}, description="Digest of every artifact that this one was made from, by asset.")
    measurements: dict[str, float | int | str] = Field(
        {}, description="Timings, throughput, peak memory: not part of the digest."
    )
    key: str = Field("", description="Hash of all that the producing step depended on: not part of the digest.")

    @classmethod
    def finalize(cls, root: Path, hashes: Mapping[str, str] | None = None, **fields: Any) -> Self:
        """Hash every file below `root` and return the artifact that consists of them.

        Args:
            root: folder in which the producing step has written all files of the artifact, and nothing else.
            hashes: of files that were hashed already, by name.
            fields: the fields of the artifact's type.
        """
        refs = {}
        for path in files_below(root):
            name = path.relative_to(root).as_posix()
            digest = (hashes or {}).get(name) or hash_file(path)
            refs[name] = FileRef(path=name, sha256=digest, bytes=path.stat().st_size)
        return cls(root=root, files=refs, **fields)

    @classmethod
    def subtypes(cls) -> "dict[str, type[Artifact]]":
        """The type and all types derived from it, by name."""
        found: dict[str, type[Artifact]] = {cls.__name__: cls}
        for kind in cls.__subclasses__():
            found |= kind.subtypes()
        return found

    def path(self, name: str) -> Path:
        """Absolute path of the artifact's file `name`.

        Raises:
            KeyError: the artifact has no such file.
        """
        return self.root / self.files[name].path

    @property  # not cached: a copy with other fields would keep the digest of the original
    def described(self) -> dict[str, Any]:
        """The content that the digest is the hash of: type, fields (with what it was made from) and stable files.

        It can be published: private fields stand in it by their hashes.
        """
        content = self.model_dump(mode="json", exclude={"files", "measurements", "key"})
        content |= {name: hash_value(content[name]) for name in self.PRIVATE}
        stable = {n: f.sha256 for n, f in self.files.items() if not any(fnmatch(n, p) for p in self.VOLATILE)}
        return {"type": type(self).__name__, "content": content, "files": stable}

    @property
    def digest(self) -> str:
        """SHA-256 of the content, see `described`."""
        return hash_value(self.described)

    @property
    def identity(self) -> Any:
        """What the version is the hash of: all of the content, unless a type says otherwise."""
        return self.described

    @property
    def version(self) -> str:
        """What downstream depends on, and the Dagster data version."""
        return hash_value(self.identity)

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(ref.bytes for ref in self.files.values())

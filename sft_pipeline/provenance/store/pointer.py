"""What is current for an asset and an experiment, and what was before."""

from datetime import UTC, datetime
from typing import Self

from sft_pipeline.artifacts import Artifact, Frozen
from sft_pipeline.errors import CorruptArtifactError
from sft_pipeline.provenance.hashing import hash_value

REMEMBERED = 100
"""Earlier versions that a pointer remembers; gc decides which of them keep their files."""


class Version(Frozen):
    """One stored version of an asset for an experiment."""

    type: str
    address: str
    digest: str
    version: str
    written: str
    """When it became current, by the writer's clock: for people, nothing is decided by it."""


class Pointer(Version):
    """The current version, and the earlier ones, newest first."""

    asset: str
    experiment: str
    previous: tuple[Version, ...] = ()
    check: str
    """Hash of all other fields: a damaged history must not look like a shorter one."""

    @classmethod
    def to(cls, artifact: Artifact, address: str, asset: str, experiment: str, before: Self | None) -> Self:
        """A pointer to the artifact at `address`, which takes the place of `before`."""
        versions = (before.current, *before.previous) if before else ()
        pointer = cls(
            asset=asset,
            experiment=experiment,
            type=type(artifact).__name__,
            address=address,
            digest=artifact.digest,
            version=artifact.version,
            written=datetime.now(UTC).isoformat(timespec="seconds"),
            previous=tuple(v for v in versions if v.address != address)[:REMEMBERED],
            check="",
        )
        return pointer.model_copy(update={"check": pointer._hash()})

    @classmethod
    def read(cls, text: bytes, place: str) -> Self:
        """The pointer in `text`, which was read from `place`.

        Raises:
            CorruptArtifactError: it is no pointer, or not the one that was written.
        """
        try:
            pointer = cls.model_validate_json(text)
        except ValueError as error:
            raise CorruptArtifactError(f"{place} is damaged: {error}") from error
        if pointer.check != pointer._hash():
            raise CorruptArtifactError(f"{place} is damaged: it is not what was written")
        return pointer

    @property
    def current(self) -> Version:
        """The version that it names."""
        return Version(**self.model_dump(include=set(Version.model_fields)))

    def _hash(self) -> str:
        return hash_value(self.model_dump(mode="json", exclude={"check"}))

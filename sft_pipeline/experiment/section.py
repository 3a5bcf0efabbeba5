"""What every part of a specification has in common: strictness, and types that several parts use."""

import re
import warnings
from typing import Annotated, Any, ClassVar, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # it must not lead out of the store
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes


def compiles(pattern: str, name: str) -> None:
    """Refuse a pattern that is no regular expression; `name` is the field in the message."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{name} is no regular expression: {error}") from error


def once(names: tuple[str, ...], field: str) -> None:
    """Refuse names of which one stands twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{field} names {', '.join(twice)} more than once")


class Section(BaseModel):
    """A part of a specification: unknown keys are refused and nothing can be changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True)


class Extended(Section):
    """A section with fields that came later; apart, because its JSON Schema in the mode of serialisation names no fields."""

    ADDED: ClassVar[tuple[str, ...]] = ()
    """Fields that came later: written only where they differ from their default, so that old hashes stay what they were."""

    @model_serializer(mode="wrap")
    def _without_unused_additions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        unused = {name for name in self.ADDED if getattr(self, name) == fields[name].default}
        return {name: value for name, value in handler(self).items() if name not in unused}


def former_names(**renamed: str) -> Any:
    """Validator of a section by which fields under their former name count for one release, with a warning.

    For sections without tuples: what a validator has seen is no longer JSON, where a list stands for a tuple.
    """

    def accept(cls: type, written: Any) -> Any:
        if not isinstance(written, dict):
            return written
        for old in sorted(renamed.keys() & written.keys()):
            if (new := renamed[old]) in written:
                raise ValueError(f"{old} is the former name of {new}; write {new} alone")
            warnings.warn(f"{old} is called {new} now; the former name goes with the next release", FutureWarning, 2)
        return {renamed.get(name, name): value for name, value in written.items()}

    return model_validator(mode="before")(cast(Any, classmethod(accept)))

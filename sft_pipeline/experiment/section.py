"""What every part of a specification has in common: strictness, and types that several parts use."""

import re
import warnings
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

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

"""What every part of a specification has in common: strictness, and types that several parts use."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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

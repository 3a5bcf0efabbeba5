"""What a section of an experiment's page consists of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Bars(NamedTuple):
    """A cell with a bar for each share, of the given kind: base, sft, lost."""

    shares: tuple[tuple[float, str], ...]


class Word(NamedTuple):
    """A word with the colour of an outcome: pass, fail, refused, held, or none."""

    text: str
    outcome: str = ""


class Figure(NamedTuple):
    """A figure with its name; `model` is base or sft where it is one of theirs."""

    name: str
    value: str
    detail: str = ""
    model: str = ""


class Table(NamedTuple):
    """A table; a cell is a text, a `Word` or `Bars`."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


class Picture(NamedTuple):
    """A PNG among the files of an artifact."""

    asset: str
    file: str
    alt: str


@dataclass
class Section:
    """A stage.

    Attributes:
        key: its anchor.
        title: its heading.
        assets: what it tells of; the first of them is what its step is named after.
        state: how it came out, in a word or two.
        outcome: class of the state: pass, fail, refused or nothing.
        text: it in a sentence.
        figures: what a reader wants first.
        remarks: what was found, the worst first.
        tables: further figures.
        picture: at its end.
        unseen: what was not looked at, a sentence each.
    """

    key: str
    title: str
    assets: tuple[str, ...]
    state: str = "not made"
    outcome: str = ""
    text: str = ""
    figures: list[Figure] = field(default_factory=list)
    remarks: list[tuple[Word, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    picture: Picture | None = None
    unseen: list[str] = field(default_factory=list)

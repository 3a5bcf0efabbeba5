"""The mask audit as one self-contained page: token by token, what is trained on, and what was cut or left out.

No network, no script; everything from data is escaped, and white space and what is invisible are shown as signs.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from sft_pipeline.report import excerpt
from sft_pipeline.report.rendering import render

SHOWN = 1600
"""Most tokens of a sample that the page shows, from its beginning and its end."""

IDS = 20
"""Most ids that a figure lists; mask_audit.txt names the first five of each."""


class Token(NamedTuple):
    """Text of one token, or of several that make a character only together.

    Attributes:
        text: the decoded text.
        ids: the token ids.
        learned: whether it is trained on.
        special: whether it is a special token.
        end: whether it is the end-of-sequence token.
    """

    text: str
    ids: tuple[int, ...]
    learned: bool
    special: bool
    end: bool


class Sample(NamedTuple):
    """A training row: its id, why it is shown, and its tokens."""

    id: str
    why: str
    tokens: tuple[Token, ...]


class Audit(NamedTuple):
    """What the page says.

    Attributes:
        rows: rows of the training split.
        tokens: tokens of the rows that are trained on, after cutting.
        learned: tokens among them that are trained on.
        ends: rows in which the end-of-sequence token is learned: once, at the end.
        cut: ids of the rows cut at `max_length`.
        masked: ids of the fully masked rows, which are left out.
        merged: ids of the rows in which tokens would merge across prompt and response.
        max_length: the limit in tokens.
        problems: why these rows cannot be trained on.
        samples: rows to look at.
    """

    rows: int
    tokens: int
    learned: int
    ends: int
    cut: Sequence[str]
    masked: Sequence[str]
    merged: Sequence[str]
    max_length: int
    problems: Sequence[str]
    samples: Sequence[Sample]


def page(audit: Audit) -> str:
    """The page as HTML."""
    filters = {"visible": visible, "count": lambda number: f"{number:,}"}
    share = audit.learned / audit.tokens if audit.tokens else 0.0
    samples = [
        {
            "id": sample.id,
            "why": sample.why,
            "tokens": sum(len(token.ids) for token in sample.tokens),
            "learned": sum(len(token.ids) for token in sample.tokens if token.learned),
            "parts": _parts(sample.tokens),
        }
        for sample in audit.samples
    ]
    lists = [
        ("Cut at max_length", audit.cut, f"longer than {audit.max_length:,} tokens"),
        ("Fully masked, left out", audit.masked, "the prompt alone reaches max_length"),
        ("Tokens would merge at the border", audit.merged, "prompt and response are encoded apart there"),
    ]
    return render("mask_audit.html.j2", filters, a=audit, share=share, samples=samples, lists=lists, most=IDS)


def _parts(tokens: Sequence[Token]) -> list[tuple[Sequence[Token], int]]:
    """The tokens to show, with the number of those left out before each stretch."""
    if len(tokens) <= SHOWN:
        return [(tokens, 0)]
    half = SHOWN // 2
    return [(tokens[:half], 0), (tokens[-half:], len(tokens) - 2 * half)]


_SIGNS = {" ": "␣<wbr>", "\n": "↵\n", "\t": "⇥\t"}


def visible(text: str) -> Markup:
    """`text` escaped, with a sign for white space and for everything that would not be seen."""
    parts = []
    for part in re.split(r"(\s)", text):
        if part in _SIGNS:
            parts.append(Markup('<span class="white">' + _SIGNS[part] + "</span>"))
        elif part.isspace():
            parts.append(Markup('<span class="control">U+{:04X}</span>').format(ord(part)))
        else:
            parts.append(excerpt.shown(part))
    return Markup("").join(parts)

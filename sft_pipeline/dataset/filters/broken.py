"""Rows that lost something before they came here: characters in a wrong decoding, a link in the place of a text."""

import re

from sft_pipeline.dataset.filters.base import Hit, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.text import trimmed
from sft_pipeline.experiment import Quality


def broken_characters(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A text with U+FFFD, which stands for a byte that could not be decoded, or with mojibake ("donâ€™t" for "don't").

    Mojibake is what ftfy takes for it. Instructions about encodings are left alone.
    """
    fields = [field for field in ("instruction", "response") if not row[field].isascii()]
    if not quality.broken_characters or not fields or _ABOUT_ENCODINGS.search(row["instruction"][:2000]):
        return None
    from ftfy.badness import is_bad

    for field in fields:
        text = row[field]
        if (at := text.find("\ufffd")) >= 0:
            return Hit(
                f"the {field} holds U+FFFD, which stands for a lost character", text[max(0, at - 100) : at + 100]
            )
        if is_bad(text):
            line = next((line for line in text.splitlines() if is_bad(line)), text)
            return Hit(f"the {field} holds text in a wrong decoding (mojibake)", line[:200])
    return None


def link_input(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """An instruction whose input is only a link: a model cannot follow it, so that the response is invented.

    Off by default. What can be asked about a link itself (its domain, its parts, a tag with it) stays.
    """
    if not quality.link_input:
        return None
    head, _line, last = trimmed(row["instruction"]).rpartition("\n")
    if head and _LINK.fullmatch(last) and not _ABOUT_LINKS.search(head):
        return Hit("the instruction's input is only a link", last)
    return None


_ABOUT_ENCODINGS = re.compile(r"\b(?:mojibake|encod|decod|unicode|utf|character sets?|charset)", re.IGNORECASE)
_LINK = re.compile(r"\W{0,9}(?:https?://|www\.)\S{1,2000}\s{0,9}", re.IGNORECASE)
_ABOUT_LINKS = re.compile(
    r"\b(?:URLs?|URIs?|domain|protocol|hyperlink|anchor|HTML|markdown|shorten|pars(?:e|ing)|regex|query string|host ?name)\b",
    re.IGNORECASE,
)

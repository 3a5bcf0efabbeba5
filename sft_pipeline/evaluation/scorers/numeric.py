"""The final number of the answer equals the expected one, compared as exact fractions."""

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import DASHES, HYPHENS, IN_WORD, excerpt, ungrouped

OPTIONS: set[str] = set()
VERIFIER = True

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_NUMBER = re.compile(
    # A sign counts only directly before the number and not after a word or bracket: "3-5" ends in 5, "- 5" is a bullet.
    # Characters of scripts without spaces are no word here, for a number may follow them directly.
    rf"(?<!{IN_WORD})(?<!\.)(?:(?<!{IN_WORD})(?<![)\]])(?P<sign>[-+]))?(?:[$€£¥₹]\s?)?(?P<inner>-)?"
    rf"(?:(?P<whole>{_DIGITS}) (?P<part>\d+)/(?P<of>\d+)|(?P<over>{_DIGITS})/(?P<under>{_DIGITS})"
    rf"|(?P<decimal>{_DIGITS}(?:\.\d+)?(?:[eE][-+]?\d{{1,3}}(?!\d))?|\.\d+))"
    r"(?![A-Za-z_]*\d)(?P<percent>\s?%)?"
)
_SIGNS = str.maketrans({**dict.fromkeys(HYPHENS + DASHES, "-"), "\u2044": "/"})
_LONGEST = 1000  # digits; longer ones are no answer and would make exact arithmetic slow


class Number(NamedTuple):
    """A number as it was written."""

    value: Fraction
    percent: bool

    def equals(self, other: "Number") -> bool:
        """Equality; where only one side carries a percent sign, 50 % equals both 50 and 1/2."""
        if self.percent == other.percent:
            return self.value == other.value
        written, plain = (self, other) if self.percent else (other, self)
        return plain.value in (written.value, written.value / 100)


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Take the last number, or after a #### the first; commas, currency, percent and fractions are understood.

    So are no-break and thin spaces between thousands; a plain space parts two numbers. An en dash in the place of a minus
    sign is one.

    Raises:
        DataError: the reference holds no number.
    """
    expected = final_number(item.answer)
    if expected is None:
        raise item.wrong("reference.answer", f"holds no number: {excerpt(item.answer)!r}")
    given = final_number(output)
    if given is None:
        return Score(False, "no number in the answer", readable=False)
    if given.equals(expected):
        return Score(True)
    return Score(False, f"expected {_shown(expected)}, got {_shown(given)}")


def final_number(text: str) -> Number | None:
    """The number that a text ends in: the last of its numbers, or after the last #### the first."""
    _, marker, after = text.rpartition("####")
    matches = _NUMBER.finditer(_plain(after if marker else text))
    inwards = matches if marker else reversed(list(matches))  # the others are not worth their exact arithmetic
    return next((number for match in inwards if (number := _number(match)) is not None), None)


def _plain(text: str) -> str:
    """Compatibility forms as plain digits, with ½ apart from what precedes it and exponents dropped."""
    if text.isascii():
        return text
    plain = []
    for character in ungrouped(text):
        kind = unicodedata.decomposition(character).partition(" ")[0]
        if kind == "<fraction>":
            plain.append(" " + unicodedata.normalize("NFKC", character).replace("\u2044", "/"))
        elif kind in ("<super>", "<sub>"):
            plain.append(" ^ ")
        else:
            plain.append(unicodedata.normalize("NFKC", character).translate(_SIGNS))
    return re.sub(" {2,}", " ", "".join(plain))


def _number(match: re.Match[str]) -> Number | None:
    if len(match[0]) > _LONGEST:
        return None

    def value(group: str) -> Fraction:
        return Fraction(Decimal(match[group].replace(",", "")))

    if match["whole"]:
        if not value("of"):
            return None
        magnitude = value("whole") + value("part") / value("of")
    elif match["over"]:
        if not value("under"):
            return None
        magnitude = value("over") / value("under")
    else:
        magnitude = value("decimal")
    negative = (match["sign"] == "-") != bool(match["inner"])
    return Number(-magnitude if negative else magnitude, bool(match["percent"]))


def _shown(number: Number) -> str:
    return excerpt(str(number.value)) + (" %" if number.percent else "")

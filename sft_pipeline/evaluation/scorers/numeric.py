"""The final number of the answer equals the expected one, compared as exact fractions.

Decimals may stand behind a point (1,234.56) or a comma (1.234,56; 1 234,56). A number that has both signs, groups of three
or another number of decimals than three shows which. "1.234" alone does not: then the option `decimal` decides, else the
other numbers of the answer, those of the item, and last the language of either.
"""

import re
import unicodedata
from collections.abc import Mapping
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache
from typing import Any, Literal, NamedTuple

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import DASHES, HYPHENS, IN_WORD, excerpt, own_part, ungrouped

OPTIONS = {
    "decimal": "point or comma, where numbers such as 1.234 have their decimals; without it, numbers and language tell it.",
}
REFERENCE = {
    "answer": "The expected answer; without it, the row's response. A number of JSON, or a text that holds one.",
}
VERIFIER = True

Decimals = Literal["point", "comma"]
"""The sign before the decimals."""

_COMMA_LANGUAGES = frozenset(
    (
        "az",
        "be",
        "bg",
        "bs",
        "ca",
        "cs",
        "da",
        "de",
        "el",
        "es",
        "et",
        "eu",
        "fi",
        "fr",
        "gl",
        "hr",
        "hu",
        "hy",
        "id",
        "is",
        "it",
        "ka",
        "kk",
        "lt",
        "lv",
        "mk",
        "nb",
        "nl",
        "nn",
        "no",
        "pl",
        "pt",
        "ro",
        "ru",
        "sk",
        "sl",
        "sq",
        "sr",
        "sv",
        "tr",
        "uk",
        "vi",
    )
)
"""ISO 639 codes of languages that write decimals behind a comma."""

_LETTERS = 12
"""Letters that a text needs for its language to be detected."""

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
# A number with its signs between digits: "1,234.56", "1 234,56", "1'234.50"; its border is not within another number.
_SIGNED = re.compile(
    r"(?<![\d.,])\d{1,3}(?: \d{3})+,\d{1,2}(?![\d.,]\d)|(?<![\d.,])\d+(?:[.,]\d+|['’]\d{3}(?!\d))+(?![.,]?\d)"
)
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d.,]\d)(?!\d)")
# GSM8K's line of the answer: a number follows directly, and it is no heading of a numbered step.
_ANSWER_LINE = re.compile(
    r"^[ \t>*]*+####[ \t]*+(?:\*\*)?(?:(?:final )?(?:answer|result)[ \t]*+[:=]?[ \t]*+)?(?!\d{1,2}[.)][ \t])([^\w\n]{0,6}\d[^\n]*)",
    re.MULTILINE | re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\}){0,400})\}")

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
    """Take the first number of the first line of ####, or of \\boxed{}, or else the last number of the answer.

    Thousands may be parted by commas, points, no-break and thin spaces; currency, percent and fractions are understood. A
    plain space parts two numbers, unless decimals behind a comma follow. An en dash in the place of a minus sign is one.

    Only what the model wrote for its own question counts: no draft in <think>, nothing behind a special token or the next
    question.

    Raises:
        DataError: the reference holds no number.
        SpecificationError: the option `decimal` is neither point nor comma.
    """
    declared = options.get("decimal")
    if declared not in (None, "point", "comma"):
        raise SpecificationError(
            f"evaluation.scorers: option decimal of the scorer numeric is point or comma, not {declared!r}"
        )
    written = isinstance(item.reference.get("answer", item.response), str)  # a number of JSON has a point
    expected = final_number(item.answer, declared or _decimals(item.answer, item.instruction) if written else "point")
    if expected is None:
        raise item.wrong("reference.answer", f"holds no number: {excerpt(item.answer)!r}")
    decimals = declared or _decimals(output, f"{item.instruction}\n{item.response}")
    given = final_number(output, decimals)
    if given is None:
        return Score(False, "no number in the answer", readable=False)
    if given.equals(expected):
        return Score(True)
    reason = f"expected {_shown(expected)}, got {_shown(given)}"
    other: Decimals = "comma" if decimals == "point" else "point"
    misread = None if declared else final_number(output, other)
    if misread is not None and misread.equals(expected):
        reason += f"; it would be right with decimals behind a {other}: say so by the option decimal"
        return Score(False, reason, readable=False)
    return Score(False, reason)


def final_number(text: str, decimals: Decimals = "point") -> Number | None:
    """The number that a text gives as its answer; see `score`."""
    text = own_part(text, lambda part: any(character.isdecimal() for character in part))
    if line := _ANSWER_LINE.search(text):
        text, from_start = line[1], True
    elif "####" in text:
        text, from_start = text.rpartition("####")[2], True
    else:
        boxed = [found[1] for found in _BOXED.finditer(text) if _NUMBER.search(found[1])]
        text, from_start = boxed[-1] if boxed else text, False
    matches = _NUMBER.finditer(_pointed(_plain(text), decimals))
    inwards = matches if from_start else reversed(list(matches))  # the others are not worth their exact arithmetic
    return next((number for match in inwards if (number := _number(match)) is not None), None)


def _pointed(text: str, decimals: Decimals) -> str:
    """`text` with a point before decimals and nothing between thousands."""
    if decimals == "comma":
        text = _SPACED.sub(lambda number: number[0].replace(" ", ""), text)
    return _SIGNED.sub(lambda number: _canonical(number[0], decimals), text)


def _canonical(number: str, decimals: Decimals) -> str:
    number = re.sub("[ '’]", "", number)
    shows = _shows(number)
    if shows is None and number.count(".") + number.count(",") > 1:
        return number  # a date, a version, a list
    comma = (shows or decimals) == "comma"
    return number.replace(".", "").replace(",", ".") if comma else number.replace(",", "")


def _shows(number: str) -> Decimals | None:
    """Where a written number has its decimals; None where it does not show."""
    signs = [character for character in number if character in ".,"]
    groups = re.split("[.,]", number)
    grouped = len(groups[0]) <= 3 and groups[0][0] != "0" and all(len(group) == 3 for group in groups[1:-1])
    if len(set(signs)) == 2 and grouped and signs.count(signs[-1]) == 1:
        return "comma" if signs[-1] == "," else "point"
    if len(set(signs)) > 1:
        return None
    if len(signs) > 1:
        return ("point" if signs[0] == "," else "comma") if grouped and len(groups[-1]) == 3 else None
    if signs and not (grouped and len(groups[-1]) == 3):
        return "comma" if signs[0] == "," else "point"
    return None


def _decimals(*texts: str) -> Decimals:
    """The sign before the decimals of the first of `texts`: the first of them whose numbers show one kind tells it.

    Where none does, the language tells it, if there is a number that can be read in two ways.
    """
    for text in texts:
        shown = {found for number in _SIGNED.findall(_plain(text)) if (found := _shows(re.sub("[ '’]", "", number)))}
        if len(shown) == 1:
            return shown.pop()
    plain = _plain(texts[0])
    unclear = _SPACED.search(plain) or any(len(re.split("[.,]", number)) == 2 for number in _SIGNED.findall(plain))
    return "comma" if unclear and _comma_language(texts) else "point"


def _comma_language(texts: tuple[str, ...]) -> bool:
    long = next((text for text in texts if sum(map(str.isalpha, text)) >= _LETTERS), "")
    return bool(long) and _identifier().classify(long[:2000])[0] in _COMMA_LANGUAGES


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _plain(text: str) -> str:
    """Compatibility forms as plain digits, with ½ apart from what precedes it and exponents dropped."""
    if text.isascii():
        return text
    plain = []
    for character in ungrouped(text, ""):
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
    """As a decimal number where that is exact, else as a fraction."""
    rest = number.value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    value = str(number.value)
    if rest == 1 and number.value.denominator > 1:
        exact = Context(prec=4 * _LONGEST).divide(Decimal(number.value.numerator), Decimal(number.value.denominator))
        value = format(exact, "f")
    return excerpt(value) + (" %" if number.percent else "")

"""Text normalisation that the scorers share."""

import functools
import re
import unicodedata
from collections.abc import Callable, Iterator

from sft_pipeline.dataset.text import UNSPACED, repeated_share

HYPHENS = "\u2010\u2011\u2212"
"""Hyphens and the minus sign, which are what - is."""
DASHES = "\u2012\u2013"
"""The figure dash and the en dash: a minus before a number. Not the em dash, which opens speech and parts sentences."""

_PLAIN = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'", **dict.fromkeys(HYPHENS, "-")})
_MINUS = re.compile(rf"[{DASHES}](?=[$€£¥₹]?\.?\d)")

_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:[\u00a0\u2007\u2009\u202f]\d{3})+(?!\d)")

_HEADING = re.compile("#+ ")  # Markdown's, or GSM8K's ####
# Ends of sentences and clauses, also of Arabic, Devanagari, Myanmar, Khmer, Chinese; ¿ and ¡; Markdown's emphasis; dashes;
# bullets; plain quotation marks.
_MARKS = frozenset(" .,;:!?\u060c\u061b\u061f\u0964\u104a\u104b\u17d4\u3001\u3002¿¡*_\u2014\u2015•·\u30fb'\"" + DASHES)
_WRAPPING = {"Ps", "Pe", "Pi", "Pf"}  # brackets, and quotation marks that open and close

IN_WORD = rf"[^\W{UNSPACED}]"
"""A regular expression for a character of a word with borders."""

_UNSPACED = re.compile(f"[{UNSPACED}]")
_OWN_START = re.compile(rf"(?:(?<!\.)\.|[!{DASHES}]|,(?=\d))(?={IN_WORD})")
_NUMBER_AHEAD = re.compile(r"[$€£¥₹]?\.?\d")
_SIGN = rf"(?:[^\w)\]]|[{UNSPACED}])-"  # and no hyphen between words
# What makes another number of the digits that follow: a sign, digits, digits before a point or a comma, a point alone; the
# slash of a fraction, but not at the ends of a date (5/12/2024), and ^, which makes an exponent of them.
_NUMBER_BEFORE = (
    rf"(?<!{_SIGN})(?<!^-)(?<!{_SIGN}[$€£¥₹])(?<!^-[$€£¥₹])(?<!\d)(?<!\d[.,])(?<![^\w.]\.)(?<![{UNSPACED}]\.)(?<!^\.)"
    r"(?:(?<!\d[/\u2044])|(?<=/\d/)|(?<=/\d\d/))(?<!\^)"
)
_EXPONENT = r"\^\W?\d"
_NUMBER_AFTER = rf"(?!,?\d|\.0*[^\D0]|[/\u2044]\d++(?!/)|{_EXPONENT})"  # 5.00 is 5
_NAME_AFTER = rf"(?!#|\+\+|\+(?!\w)|{_EXPONENT})"  # C#, C++, A+ and m^2 are not C, A and m; in x+1 there is x
_NUMERALS = "〇零一二三四五六七八九十百千万萬億亿"

HALF = 0.5
"""Share of repeated n-grams above which a text counts as degenerate."""


def folded(text: str) -> str:
    """`text` in NFKC, without case, with plain apostrophes, hyphens, minus signs, single spaces, and exponents after ^."""
    marked = _SUPERSCRIPT.sub(r"^\g<0>", text)  # in NFKC alone 2⁵ is 25
    plain = unicodedata.normalize("NFKC", marked).casefold().translate(_PLAIN)
    return " ".join(_MINUS.sub("-", plain).split())


def ungrouped(text: str, sign: str = ",") -> str:
    """`text` with `sign` between the thousands of numbers that a no-break or thin space parts."""
    return _GROUPED.sub(lambda number: re.sub(r"\D", sign, number[0]), text)


def bare(text: str) -> str:
    """`folded` text without what stands around an answer and is no part of it; text of nothing else is left as it is.

    That is punctuation of sentences, quotation marks, brackets, Markdown's emphasis, headings and bullets. What may belong
    to the answer stays: signs and units (-5, 5 %, C#, /etc), a point before a word or number (.5, .NET), ! after a digit.
    """
    text = folded(text)
    heading = _HEADING.match(text)
    start, end = heading.end() if heading else 0, len(text)
    while start < end and _surrounding(text[start]):
        start += 1
    while end > start and _surrounding(text[end - 1]):
        end -= 1
    if start == end:
        return text
    if start and _OWN_START.match(text, start - 1):
        start -= 1
    if text[end : end + 1] == "!" and text[end - 1].isdecimal():
        while text[end : end + 1] == "!":
            end += 1
    elif end < len(text) and text[end] in DASHES:  # Cl–
        end += 1
    return text[start:end]


def _surrounding(character: str) -> bool:
    return character in _MARKS or unicodedata.category(character) in _WRAPPING


def has_words(text: str, words: str) -> bool:
    """Whether `words` stand in `text` as `whole_words`; both must be folded."""
    return next(places(text, words), None) is not None


def places(text: str, words: str) -> Iterator[int]:
    """Where `words` stand in `text` as `whole_words`, one after the other; both must be folded."""
    start = text.find(words)
    while start >= 0:
        here = stands(text, start, words)
        if here:
            yield start
        start = text.find(words, start + (len(words) or 1 if here else 1))


def stands(text: str, start: int, words: str) -> bool:
    """Whether what stands in `text` at `start`, namely `words`, are `whole_words` there."""
    before, after = (compiled(border) for border in _borders(words))
    return bool(before.match(text, start) and after.match(text, start + len(words)))


# The classes of characters are large: to compile them again for each expected answer takes most of a gate's time.
compiled = functools.cache(re.compile)


def holds(output: str, answer: str) -> bool:
    """Whether an expected answer stands in an output as whole words, without regard to case.

    A single capital letter counts only as one: the article "a" is not the answer A.
    """
    if capital := _capital(answer):
        return has_words(unicodedata.normalize("NFKC", output), capital)
    return has_words(folded(output), bare(answer))


def _capital(answer: str) -> str:
    """The letter, where an answer is one capital and what stands around an answer; else nothing."""
    letters = [c for c in unicodedata.normalize("NFKC", answer) if c.isupper()]
    return letters[0] if len(letters) == 1 and bare(answer) == letters[0].casefold() else ""


def whole_words(words: str) -> str:
    """A regular expression for `words` as whole words, one after the other.

    A border is asked for only between two characters of scripts that put spaces between words: beside a Chinese, Japanese,
    Korean, Thai character there is none, so a part counts. A number must be the whole number: 5 does not stand in 0.5, -5,
    5.7, 1,5, 1/5 or 2^5, and 五 not in 十五. C does not stand in C++ or C#.
    """
    before, after = _borders(words)
    return before + re.escape(words) + after


@functools.lru_cache  # asked for in every place of the same words
def _borders(words: str) -> tuple[str, str]:
    """Regular expressions of no width for what must stand before and after `words`; there are but a few of them."""
    before = "" if _UNSPACED.match(words[:1]) else f"(?<!{IN_WORD})"
    after = "" if _UNSPACED.match(words[-1:]) else f"(?!{IN_WORD})"
    if _NUMBER_AHEAD.match(words):
        before += _NUMBER_BEFORE
    if words[-1:].isdecimal():
        after += _NUMBER_AFTER
    elif after and words[-1:].isalpha():
        after += _NAME_AFTER
    if words[:1] in _NUMERALS:
        before += f"(?<![{_NUMERALS}])"
    if words[-1:] in _NUMERALS:
        after += f"(?![{_NUMERALS}])"
    return before, after


_THOUGHTS = ("think", "thinking", "thought", "reasoning")
SPECIAL_TOKEN = re.compile(
    r"<\|[\w▁]{2,30}\|>(?:\s?(?:assistant|model)\n)?|</?s>|<(?:eos|bos|pad|unk|end_of_turn|start_of_turn)>|<｜[\w▁]{2,40}｜>"
    r"|\[/?INST\]|\[EOS\]"
)
"""Tokens that mark a turn or the end of a text, as the tokenizers of published models write them."""
_NEXT_QUESTION = re.compile(
    r"\n[ \t]*(?:[#>*_-]{1,4}[ \t]*)?(?:next )?(?:question|q|problem|exercise|instruction|user|human|input|frage|aufgabe|pregunta"
    r"|pergunta|domanda|вопрос|问题|問題|質問|질문)[ \t]*#?\d{0,4}[ \t]*[*_]{0,2}[ \t]*[:：]",
    re.IGNORECASE,
)


def own_part(text: str, answers: Callable[[str], bool]) -> str:
    """What a model wrote in answer to its own question: no draft in <think>, nothing after the end of its turn.

    A base model without a stop string continues behind a special token or with a next question. A next question counts as
    one only behind a part that `answers`: some begin with the question itself.
    """
    text = own_turn(without_thought(text))
    for question in _NEXT_QUESTION.finditer(text):
        if answers(text[: question.start()]):
            return text[: question.start()]
    return text


def without_thought(text: str) -> str:
    """What follows a thought in tags, also one that the prompt opened; all of a text that holds nothing else."""
    for tag in _THOUGHTS if "<" in text else ():
        behind = text.rpartition(f"</{tag}>")[2].partition(f"<{tag}>")[0]
        text = behind if behind.strip() else text
    return text


def own_turn(text: str) -> str:
    """`text` up to a special token, less those that it begins with."""
    return next((part for part in SPECIAL_TOKEN.split(text) if part.strip()), text)


def excerpt(text: str, limit: int = 60) -> str:
    """`text` on one line, cut for a message."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def repetitive(text: str) -> bool:
    """Whether repeated n-grams make up over half of the text."""
    return repeated_share(text) > HALF

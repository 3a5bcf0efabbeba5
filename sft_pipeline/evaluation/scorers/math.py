"""The answer's mathematical expression equals the expected one, by math-verify."""

import re
from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import excerpt, ungrouped
from sft_pipeline.provenance import subprocess_call

OPTIONS: dict[str, str] = {}
REFERENCE = {
    "answer": "The expected answer; without it, the row's response. The expression alone, or a text that holds it in \\boxed{} or behind ####.",
}
VERIFIER = True

SECONDS = 3.0
"""Processor time that one comparison may take: the simplification of a formula may not end."""

_EQUALITY = "sft_pipeline.evaluation.scoring.math_equality"  # by name: only the process with the limit loads sympy

MOST_WORDS = 3
"""Words that an expected answer may have around its expression, such as a unit."""

_WORD = re.compile(r"(?<!\\)\b[^\W\d_]{2,}")  # without LaTeX commands

LAST = 10_000
"""Characters at the end of an answer that are read: the final answer stands there, and the search for it is slow."""

LONGEST = 200
"""Characters of an answer that may be one expression as a whole; a longer line is a text."""

_DELIMITER = re.compile(r"\\boxed|(?<!\\)\$|\\[(\[]")
# A number alone, or with a currency or unit: boxed, "5 L" is a product, "1 000" another one, and "3,5" a set.
_QUANTITY = re.compile(
    r"[€£¥₹]?-?(?:\d{1,3}(?:[ ,]\d{3})+(?:\.\d+)?|\d*[.,]?\d+)\s*[%‰€£¥₹¢°]?"
    r"(?:(?<!\d)[^\W\d_]+(?:/[^\W\d_]+|\^\d|[²³])?)?"
)
_MARK = re.compile(r"(?:[-•]|\(?\w{1,2}[).])\s")  # of an item of a list
_BRACES = re.compile(r"\{[^{}]*\}")  # what stands in them is LaTeX and no sentence
_OPERATOR = re.compile(r"\s*([+*^=<>])\s*")
_WORD_ALONE = re.compile(r"[^\W\d_](?:['’]?[^\W\d_])+")


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    r"""Compare what math-verify extracts: boxed expressions first, then "final answer is", LaTeX, and the last number.

    After a last #### only the rest of its line counts, as in GSM8K. An answer that is one expression is read as a whole,
    as if it were boxed. The expected answer is the expression itself, with or without $ or \boxed around it, or a text
    that ends in #### or holds a \boxed one. Numbers are equal when they agree to 6 decimals. A comparison that does not
    end is not judged.

    Raises:
        DataError: the expected answer is another text, in which the expression could only be guessed, or holds none.
    """
    gold = ungrouped(_final(item.answer).strip())
    field = "reference.answer" if "answer" in item.reference else "response"
    if "\\boxed" not in gold and ("\n" in gold or len(_WORD.findall(gold)) > MOST_WORDS):
        raise item.wrong(
            field,
            f"{excerpt(gold)!r} is a text, in which the expected expression can only be guessed; give the expression "
            r"alone as reference.answer, put it into \boxed{}, or after ####",
        )
    given = ungrouped(_final(output)[-LAST:])
    if not _DELIMITER.search(given) and (_bare(given) == _bare(gold) or _is_expression(_bare(given))):
        given = f"\\boxed{{{_bare(given)}}}"
    if not _DELIMITER.search(gold):
        gold = f"\\boxed{{{_bare(gold)}}}"
    try:
        equal, given = subprocess_call.call(_EQUALITY, "compare", gold, given, seconds=SECONDS)
    except subprocess_call.Exhausted as limit:
        return Score(None, f"not decided: the comparison {limit}")
    if equal is None:
        raise item.wrong(field, f"math-verify finds no mathematical expression in {excerpt(gold)!r}")
    if equal:
        return Score(True)
    if not given:
        return Score(False, "no mathematical expression in the answer", readable=False)
    return Score(False, f"expected {excerpt(_final(item.answer))!r}, got {excerpt(given)!r}")


def _final(text: str) -> str:
    _, marker, after = text.rpartition("####")
    return after.strip().partition("\n")[0] if marker else text


def _bare(text: str) -> str:
    """`text` without Markdown's emphasis and the end of a sentence."""
    return text.lstrip("*` \t\n").rstrip("*`.,;:? \t\n")


def _is_expression(text: str) -> bool:
    """Whether `text`, which has no delimiter, is an expression and nothing else.

    Of anything else math-verify finds the number by itself: a plain number, a sentence, an item of a list, arithmetic that
    is worked out (16-3-4=9, 9*2=18).
    """
    if not text or len(text) > LONGEST or "\n" in text or _QUANTITY.fullmatch(text) or _MARK.match(text):
        return False
    if "=" in text and not any(map(str.isalpha, text)):
        return False
    # Beside an operator letters are symbols: 2 * pi, ab + bc.
    words = _OPERATOR.sub(r"\1", _BRACES.sub("{}", text)).split()
    return not any(_WORD_ALONE.fullmatch(word.strip('()[]*.,:;!?"“”')) or word.endswith(":") for word in words)

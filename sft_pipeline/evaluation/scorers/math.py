"""The answer's mathematical expression equals the expected one, by math-verify."""

import re
from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation import limited
from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import excerpt

OPTIONS: set[str] = set()
VERIFIER = True

SECONDS = 3.0
"""Processor time that one comparison may take: the simplification of a formula may not end."""

_EQUALITY = "sft_pipeline.evaluation.math_equality"  # by name: only the process with the limit loads sympy

MOST_WORDS = 3
"""Words that an expected answer may have around its expression, such as a unit."""

_WORD = re.compile(r"(?<!\\)\b[^\W\d_]{2,}")  # without LaTeX commands

LAST = 10_000
"""Characters at the end of an answer that are read: the final answer stands there, and the search for it is slow."""


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    r"""Compare what math-verify extracts: boxed expressions first, then "final answer is", LaTeX, and the last number.

    After a last #### only the rest of its line counts, as in GSM8K. The expected answer is the expression itself, with or
    without $ or \boxed around it, or a text that ends in #### or holds a \boxed one. Numbers are equal when they agree to
    6 decimals. A comparison that does not end is success None.

    Raises:
        DataError: the expected answer is another text, in which the expression could only be guessed, or holds none.
    """
    gold = _final(item.answer).strip()
    field = "reference.answer" if "answer" in item.reference else "response"
    if "\\boxed" not in gold:
        if "\n" in gold or len(_WORD.findall(gold)) > MOST_WORDS:
            raise item.wrong(
                field,
                f"{excerpt(gold)!r} is a text, in which the expected expression can only be guessed; give the expression "
                r"alone as reference.answer, put it into \boxed{}, or after ####",
            )
        if not any(mark in gold for mark in ("$", "\\(", "\\[")):
            gold = f"\\boxed{{{gold}}}"
    try:
        equal, given = limited.call(_EQUALITY, "compare", gold, _final(output)[-LAST:], seconds=SECONDS)
    except limited.Exhausted as limit:
        return Score(None, f"not decided: the comparison {limit}")
    if equal is None:
        raise item.wrong(field, f"math-verify finds no mathematical expression in {excerpt(gold)!r}")
    if equal:
        return Score(True)
    if not given:
        return Score(False, "no mathematical expression in the answer")
    return Score(False, f"expected {excerpt(_final(item.answer))!r}, got {excerpt(given)!r}")


def _final(text: str) -> str:
    _, marker, after = text.rpartition("####")
    return after.strip().partition("\n")[0] if marker else text

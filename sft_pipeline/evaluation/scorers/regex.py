"""The answer matches a regular expression."""

import re
from collections.abc import Mapping
from typing import Any

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import excerpt
from sft_pipeline.provenance import subprocess_call

OPTIONS = {
    "pattern": "Regular expression in Python's syntax, for all items of the type.",
    "match": "full (the default): the whole answer without the white space around it; search: a part of it.",
}
REFERENCE = {
    "pattern": "The expression of this item; it comes before the option.",
}
VERIFIER = True

SECONDS = 1.0
"""Processor time that one match may take; a pattern that backtracks needs more for hardly any answer."""


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Match reference["pattern"] or the option `pattern`, in Python's syntax, with the answer.

    The option `match` is `full` (the default: the whole answer without the white space around it) or `search` (somewhere
    in it). An answer whose match does not end is not judged: that is the pattern's fault.

    Raises:
        DataError: there is no pattern, or it is not a regular expression.
        SpecificationError: the option `match` is neither of the two.
    """
    pattern = item.setting("pattern", options)
    if not isinstance(pattern, str) or not pattern:
        raise item.wrong_setting("pattern", "must be a regular expression, as text")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise item.wrong_setting("pattern", f"{excerpt(pattern)!r} is not a regular expression: {error}") from error
    how = options.get("match", "full")
    if how not in ("full", "search"):
        raise SpecificationError(f"evaluation.scorers: option match of the scorer regex is full or search, not {how!r}")
    try:
        found = subprocess_call.call(__name__, "matches", pattern, output.strip(), how, seconds=SECONDS)
    except subprocess_call.Exhausted as limit:
        return Score(None, f"not decided: the pattern {excerpt(pattern)!r} {limit}")
    return Score(True) if found else Score(False, f"does not match {excerpt(pattern)!r}")


def matches(pattern: str, text: str, how: str) -> bool:
    """Whether `pattern` matches all of `text`, or with `how` = search some of it."""
    return (re.fullmatch if how == "full" else re.search)(pattern, text) is not None

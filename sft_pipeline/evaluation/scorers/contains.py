"""The expected answer stands somewhere in the output."""

from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import bare, excerpt, folded, has_words

OPTIONS: set[str] = set()
VERIFIER = True


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Look for the expected answer as whole words, without regard to case."""
    expected = bare(item.answer)
    if has_words(folded(output), expected):
        return Score(True)
    return Score(False, f"{excerpt(expected)!r} does not stand in the answer")

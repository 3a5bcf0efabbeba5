"""The whole answer equals the expected one."""

from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import bare, excerpt

OPTIONS: dict[str, str] = {}
REFERENCE = {
    "answer": "The expected answer; without it, the row's response.",
}
VERIFIER = True


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Compare after NFKC and without case, runs of white space and surrounding punctuation."""
    expected, given = bare(item.answer), bare(output)
    if given == expected:
        return Score(True)
    return Score(False, f"expected {excerpt(expected)!r}, got {excerpt(given)!r}" if given else "empty answer")

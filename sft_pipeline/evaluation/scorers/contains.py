"""The expected answer occurs somewhere in the output."""

from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import bare, excerpt, holds

OPTIONS: dict[str, str] = {}
REFERENCE = {
    "answer": "The expected answer; without it, the row's response.",
}
VERIFIER = True


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Look for the expected answer as whole words, without regard to case; a single capital counts only as one."""
    if holds(output, item.answer):
        return Score(True)
    return Score(False, f"{excerpt(bare(item.answer))!r} does not occur in the answer")

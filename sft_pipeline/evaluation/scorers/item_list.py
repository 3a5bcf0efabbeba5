"""The answer is a list of exactly n different items."""

import re
from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import bare, excerpt

OPTIONS: dict[str, str] = {}
REFERENCE = {
    "count": "How many items the list must have.",
    "allowed": "Texts that may be items; without it, any.",
}
VERIFIER = True

_BULLET = re.compile(r"\s*(?:[-*•–]|\d{1,3}[.)])\s+")


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Count the items, on bullet lines or between commas, and look each up in reference["allowed"].

    Raises:
        DataError: reference["count"] is no positive integer, or reference["allowed"] is no list of texts.
    """
    count, allowed = item.reference.get("count"), item.reference.get("allowed")
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise item.wrong("reference.count", "must be a positive integer")
    if allowed is not None and not (isinstance(allowed, list) and all(isinstance(word, str) for word in allowed)):
        raise item.wrong("reference.allowed", "must be a list of texts")
    known = None if allowed is None else {bare(word) for word in allowed}

    lines = [line for line in output.splitlines() if line.strip()]
    bullets = [bool(_BULLET.match(line)) for line in lines]
    if any(bullets):
        if not all(bullets):
            return Score(False, "text beside the bullet list")
        parts = [_BULLET.sub("", line, count=1) for line in lines]
    else:
        parts = [part for line in lines for part in line.split(",")]
        if parts:  # "a, b and c", "a, b, and c"
            last = parts.pop()
            parts += [last] if known and bare(last) in known else re.split(r"(?:^|\s)and\s++", last)
    items = [bare(part) for part in parts if part.strip()]
    if not items:
        return Score(False, f"0 items instead of {count}", readable=False)
    if len(items) != count:
        return Score(False, f"{len(items)} items instead of {count}")
    if twice := sorted({entry for entry in items if items.count(entry) > 1}):
        return Score(False, f"more than once: {excerpt(', '.join(twice))}")
    if known is not None and (foreign := [entry for entry in items if entry not in known]):
        return Score(False, f"not allowed here: {excerpt(', '.join(foreign))}")
    return Score(True)

"""Lengths in tokens of the experiment's own tokenizer: rows outside the bounds, and responses cut by a token limit.

A row without token counts (there is no tokenizer) is not judged.
"""

import re
from collections.abc import Sequence

from sft_pipeline.dataset.filters.base import Hit, Judge, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.experiment import Quality


def token_bounds(quality: Quality) -> Judge:
    """A filter that drops instructions and responses shorter or longer than the specification allows."""
    bounds = {"instruction": quality.instruction_tokens, "response": quality.response_tokens}

    def judge(row: Row) -> Hit | None:
        for field, bound in bounds.items():
            tokens = row[f"{field}_tokens"]
            if tokens is None:
                continue
            if tokens < bound.least:
                return Hit(f"the {field} has {tokens} tokens, fewer than {bound.least}", row[field])
            if bound.most is not None and tokens > bound.most:
                return Hit(f"the {field} has {tokens} tokens, more than {bound.most}", row[field])
        return None

    return lambda rows: [judge(row) for row in rows]


def token_limit(limit: int) -> Judge:
    """A filter that drops responses that were generated under `limit` tokens and cut by it: those of as many tokens."""

    def judged(rows: Sequence[Row]) -> list[Hit | None]:
        return [
            Hit(f"the response has {tokens} tokens: it was cut by the limit of {limit}", row["response"][-100:])
            if (tokens := row["response_tokens"]) is not None and tokens >= limit
            else None
            for row in rows
        ]

    return judged


def scope(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A row of a type that is not asked for, or one that a declared pattern takes out of scope."""
    if quality.scope_types and row["type"] not in quality.scope_types:
        return Hit(f"out of scope: the type is {row['type']!r}", row["type"])
    for name, pattern in quality.scope.items():
        if found := re.search(pattern, f"{row['instruction']}\n{row['response']}"):
            return Hit(f"out of scope: {name}", found[0])
    return None

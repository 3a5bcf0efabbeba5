"""Filters on what a specification declares or a row records: scope, lengths in tokens, verdicts of critics.

Lengths are counted by the experiment's own tokenizer; a row without token counts (no tokenizer) passes.
"""

import json
import re
from collections.abc import Sequence
from typing import Literal

from sft_pipeline.dataset.filters.base import Filter, Hit, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Quality


def token_bounds(quality: Quality) -> Filter:
    """A filter that rejects instructions and responses shorter or longer than the specification allows."""
    bounds = {"instruction": quality.instruction_tokens, "response": quality.response_tokens}

    def check(row: Row) -> Hit | None:
        for field, bound in bounds.items():
            tokens = row[f"{field}_tokens"]
            if tokens is None:
                continue
            if tokens < bound.least:
                return Hit(f"the {field} has {tokens} tokens, fewer than {bound.least}", row[field])
            if bound.most is not None and tokens > bound.most:
                return Hit(f"the {field} has {tokens} tokens, more than {bound.most}", row[field])
        return None

    return lambda rows: [check(row) for row in rows]


def token_limit(limit: int) -> Filter:
    """A filter that rejects responses that were generated under `limit` tokens and cut by it: those of as many tokens."""

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


def critics(accept: Literal["accepted", "confident"]) -> Filter:
    """A filter that rejects rows that a critic rejects, or (confident) does not accept with confidence.

    Raises:
        DataError: while judging, where a verdict lacks `is_good`, or `confident` where that decides.
    """

    def check(row: Row) -> Hit | None:
        if not row["critics"]:
            return None
        for critic, verdict in json.loads(row["critics"]).items():
            if not _flag(verdict, "is_good", critic, row):
                reason = f"the {critic} critic rejects it"
            elif accept == "confident" and not _flag(verdict, "confident", critic, row):
                reason = f"the {critic} critic accepts it without confidence"
            else:
                continue
            label, margin = verdict.get("predicted_label"), verdict.get("margin")
            judged = row["instruction"] if critic == "instruction" else f"{row['instruction']}\n{row['response']}"
            return Hit(f"{reason} (label {label}, margin {margin})", judged)
        return None

    return lambda rows: [check(row) for row in rows]


def _flag(verdict: object, name: str, critic: str, row: Row) -> bool:
    value = verdict.get(name) if isinstance(verdict, dict) else None
    if not isinstance(value, bool):
        raise DataError(
            f"{row['source_file']}, row {row['source_row']}: the verdict of the {critic} critic has {name} = {value!r} "
            "where true or false is needed; correct it, or set data.quality.critics to ignored."
        )
    return value

"""Empty answers: that of the fine-tuned model is no success, and a base that gives many may not have been asked."""

from collections.abc import Sequence
from dataclasses import replace

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.criteria.significance import hangs_on
from sft_pipeline.evaluation.criteria.wording import lift, percent
from sft_pipeline.evaluation.pair import Pair, group
from sft_pipeline.experiment import Gate

MANY = 0.5
"""Share of empty answers of the base above which they are pointed out."""


def empty(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """Both reasons about empty answers."""
    return [*_wins(pairs, overall, gate), *_base(pairs)]


def _wins(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """Wins of an answer without a character but white space; refused where the lift hangs on them, whoever judged.

    No item can ask for such an answer: an expected one that is empty is not taken (scorers/item.py).
    """
    silent = [p for p in pairs if p.won and not p.sft_length]
    if not silent:
        return []
    rest = group("empty wins as failures", [replace(p, sft=False) if p.won and not p.sft_length else p for p in pairs])
    hangs = hangs_on(overall, rest, gate)
    return [
        Reason(
            criterion="empty answers",
            outcome="refused" if hangs else "info",
            detail=f"in {len(silent)} of {overall.won} won pairs the fine-tuned model's answer is empty; with these as failures "
            f"the lift is {lift(rest)}"
            + (
                ": it is one of saying nothing. Judge empty answers as failures, or correct what left them out"
                if hangs
                else ""
            ),
        )
    ]


def _base(pairs: Sequence[Pair]) -> list[Reason]:
    """Small bases honestly say nothing, and so does a server that failed: a reader has to look."""
    silent = sum(not p.base_length for p in pairs)
    if silent <= MANY * len(pairs):
        return []
    return [
        Reason(
            criterion="empty answers of the base",
            outcome="info",
            detail=f"{percent(silent / len(pairs))} of the base's answers are empty ({silent} of {len(pairs)}); make sure that the "
            "base was asked as it should be",
        )
    ]

"""Degenerate repetition: a model that goes round in circles."""

from collections.abc import Sequence

from sft_pipeline.artifacts import Reason
from sft_pipeline.evaluation.criteria.wording import percent
from sft_pipeline.evaluation.pair import Pair
from sft_pipeline.experiment import Gate

HALF = 0.5
"""Share of repeated 4-grams above which a text counts as degenerate."""


def repetitive(text: str) -> bool:
    """Whether repeated 4-grams make up over half of the text: 1 - distinct / all 4-grams of words between white space."""
    words = text.split()
    grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return bool(grams) and 1 - len(set(grams)) / len(grams) > HALF


def repetition(pairs: Sequence[Pair], gate: Gate) -> Reason:
    """Refused where the fine-tuned model's answers are often degenerate: whatever such answers score is no quality.

    A base often is; that is what it is, and the reason says how often.
    """
    n = len(pairs)
    base, sft = (sum(getattr(p, f"{m}_repetitive") for p in pairs) for m in ("base", "sft"))
    broken = n and sft / n > gate.max_repetitive_share
    return Reason(
        criterion="repetition",
        outcome="refused" if broken else "pass",
        detail=f"repeated 4-grams make up over half of the text in {base} of {n} answers of the base and in {sft} of the "
        f"fine-tuned model; at most {percent(gate.max_repetitive_share)} of the latter are accepted"
        + (
            ": it goes round in circles. Train on complete answers that end, or decode with stop strings"
            if broken
            else ""
        ),
    )

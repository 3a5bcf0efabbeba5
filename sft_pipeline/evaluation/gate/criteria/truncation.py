"""Answers cut at the limit of new tokens."""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.gate.criteria.formatting import lift, percent
from sft_pipeline.evaluation.gate.criteria.significance import significant
from sft_pipeline.evaluation.gate.pairs import Pair, group
from sft_pipeline.experiment import Gate

SPECIFICATION = "raise generation.max_new_tokens, give generation.stop"
"""What to do where the answers are made by a specification."""


def truncation(base: float | None, sft: float | None, gate: Gate, remedy: str = SPECIFICATION) -> Reason:
    """Few answers may be cut, with a limit for each model: `base` and `sft` are the shares, None where they are not known."""
    cut = [
        f"{percent(share)} of the answers of the {name} were cut at the token limit, at most {percent(limit)} are accepted: "
        f"{remedy}, or accept more with evaluation.gate.{field}"
        for name, share, limit, field in (
            ("base", base, gate.max_base_truncated_share, "max_base_truncated_share"),
            ("fine-tuned model", sft, gate.max_truncated_share, "max_truncated_share"),
        )
        if share is not None and share > limit
    ]
    shares = ["not known" if share is None else percent(share) for share in (base, sft)]
    fine = f"{shares[0]} (base) and {shares[1]} (fine-tuned) of the answers were cut at the token limit"
    return Reason(criterion="truncation", outcome="refused" if cut else "pass", detail="; ".join(cut) or fine)


def uncut(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """The lift where no answer was stopped by the limit, where some were.

    Refused where it is none and that over all cannot be there: then the limit may be all that makes the base fail, however
    small the share of cut answers is. An answer that goes round in circles is not stopped by it, for it has no end.
    """
    if not any(p.base_cut or p.sft_cut for p in pairs):
        return []
    whole = group("not stopped", [p for p in pairs if not _stopped(p)])
    if not whole.n:
        return [Reason(criterion="uncut answers", outcome="info", detail="in every pair an answer was cut")]
    detail = f"where neither answer was cut, or only one that goes round in circles, the lift is {lift(whole)}"
    hangs = significant(overall, gate) and whole.lift <= 0 and whole.lift_interval[1] < overall.lift
    if hangs:
        detail += (
            ": the lift is where answers were cut, and may be one of the limit. Let both models answer with a higher limit of "
            "new tokens, or with stop strings"
        )
    return [Reason(criterion="uncut answers", outcome="refused" if hangs else "info", detail=detail)]


def _stopped(pair: Pair) -> bool:
    """Whether one of both answers was cut that would have come to an end."""
    return bool(pair.base_cut and not pair.base_repetitive or pair.sft_cut and not pair.sft_repetitive)

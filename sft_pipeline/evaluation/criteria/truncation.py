"""Answers cut at the limit of new tokens."""

from collections.abc import Sequence

from sft_pipeline.artifacts import Reason
from sft_pipeline.evaluation.criteria.wording import lift, percent
from sft_pipeline.evaluation.pair import Pair, group
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


def uncut(pairs: Sequence[Pair]) -> list[Reason]:
    """The lift where neither answer was cut, where some were."""
    if not any(p.base_cut or p.sft_cut for p in pairs):
        return []
    whole = group("neither answer cut", [p for p in pairs if not (p.base_cut or p.sft_cut)])
    detail = f"where neither answer was cut the lift is {lift(whole)}" if whole.n else "in every pair an answer was cut"
    return [Reason(criterion="uncut answers", outcome="info", detail=detail)]

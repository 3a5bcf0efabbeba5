"""Answers that name several of the possible ones: nobody but a reader knows which of them was meant."""

from collections.abc import Sequence
from dataclasses import replace

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.criteria.significance import hangs_on
from sft_pipeline.evaluation.criteria.wording import lift
from sft_pipeline.evaluation.pair import Pair, group
from sft_pipeline.experiment import Gate


def unclear(pairs: Sequence[Pair], overall: GroupResult, gate: Gate, trusted: bool) -> list[Reason]:
    """The lift when answers that name several choices are held against the fine-tuned model.

    `choice` fails such an answer of a base that reasons about the choices, `contains` accepts such a one of an adapter that
    does: either makes a lift of nothing. Refused where the lift hangs on them, unless human labels agree (`trusted`).
    """
    several = {m: sum(getattr(p, f"{m}_unclear") for p in pairs) for m in ("base", "sft")}
    if not sum(several.values()):
        return []
    rest = group(
        "with answers that name several held against the fine-tuned model",
        [replace(p, base=p.base or p.base_unclear, sft=p.sft and not p.sft_unclear) for p in pairs],
    )
    hangs = hangs_on(overall, rest, gate) and not trusted
    detail = (
        f"{several['base']} answers of the base and {several['sft']} of the fine-tuned model name the right choice and "
        "others, so that their scorer cannot tell which one they mean; with all of them held against the fine-tuned model "
        f"the lift is {lift(rest)}"
    )
    if hangs:
        detail += (
            ": it is one of naming. Let both models say which one they mean (“The answer is B”) and judge by the scorer "
            "choice, or have a sample labelled"
        )
    return [Reason(criterion="several choices", outcome="refused" if hangs else "info", detail=detail)]

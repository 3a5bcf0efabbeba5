"""The same answer deserves the same judgement: what differs there is the judge, not the model."""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.criteria.significance import hangs_on
from sft_pipeline.evaluation.criteria.wording import lift
from sft_pipeline.evaluation.pair import Pair, group
from sft_pipeline.experiment import Gate


def consistency(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """Pairs in which both models gave the same text and only one of them succeeds; refused where the lift hangs on them."""
    odd = [p for p in pairs if p.same_text and p.base != p.sft]
    if not odd:
        return []
    rest = group("others", [p for p in pairs if not (p.same_text and p.base != p.sft)])
    hangs = hangs_on(overall, rest, gate)
    return [
        Reason(
            criterion="same answer, same judgement",
            outcome="refused" if hangs else "info",
            detail=f"in {len(odd)} pairs both models gave the same text and were judged differently; without them the lift is "
            f"{lift(rest)}" + (": the lift is one of the judge. Judge both files in the same way" if hangs else ""),
        )
    ]

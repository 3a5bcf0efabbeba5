"""Pairs without a judgement on both sides, and whether the verdict hangs on them."""

from collections.abc import Sequence
from dataclasses import replace

from sft_pipeline.artifacts import GroupResult, Reason, Sensitivity
from sft_pipeline.evaluation.gate.criteria.formatting import lift, percent, signed
from sft_pipeline.evaluation.gate.criteria.significance import clusters, depends_on, min_lift, significance
from sft_pipeline.evaluation.gate.pairs import Pair, group
from sft_pipeline.evaluation.statistics.clusters import clustered
from sft_pipeline.evaluation.statistics.paired import deciding_p
from sft_pipeline.experiment import Gate


def missing(pairs: Sequence[Pair], overall: GroupResult, treatments: Sequence[Sensitivity], gate: Gate) -> list[Reason]:
    """Few enough, and a lift that stands even if all of them were judged against the fine-tuned model.

    Args:
        pairs: all pairs, missing ones included.
        overall: statistics of the judged pairs.
        treatments: the result under other treatments (sensitivity.py).
        gate: the criteria.
    """
    left_out = sum(p.missing for p in pairs)
    reasons = []
    if left_out:
        share = left_out / len(pairs)
        sides = {m: sum(getattr(p, m) is None for p in pairs) for m in ("base", "sft")}
        detail = (
            f"{left_out} of {len(pairs)} pairs ({percent(share)}) are left out: {sides['base']} answers of the base and "
            f"{sides['sft']} of the fine-tuned model could not be judged; at most {percent(gate.max_missing_share)} are accepted"
        )
        outcome = "refused" if share > gate.max_missing_share else "pass"
        lifts = [t.lift for t in treatments]
        detail += (
            f"; the lift lies between {signed(min(lifts))} and {signed(max(lifts))} points, however they are judged"
        )
        worst = clustered("worst", [replace(p, base=p.base is not False, sft=p.sft is True) for p in pairs], gate)
        if _shown(overall, gate) and not _shown(worst, gate):
            outcome = "refused"
            p = f"p = {deciding_p(worst, gate.test):.2g}"
            p += "" if worst.cluster_p is None else f", over whole clusters {worst.cluster_p:.2g},"
            detail += f", and with {p} and {signed(worst.lift)} points at worst the verdict hangs on them. Judge them"
        reasons.append(Reason(criterion="missing judgements", outcome=outcome, detail=detail))
    if tied := sum(p.tied for p in pairs):
        halves = next(t for t in treatments if t.name.startswith("ties"))
        reasons.append(
            Reason(
                criterion="ties",
                outcome="info",
                detail=f"{tied} pairs are ties and count for neither; as half won and half lost p would be {halves.p:.3g}",
            )
        )
    return reasons


def _shown(result: GroupResult, gate: Gate) -> bool:
    """Whether the lift is more than chance, over whole clusters as well, and large enough."""
    asked = [significance(result, gate), *clusters(result, gate), min_lift(result, gate)]
    return all(reason.outcome == "pass" for reason in asked)


def consistency(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """Pairs in which both models gave the same text and only one of them succeeds; refused where the lift hangs on them."""
    odd = [p for p in pairs if p.same_text and p.base != p.sft]
    if not odd:
        return []
    rest = group("others", [p for p in pairs if not (p.same_text and p.base != p.sft)])
    hangs = depends_on(overall, rest, gate)
    return [
        Reason(
            criterion="same answer, same judgement",
            outcome="refused" if hangs else "info",
            detail=f"in {len(odd)} pairs both models gave the same text and were judged differently; without them the lift is "
            f"{lift(rest)}" + (": the lift is one of the judge. Judge both files in the same way" if hangs else ""),
        )
    ]

"""Protected types: non-inferiority by the lower bound of the difference against a declared margin."""

from collections.abc import Sequence
from dataclasses import replace

from sft_pipeline.artifacts import GroupResult, ProtectedResult, Reason
from sft_pipeline.evaluation.gate.criteria.formatting import interval, signed
from sft_pipeline.evaluation.gate.pairs import Pair
from sft_pipeline.evaluation.statistics.clusters import clustered
from sft_pipeline.evaluation.statistics.power import best_lower_bound, largest_tolerable_loss
from sft_pipeline.experiment import Gate, Protected


def judge(spec: Protected, pairs: Sequence[Pair], gate: Gate) -> ProtectedResult:
    """Judge a non-inferiority guarantee by the 95 % Tango interval (low, high) of the difference over its types.

    Where items form clusters, the outer bounds of Tango's interval and the bootstrap over whole clusters count. `pairs` may
    be missing: `low` is the least of the judged pairs and of all pairs with what is missing held against the fine-tuned
    model, for otherwise a guarantee could be had by not judging.

    held
        low > -margin: a loss as large as the margin is ruled out (one-sided error 2.5 %).
    violated
        the observed loss is at least the margin, and high < 0: that there is a loss is shown, and its best estimate is
        not tolerable. This includes every interval that lies below -margin altogether. Asking for high < -margin alone
        would leave a demonstrated loss of any size "undecided" as long as there are few items.
    undecided
        everything else: the interval reaches from a tolerable to an intolerable difference. With few items that is so
        even when nothing is lost; then no adapter could have met the margin, and the specification is at fault. So it is
        where one of the types has no item: the others cannot answer for it.
    """
    chosen = [p for p in pairs if p.type in spec.types]
    judged = [p for p in chosen if not p.missing]
    result = clustered(spec.name, judged, gate)
    low, high = _bounds(result)
    if len(judged) < len(chosen):
        worst = [replace(p, base=p.base is not False, sft=p.sft is True) for p in chosen]
        low = min(low, _bounds(clustered(spec.name, worst, gate))[0])
    if result.n and low > -spec.margin and not _absent(spec.types, pairs):
        outcome = "held"
    elif result.n and result.lift <= -spec.margin and high < 0:
        outcome = "violated"
    else:
        outcome = "undecided"
    return ProtectedResult(
        name=spec.name,
        types=spec.types,
        margin=spec.margin,
        result=result,
        verdict=outcome,
        overlap_rule=result.sft_interval[1] >= result.base_interval[0],
    )


def _bounds(result: GroupResult) -> tuple[float, float]:
    bounds = [result.lift_interval, result.cluster_interval or result.lift_interval]
    return min(b[0] for b in bounds), max(b[1] for b in bounds)


def _absent(types: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """The types without any item; a misspelt name is one."""
    there = {p.type for p in pairs}
    return [type for type in types if type not in there]


def _at_zero(types: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """For each type in which the base succeeds at nothing: how many of its items were judged, and its name."""
    judged = {type: [p.base for p in pairs if p.type == type and not p.missing] for type in types}
    return [f"{len(base)} items of {type}" for type, base in judged.items() if base and not any(base)]


def reason(protected: ProtectedResult, pairs: Sequence[Pair], gate: Gate) -> Reason:
    """What the outcome of a guarantee does to the verdict."""
    result, margin = protected.result, protected.margin
    detail = (
        f"{protected.verdict}: {result.lost} lost, {result.won} won of {result.n}, difference {signed(result.lift)} points "
        f"({interval(result.lift_interval)}), margin {signed(-margin)} points"
    )
    if result.cluster_interval:
        detail += f"; over {result.clusters} clusters {interval(result.cluster_interval)}"
    left_out = sum(p.missing and p.type in protected.types for p in pairs)
    if left_out:
        detail += f"; {left_out} more could not be judged and are held against the fine-tuned model"
    if zero := _at_zero(protected.types, pairs):
        detail += (
            f"; but the base succeeds at none of its {' and '.join(zero)}: there was nothing to lose. Check that the scorer fits "
            "these answers"
        )
    if absent := _absent(protected.types, pairs):
        detail += f"; there is no item of {', '.join(absent)}: correct the name in evaluation.gate.protected, or add items of it"
    elif protected.verdict == "undecided":
        if not result.n:
            detail += f"; there is no judged item of {', '.join(protected.types)}"
        elif left_out:
            detail += ": judge them"
        elif largest_tolerable_loss(result.n, margin) < 0:
            detail += f"; even without a loss {result.n} items only show a loss below {-100 * best_lower_bound(result.n):.1f} points"
        else:
            detail += "; the interval reaches from a tolerable to an intolerable difference"
    failing = {"violated"} | ({"undecided"} if gate.undecided == "fails" else set())
    return Reason(
        criterion=f"protected: {protected.name}",
        outcome="pass" if protected.verdict == "held" else "fail" if protected.verdict in failing else "info",
        detail=detail,
    )

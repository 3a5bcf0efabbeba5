"""Protected types: non-inferiority by the lower bound of the difference against a declared margin."""

from collections.abc import Iterator

import numpy as np

from sft_pipeline.artifacts import GroupResult, ProtectedResult
from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.criterion import Finding, Outcome
from sft_pipeline.evaluation.gate.criteria.formatting import interval, signed
from sft_pipeline.evaluation.statistics.power import best_lower_bound, largest_tolerable_loss
from sft_pipeline.experiment import Protected


def judge(spec: Protected, c: Comparison) -> ProtectedResult:
    """Judge a non-inferiority guarantee by the 95 % Tango interval (low, high) of the difference over its types.

    Where items form clusters, the outer bounds of Tango's interval and the bootstrap over whole clusters count. `low` is the
    least of the judged pairs and of all pairs with what could not be judged held against the fine-tuned model, for otherwise
    a guarantee could be had by not judging.

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
    chosen = np.isin(c.types, spec.types)
    result = c.result(spec.name, chosen & c.judged, spread=True)
    low, high = _bounds(result)
    if result.n < chosen.sum():
        worst = c.result(spec.name, chosen, np.where(c.base < 0, 1, c.base), np.where(c.sft < 0, 0, c.sft), spread=True)
        low = min(low, _bounds(worst)[0])
    if result.n and low > -spec.margin and not _absent(spec, c):
        outcome = "held"
    else:
        outcome = "violated" if result.n and result.lift <= -spec.margin and high < 0 else "undecided"
    overlap = result.sft_interval[1] >= result.base_interval[0]
    return ProtectedResult(
        name=spec.name, types=spec.types, margin=spec.margin, result=result, verdict=outcome, overlap_rule=overlap
    )


def protected(c: Comparison) -> tuple[ProtectedResult, ...]:
    """Every declared guarantee, judged."""
    return c.remember("protected", lambda: tuple(judge(spec, c) for spec in c.gate.protected))


def _bounds(result: GroupResult) -> tuple[float, float]:
    bounds = [result.lift_interval, result.cluster_interval or result.lift_interval]
    return min(b[0] for b in bounds), max(b[1] for b in bounds)


def _absent(spec: Protected, c: Comparison) -> list[str]:
    """The types without any item; a misspelt name is one."""
    return [type for type in spec.types if type not in set(c.types)]


def guarantees(c: Comparison) -> Iterator[Finding]:
    """What the outcome of each guarantee does to the verdict."""
    for spec, found in zip(c.gate.protected, protected(c), strict=True):
        result, margin = found.result, found.margin
        detail = (
            f"{found.verdict}: {result.lost} lost, {result.won} won of {result.n}, difference {signed(result.lift)} points "
            f"({interval(result.lift_interval)}), margin {signed(-margin)} points"
        )
        if result.cluster_interval:
            detail += f"; over {result.clusters} clusters {interval(result.cluster_interval)}"
        left_out = int((np.isin(c.types, spec.types) & ~c.judged).sum())
        if left_out:
            detail += f"; {left_out} more could not be judged and are held against the fine-tuned model"
        masks = {type: c.judged & (c.types == type) for type in spec.types}
        if zero := [
            f"{m.sum()} items of {type}" for type, m in masks.items() if m.any() and not (c.base[m] == 1).any()
        ]:
            detail += (
                f"; but the base succeeds at none of its {' and '.join(zero)}: there was nothing to lose. Check that the scorer "
                "fits these answers"
            )
        if absent := _absent(spec, c):
            detail += f"; there is no item of {', '.join(absent)}: correct the name in evaluation.gate.protected, or add items of it"
        elif found.verdict == "undecided":
            if not result.n:
                detail += f"; there is no judged item of {', '.join(spec.types)}"
            elif left_out:
                detail += ": judge them"
            elif largest_tolerable_loss(result.n, margin) < 0:
                detail += f"; even without a loss {result.n} items only show a loss below {-100 * best_lower_bound(result.n):.1f} points"
            else:
                detail += "; the interval reaches from a tolerable to an intolerable difference"
        failing = {"violated"} | ({"undecided"} if c.gate.undecided == "fails" else set())
        outcome: Outcome = "pass" if found.verdict == "held" else "fail" if found.verdict in failing else "info"
        yield Finding(detail, outcome, name=spec.name)

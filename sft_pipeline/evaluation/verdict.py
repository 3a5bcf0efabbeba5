"""The verdict on pairs that are already judged; needs no file.

It is `refused` when the comparison itself is unsound (a precondition, comparability, headroom or the validity of the
score), else `fail` when any criterion fails, else `pass`. Every criterion leaves a `Reason`, whatever the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sft_pipeline.artifacts import GroupResult, ProtectedResult, Reason
from sft_pipeline.evaluation.power import best_lower_bound, largest_tolerable_loss
from sft_pipeline.evaluation.statistics import benjamini_hochberg, paired
from sft_pipeline.evaluation.validity import LengthCheck, Pair, length_check
from sft_pipeline.experiment import Gate, Protected


@dataclass(frozen=True)
class Decision:
    """The verdict with everything that it rests on; `length` is None where there are no pairs."""

    verdict: Literal["pass", "fail", "refused"]
    overall: GroupResult
    types: tuple[GroupResult, ...]
    protected: tuple[ProtectedResult, ...]
    reasons: tuple[Reason, ...]
    length: LengthCheck | None


def verdict(pairs: Sequence[Pair], preconditions: Sequence[Reason], gate: Gate) -> Decision:
    """Decide on judged pairs.

    Args:
        pairs: both models' outcomes on the same items.
        preconditions: what was checked beforehand (comparability, guard, training, leakage); a `refused` among them
            makes the verdict `refused`.
        gate: the criteria.
    """
    overall = _group("all", pairs)
    types = _by_type(pairs, gate)
    protected = tuple(_protected(p, pairs) for p in gate.protected)
    length = length_check(pairs) if pairs else None
    reasons = [*preconditions, _headroom(overall, gate)]
    reasons += _length_reasons(overall, length, gate) if length else []
    reasons += [_significance(overall, gate), _min_lift(overall, gate), _width(overall, gate)]
    reasons += [_protected_reason(result, gate) for result in protected]
    reasons.append(_discoveries(types, gate))
    outcomes = {reason.outcome for reason in reasons}
    final = "refused" if "refused" in outcomes else "fail" if "fail" in outcomes else "pass"
    return Decision(final, overall, types, protected, tuple(reasons), length)


def deciding_p(result: GroupResult, gate: Gate) -> float:
    """p-value of the McNemar test that the specification lets decide."""
    return {"exact": result.p_exact, "midp": result.p_midp, "corrected": result.p_corrected}[gate.test]


def _group(name: str, pairs: Sequence[Pair]) -> GroupResult:
    return paired(name, [p.base for p in pairs], [p.sft for p in pairs])


def _by_type(pairs: Sequence[Pair], gate: Gate) -> tuple[GroupResult, ...]:
    members: dict[str, list[Pair]] = {}
    for pair in pairs:
        members.setdefault(pair.type, []).append(pair)
    groups = [_group(name, members[name]) for name in sorted(members)]
    adjusted = benjamini_hochberg([deciding_p(group, gate) for group in groups])
    return tuple(g.model_copy(update={"p_adjusted": p}) for g, p in zip(groups, adjusted, strict=True))


def _headroom(overall: GroupResult, gate: Gate) -> Reason:
    """A base near the ceiling leaves nothing to measure: a lift there is refused, its absence is a plain failure."""
    rate, limit = overall.base_rate, gate.max_base_success
    detail = f"the base succeeds on {overall.base_successes} of {overall.n} items ({100 * rate:.1f} %; limit {100 * limit:.0f} %)"
    if overall.n == 0 or rate <= limit:
        return Reason(criterion="headroom", outcome="pass", detail=detail)
    if overall.lift <= 0:
        return Reason(
            criterion="headroom", outcome="fail", detail=f"{detail}, and the fine-tuned model does not do better"
        )
    return Reason(
        criterion="headroom",
        outcome="refused",
        detail=f"{detail}: there is too little room above it for a lift to mean anything. Use harder items.",
    )


def _length_reasons(overall: GroupResult, length: LengthCheck, gate: Gate) -> list[Reason]:
    similar = length.similar
    reasons = [
        Reason(
            criterion="similar lengths",
            outcome="info",
            detail=f"among the {similar.n} pairs whose answers differ in length by a factor of at most 1.5 the lift is "
            f"{_signed(similar.lift)} points ({_interval(similar.lift_interval)})"
            if similar.n
            else "no pair has answers of similar length (a factor of at most 1.5)",
        )
    ]
    rule = f"“a success has at {'most' if length.shorter else 'least'} {length.limit} characters”"
    foretold = (
        f"predicts {100 * length.recalls[0]:.1f} % of all successes and {100 * length.recalls[1]:.1f} % of all failures"
    )
    if not (length.artefact and overall.lift > 0):
        detail = f"the best rule of length, {rule}, {foretold}"
        if length.base_correlation is not None:
            detail += (
                f"; rank correlation of success with length within the base {_minus(f'{length.base_correlation:+.2f}')}"
            )
        if length.won_checkable:
            detail += (
                f"; in {length.won_with_answer} of {length.won_checkable} won pairs with a short expected answer the "
                "base's output does hold that answer, though its scorer rejects it"
            )
        return [*reasons, Reason(criterion="score and length", outcome="pass", detail=detail)]
    reasons.append(
        Reason(
            criterion="score and length",
            outcome="refused",
            detail=f"{rule} {foretold} (of the base's, {100 * length.base_recalls[0]:.1f} % and "
            f"{100 * length.base_recalls[1]:.1f} %): the scorer measures length, and the whole lift is "
            "explained by it. Judge the same answers by what they say.",
        )
    )
    if length.within is not None and length.within > gate.max_base_success:
        reasons.append(
            Reason(
                criterion="headroom at equal length",
                outcome="refused",
                detail=f"of the base's {length.within_n} answers within that limit {100 * length.within:.1f} % succeed (limit "
                f"{100 * gate.max_base_success:.0f} %): length aside, there is no headroom",
            )
        )
    return reasons


def _significance(overall: GroupResult, gate: Gate) -> Reason:
    p = deciding_p(overall, gate)
    detail = f"McNemar ({gate.test}) p = {p:.3g}, alpha = {gate.alpha:g}; {overall.won} won, {overall.lost} lost of {overall.n}"
    if overall.lift > 0 and p <= gate.alpha:
        return Reason(criterion="significance", outcome="pass", detail=detail)
    if p <= gate.alpha:
        detail += ": the fine-tuned model is significantly worse"
    elif overall.lift > 0:
        detail += ": the lift may be chance"
    else:
        detail += ": there is no lift"
    return Reason(criterion="significance", outcome="fail", detail=detail)


def _min_lift(overall: GroupResult, gate: Gate) -> Reason:
    return Reason(
        criterion="minimum lift",
        outcome="pass" if overall.n and overall.lift >= gate.min_lift else "fail",
        detail=f"lift {_signed(overall.lift)} points ({_interval(overall.lift_interval)}); at least "
        f"{100 * gate.min_lift:.1f} points are asked for",
    )


def _width(overall: GroupResult, gate: Gate) -> Reason:
    width = overall.lift_interval[1] - overall.lift_interval[0]
    return Reason(
        criterion="interval width",
        outcome="pass" if width <= gate.max_interval_width else "fail",
        detail=f"the 95 % interval of the lift is {100 * width:.1f} points wide; at most "
        f"{100 * gate.max_interval_width:.1f} are accepted",
    )


def _discoveries(types: Sequence[GroupResult], gate: Gate) -> Reason:
    found = [t for t in types if t.p_adjusted is not None and t.p_adjusted <= gate.false_discovery_rate]
    better = [t.name for t in found if t.lift > 0]
    worse = [t.name for t in found if t.lift < 0]
    return Reason(
        criterion="types",
        outcome="info",
        detail=f"at a false discovery rate of {100 * gate.false_discovery_rate:.0f} % (Benjamini–Hochberg over {len(types)} types) "
        f"better: {', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}",
    )


# ----------------------------------------------------------------------------------------------------------- protected


def _protected(spec: Protected, pairs: Sequence[Pair]) -> ProtectedResult:
    """Judge a non-inferiority guarantee by the 95 % Tango interval (low, high) of the difference over its types.

    held
        low > -margin: a loss as large as the margin is ruled out (one-sided error 2.5 %).
    violated
        the observed loss is at least the margin, and high < 0: that there is a loss is shown, and its best estimate is
        not tolerable. This includes every interval that lies below -margin altogether. Asking for high < -margin alone
        would leave a demonstrated loss of any size "undecided" as long as there are few items.
    undecided
        everything else: the interval reaches from a tolerable to an intolerable difference. With few items that is so
        even when nothing is lost; then no adapter could have met the margin, and the specification is at fault.
    """
    result = _group(spec.name, [p for p in pairs if p.type in spec.types])
    low, high = result.lift_interval
    if result.n and low > -spec.margin:
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


def _protected_reason(protected: ProtectedResult, gate: Gate) -> Reason:
    result, margin = protected.result, protected.margin
    detail = (
        f"{protected.verdict}: {result.lost} lost, {result.won} won of {result.n}, difference {_signed(result.lift)} points "
        f"({_interval(result.lift_interval)}), margin {_signed(-margin)} points"
    )
    if protected.verdict == "undecided":
        if largest_tolerable_loss(result.n, margin) < 0:
            detail += f"; even without a loss {result.n} items only show a loss below {-100 * best_lower_bound(result.n):.1f} points"
        else:
            detail += "; the interval reaches from a tolerable to an intolerable difference"
    failing = {"violated"} | ({"undecided"} if gate.undecided == "fails" else set())
    return Reason(
        criterion=f"protected: {protected.name}",
        outcome="pass" if protected.verdict == "held" else "fail" if protected.verdict in failing else "info",
        detail=detail,
    )


def _interval(bounds: tuple[float, float]) -> str:
    return f"95 % interval {_signed(bounds[0])} to {_signed(bounds[1])}"


def _signed(difference: float) -> str:
    return _minus(f"{100 * difference:+.1f}")


def _minus(number: str) -> str:
    return number.replace("-", "−")

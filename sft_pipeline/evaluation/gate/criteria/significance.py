"""Is the lift more than chance, large enough and known well enough?"""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.gate.criteria.formatting import interval, percent, signed
from sft_pipeline.evaluation.statistics.clusters import SMALLEST
from sft_pipeline.evaluation.statistics.paired import deciding_p, from_counts
from sft_pipeline.experiment import Gate


def significant(overall: GroupResult, gate: Gate) -> bool:
    """Whether the deciding test finds the fine-tuned model better."""
    return overall.lift > 0 and deciding_p(overall, gate.test) <= gate.alpha


def depends_on(overall: GroupResult, rest: GroupResult, gate: Gate) -> bool:
    """Whether the lift is significant only with what `rest` leaves out or counts otherwise."""
    return significant(overall, gate) and not significant(rest, gate)


def significance(overall: GroupResult, gate: Gate) -> Reason:
    """The deciding test with the right sign."""
    p = deciding_p(overall, gate.test)
    detail = f"McNemar ({gate.test}) p = {p:.3g}, alpha = {gate.alpha:g}; {overall.won} won, {overall.lost} lost of {overall.n}"
    if significant(overall, gate):
        return Reason(criterion="significance", outcome="pass", detail=detail)
    discordant = overall.won + overall.lost
    if p <= gate.alpha:
        detail += ": the fine-tuned model is significantly worse"
    elif overall.lift > 0:
        detail += ": the lift may be chance"
        if deciding_p(from_counts("", 0, 0, discordant, 0), gate.test) > gate.alpha:
            detail += f", and no outcome of {discordant} discordant pairs could show more"
    else:
        detail += ": there is no lift"
    return Reason(criterion="significance", outcome="fail", detail=detail)


def min_lift(overall: GroupResult, gate: Gate) -> Reason:
    """The smallest lift that is worth having."""
    return Reason(
        criterion="minimum lift",
        outcome="pass" if overall.n and overall.lift >= gate.min_lift else "fail",
        detail=f"lift {signed(overall.lift)} points ({interval(overall.lift_interval)}); at least "
        f"{100 * gate.min_lift:.1f} points are asked for",
    )


def width(overall: GroupResult, gate: Gate) -> Reason:
    """How well the lift is known."""
    wide = overall.lift_interval[1] - overall.lift_interval[0]
    return Reason(
        criterion="interval width",
        outcome="pass" if wide <= gate.max_interval_width else "fail",
        detail=f"the 95 % interval of the lift is {100 * wide:.1f} points wide; at most "
        f"{100 * gate.max_interval_width:.1f} are accepted",
    )


def clusters(overall: GroupResult, gate: Gate) -> list[Reason]:
    """Where items belong together, the lift must stand when whole clusters are exchanged.

    McNemar's test takes ten questions about one text as ten observations; its p is too small then.
    """
    if overall.cluster_p is None:
        return []
    holds = overall.lift > 0 and overall.cluster_p <= gate.alpha
    return [
        Reason(
            criterion="clusters",
            outcome="pass" if holds else "fail",
            detail=f"the {overall.n} items form {overall.clusters} clusters; with the models exchanged in whole clusters "
            f"p {'=' if overall.cluster_p > SMALLEST else '≤'} {overall.cluster_p:.3g}, alpha = {gate.alpha:g}; bootstrap over whole clusters: "
            f"{interval(overall.cluster_interval)}"
            + ("" if holds else ": with clusters instead of items counted, the lift may be chance"),
        )
    ]


def power(overall: GroupResult, gate: Gate) -> list[Reason]:
    """What these items could have found."""
    if overall.power is None:
        return []
    smallest = (
        "no lift" if overall.detectable is None else f"a true lift of {100 * overall.detectable:.1f} points or more"
    )
    return [
        Reason(
            criterion="power achieved",
            outcome="info",
            detail=f"with {overall.n} items and {overall.won + overall.lost} discordant pairs the planned lift of "
            f"{100 * gate.planned_lift:.1f} points is found with probability {overall.power:.2f}; {smallest} is found with "
            f"probability {gate.min_power:g}",
        )
    ]


def discoveries(types: Sequence[GroupResult], gate: Gate) -> Reason:
    """Which types changed, at the declared false discovery rate."""
    found = [t for t in types if t.p_adjusted is not None and t.p_adjusted <= gate.false_discovery_rate]
    better = [t.name for t in found if t.lift > 0]
    worse = [t.name for t in found if t.lift < 0]
    return Reason(
        criterion="types",
        outcome="info",
        detail=f"at a false discovery rate of {100 * gate.false_discovery_rate:.0f} % (Benjamini–Hochberg over {len(types)} types) "
        f"better: {', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}",
    )


def headroom(overall: GroupResult, gate: Gate) -> Reason:
    """Above the limit a lift is refused, for it proves nothing; its absence is a plain failure."""
    detail = (
        f"the base succeeds on {overall.base_successes} of {overall.n} items ({percent(overall.base_rate)}; limit "
        f"{percent(gate.max_base_success)})"
    )
    if overall.n == 0 or overall.base_rate <= gate.max_base_success:
        return Reason(criterion="headroom", outcome="pass", detail=detail)
    if overall.lift <= 0:
        detail += ", and the fine-tuned model does not do better"
        return Reason(criterion="headroom", outcome="fail", detail=detail)
    detail += ": there is too little room above it for a lift to mean anything. Use harder items."
    return Reason(criterion="headroom", outcome="refused", detail=detail)

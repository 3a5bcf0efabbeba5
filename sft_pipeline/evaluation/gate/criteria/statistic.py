"""Is the lift more than chance, large enough and known well enough, and does no type pay for it?"""

from collections.abc import Iterator

from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.criterion import Finding
from sft_pipeline.evaluation.gate.criteria.formatting import interval, percent, signed
from sft_pipeline.evaluation.statistics.clusters import SMALLEST
from sft_pipeline.evaluation.statistics.paired import deciding_p, from_counts, holm, tango


def significance(c: Comparison) -> Iterator[Finding]:
    """The deciding test with the right sign."""
    overall, gate = c.overall, c.gate
    p = deciding_p(overall, gate.test)
    detail = f"McNemar ({gate.test}) p = {p:.3g}, alpha = {gate.alpha:g}; {overall.won} won, {overall.lost} lost of {overall.n}"
    discordant = overall.won + overall.lost
    if overall.lift > 0 and p <= gate.alpha:
        yield Finding(detail, "pass")
    elif p <= gate.alpha:
        yield Finding(f"{detail}: the fine-tuned model is significantly worse", "fail")
    elif overall.lift <= 0:
        yield Finding(f"{detail}: there is no lift", "fail")
    else:
        few = deciding_p(from_counts("", 0, 0, discordant, 0), gate.test) > gate.alpha
        more = f", and no outcome of {discordant} discordant pairs could show more" if few else ""
        yield Finding(f"{detail}: the lift may be chance{more}", "fail")


def clusters(c: Comparison) -> Iterator[Finding]:
    """McNemar's test takes ten questions about one text as ten observations; here whole clusters are exchanged."""
    overall, p = c.overall, c.overall.cluster_p
    if p is None:
        return
    holds = overall.lift > 0 and p <= c.gate.alpha
    assert overall.cluster_interval is not None  # there are clusters
    yield Finding(
        f"the {overall.n} items form {overall.clusters} clusters; with the models exchanged in whole clusters p "
        f"{'=' if p > SMALLEST else '≤'} {p:.3g}, alpha = {c.gate.alpha:g}; bootstrap over whole clusters: "
        f"{interval(overall.cluster_interval)}"
        + ("" if holds else ": with clusters instead of items counted, the lift may be chance"),
        "pass" if holds else "fail",
    )


def flips(c: Comparison) -> Iterator[Finding]:
    """A repeated run of one model differs on a share of the items: a lift must exceed what such flips can make.

    The hypothesis is that the true lift is at most that share, as if every flip went one way; it is rejected where Tango's
    lower bound at the level 1 - alpha lies above it. Without flips that is the test of no lift.
    """
    if not c.flip_rate or c.overall.lift <= 0:
        return
    low = tango(c.overall.lost, c.overall.won, c.overall.n, 1 - c.gate.alpha)[0]
    holds = low > c.flip_rate
    yield Finding(
        f"a repeated run of the same model differs on {percent(c.flip_rate)} of the items; the lift lies above "
        f"{signed(low)} points at level {1 - c.gate.alpha:g}"
        + ("" if holds else ": a lift of that size can be made by such flips alone"),
        "pass" if holds else "fail",
    )


def min_lift(c: Comparison) -> Iterator[Finding]:
    """The smallest lift that is worth having."""
    overall = c.overall
    yield Finding(
        f"lift {signed(overall.lift)} points ({interval(overall.lift_interval)}); at least {100 * c.gate.min_lift:.1f} points "
        "are required",
        "pass" if overall.n and overall.lift >= c.gate.min_lift else "fail",
    )


def width(c: Comparison) -> Iterator[Finding]:
    """How well the lift is known."""
    wide = c.overall.lift_interval[1] - c.overall.lift_interval[0]
    yield Finding(
        f"the 95 % interval of the lift is {100 * wide:.1f} points wide; at most {100 * c.gate.max_interval_width:.1f} are "
        "accepted",
        "pass" if wide <= c.gate.max_interval_width else "fail",
    )


def headroom(c: Comparison) -> Iterator[Finding]:
    """Above the limit a lift is refused, for it proves nothing; its absence is a plain failure."""
    overall, limit = c.overall, c.gate.max_base_success
    detail = f"the base succeeds on {overall.base_successes} of {overall.n} items ({percent(overall.base_rate)}; limit {percent(limit)})"
    if overall.n == 0 or overall.base_rate <= limit:
        yield Finding(detail, "pass")
    elif overall.lift <= 0:
        yield Finding(f"{detail}, and the fine-tuned model does not do better", "fail")
    else:
        yield Finding(f"{detail}: there is too little room above it for a lift to mean anything", "refused")


def worse_types(c: Comparison) -> Iterator[Finding]:
    """Types that are significantly worse, by Holm over all types at alpha."""
    types = c.by_type
    if len(types) < 2:
        return
    adjusted = holm(list(map(c.p, types)))
    worse = [t for t, p in zip(types, adjusted, strict=True) if t.lift < 0 and p <= c.gate.alpha]
    if not worse:
        return
    refused = [t for t in worse if t.name not in c.gate.may_worsen]
    said = ", ".join(
        f"{t.name} ({percent(t.base_rate)} to {percent(t.sft_rate)} of {t.n}, {t.lost} lost, {t.won} won)"
        for t in worse
    )
    yield Finding(
        f"significantly worse (Holm over {len(types)} types at {c.gate.alpha:g}): {said}"
        + ("" if refused else "; the specification allows it (evaluation.gate.may_worsen)"),
        "fail" if refused else "info",
    )


def discoveries(c: Comparison) -> Iterator[Finding]:
    """Which types changed, at the declared false discovery rate."""
    found = [t for t in c.adjusted_types if t.p_adjusted is not None and t.p_adjusted <= c.gate.false_discovery_rate]
    better, worse = ([t.name for t in found if (t.lift > 0) == up] for up in (True, False))
    yield Finding(
        f"at a false discovery rate of {100 * c.gate.false_discovery_rate:.0f} % (Benjamini–Hochberg over "
        f"{len(c.by_type)} types) better: {', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}",
        "info",
    )


def power(c: Comparison) -> Iterator[Finding]:
    """What these items could have found."""
    overall = c.overall
    if overall.power is None:
        return
    smallest = (
        "no lift" if overall.detectable is None else f"a true lift of {100 * overall.detectable:.1f} points or more"
    )
    yield Finding(
        f"with {overall.n} items and {overall.won + overall.lost} discordant pairs the planned lift of "
        f"{100 * c.gate.planned_lift:.1f} points is found with probability {overall.power:.2f}; {smallest} is found with "
        f"probability {c.gate.min_power:g}",
        "info",
    )


def ties(c: Comparison) -> Iterator[Finding]:
    """Pairs in which a judge found neither better."""
    halves = next((t for t in c.sensitivity if t.treatment == "ties_halved"), None)
    if halves:
        yield Finding(
            f"{sum(c.tied)} pairs are ties and count for neither; as half won and half lost p would be {halves.p:.3g}",
            "info",
        )

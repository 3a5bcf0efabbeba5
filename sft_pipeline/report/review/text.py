"""The summary of a human review as plain text."""

from collections.abc import Iterator

from sft_pipeline.artifacts import Estimate, HumanReview, Preference
from sft_pipeline.report.excerpt import visible
from sft_pipeline.report.gate.text import points


def summary(review: HumanReview) -> str:
    """What people say, whether they agree, and whether they can be believed."""
    return visible("\n".join(_lines(review)) + "\n")


def preferred(p: Preference) -> str:
    """Which model people prefer, in one line."""
    low, high = p.net.interval
    who = "prefer the fine-tuned model" if low > 0 else "prefer the base" if high < 0 else "show no clear preference"
    return f"people {who}: net {_points(p.net)} of all pairs, sign test p = {p.p:.3g}"


def _lines(review: HumanReview) -> Iterator[str]:
    p = review.preference
    if p is None:
        yield "no ratings were returned yet"
    else:
        yield preferred(p)
        yield f"  of {p.n} pairs {p.won} are won, {p.lost} lost, {p.tied} tied (unweighted p = {p.p_unweighted:.3g})"
        if p.corrected:
            yield f"  without the raters' errors: net {_points(p.corrected)}"
    for a in review.agreement:
        if a.value is None or a.interval is None:
            value = "none, all say the same thing"
        else:
            value = f"{a.value:.2f} ({a.interval[0]:.2f} to {a.interval[1]:.2f})"
        yield f"agreement on {a.question}: {a.agreed} of {a.n}, {a.measure} {value}"
    for r in review.raters:
        yield (
            f"{r.rater} ({r.source}): {r.answered} of {r.asked} pairs; repeats alike {_share(r.self_agreement)}, catch trials "
            f"failed {_share(r.catch_failed)}, first minus second {_points(r.position)}"
            + (f", errors {_percent(r.error_rate)}" if r.error_rate else "")
            + (f", median {r.seconds:.0f} s" if r.seconds is not None else "")
        )
        for problem in r.problems:
            yield f"  ! {problem}"
    for name, reason in review.rejected.items():
        yield f"not used: {name}: {reason}"
    yield f"{review.labels} labels; {review.unsettled} answers to settle"


def _points(e: Estimate) -> str:
    low, high = e.interval
    return f"{points(e.value)} points ({points(low)} to {points(high)})"


def _percent(e: Estimate) -> str:
    return f"{100 * e.value:.0f} % ({100 * e.interval[0]:.0f} to {100 * e.interval[1]:.0f})"


def _share(e: Estimate) -> str:
    return f"{round(e.value * e.n)} of {e.n}"

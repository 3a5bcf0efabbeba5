"""The gate report as short plain text, for a terminal and for gate.txt."""

import textwrap
from typing import NamedTuple

from sft_pipeline.artifacts import ComparatorResult, GateReport, GroupResult, ModelComparison, Reason
from sft_pipeline.report.excerpt import visible

HEADLINE = {
    "pass": "PASS: the fine-tuned model is better than its base",
    "fail": "FAIL: the fine-tuned model has not been shown to be better than its base",
    "refused": "REFUSED: the comparison is unsound, no verdict on the model",
}
"""What each verdict means, in one line."""


def headline(report: GateReport) -> str:
    """The verdict in one line, with the types that got significantly worse, and the prompts that do as well."""
    worse = [r for r in report.reasons if r.id == "worse_types"]
    line = HEADLINE[report.verdict] + ("; some types are significantly worse" if worse else "")
    if report.verdict == "refused":
        return line
    several = len(report.comparators) > 1
    return line + "".join(f"; {said(report, c, several)}" for c in report.comparators if c.finding != "beaten")


def said(report: GateReport, comparator: ComparatorResult, several: bool) -> str:
    """What a comparator shows, as a clause; with its name where there are several."""
    what = comparator.label + (f" ({comparator.name})" if several and comparator.name not in comparator.label else "")
    compared, missing = against_tuned(report, comparator.name).result.n, comparator.missing
    where = f" on {compared} of {compared + missing} items" if missing else ""
    match comparator.finding:
        case "same":
            return f"{what} does the same{where}"
        case "better":
            return f"{what} does better{where}"
        case "beaten":
            return f"the fine-tuned model is better than {what}{where}"
    items = f": about {comparator.decides_at:,} items would decide" if comparator.decides_at else ""
    return f"whether the fine-tuned model is better than {what} is undecided{where}{items}"


def summary(report: GateReport, verbose: bool = True) -> str:
    """Verdict, what decided, the figures, what was not checked; at most 110 characters wide.

    Args:
        report: the report.
        verbose: with every reason and the table of types; otherwise it fits on one screen.
    """
    overall = report.overall
    parts = sections(report)
    lines = [headline(report), ""]
    shown = parts.decided if verbose else parts.decided[:4]
    for reason in shown:
        lines += _wrapped(reason, f"{reason.detail}{'. ' + reason.remedy if reason.remedy else ''}", verbose)
    if hidden := len(parts.decided) - len(shown):
        lines.append(f"          and {hidden} more, with --verbose")
    lines += [
        *([""] if parts.decided else []),
        f"base          {rate(overall.base_successes, overall.n, overall.base_interval)}",
        f"fine-tuned    {rate(overall.sft_successes, overall.n, overall.sft_interval)}",
        f"lift          {points(overall.lift)} points (95 % interval {points(overall.lift_interval[0])} to "
        f"{points(overall.lift_interval[1])}), {overall.won} won, {overall.lost} lost",
        f"McNemar       p = {report.p:.3g} ({report.test}, decides at {report.alpha:g}); exact {overall.p_exact:.3g}, "
        f"mid-p {overall.p_midp:.3g}, corrected {overall.p_corrected:.3g}",
        f"Cohen's h     {overall.cohens_h:z.2f}",
        "",
        *_prompted(report),
    ]
    for reason in parts.unchecked:
        lines += _wrapped(reason, reason.detail, verbose)
    if parts.passed:
        names = f"{len(parts.passed)} criteria passed: {', '.join(r.criterion for r in parts.passed)}"
        lines += textwrap.wrap(names, width=110, subsequent_indent=" " * 10)
    if verbose:
        lines += ["", "all reasons"]
        for reason in (*parts.informed, *parts.passed):
            lines += _wrapped(reason, reason.detail, True)
        if report.types:
            lines += ["", *_table(report)]
    # A name in the data must not command the terminal.
    return "\n".join(map(visible, lines)) + "\n"


def _prompted(report: GateReport) -> list[str]:
    """The comparators with their comparisons and costs; nothing without any."""
    lines = []
    for c in report.comparators:
        lines += textwrap.wrap(
            f"{c.name[:12]:<14}{rate(c.successes, c.n, c.interval)}: {c.label}", width=110, subsequent_indent=" " * 14
        )
        against = against_tuned(report, c.name)
        result = against.result
        lines.append(
            f"{'':14}fine-tuned is {points(result.lift)} points (95 % interval {points(result.lift_interval[0])} to "
            f"{points(result.lift_interval[1])}), {result.won} won, {result.lost} lost"
        )
        holm = f"p = {against.p_adjusted:.3g} (Holm over {len(report.comparisons)} comparisons): {said(report, c, several=False)}"
        lines += textwrap.wrap(holm, width=110, initial_indent=" " * 14, subsequent_indent=" " * 14)
    if lines:
        costs = [f"{name} {cost(report, model)}" for model, name in models(report).items()]
        tokens = f"tokens        {', '.join(costs)} (mean prompt + completion of an answer)"
        lines += [*textwrap.wrap(tokens, width=110, subsequent_indent=" " * 14), ""]
    return lines


def models(report: GateReport) -> dict[str, str]:
    """Names of all models for a reader, the comparators after base and fine-tuned model."""
    return {"base": "base", "sft": "fine-tuned"} | {c.name: c.name for c in report.comparators}


def against_tuned(report: GateReport, name: str) -> ModelComparison:
    """The fine-tuned model against a comparator."""
    return next(c for c in report.comparisons if (c.baseline, c.model) == (name, "sft"))


def cost(report: GateReport, model: str) -> str:
    """Mean tokens of prompt and completion."""
    tokens = report.costs[model]
    if tokens.prompt is tokens.completion is None:
        return "not known"
    return " + ".join("?" if part is None else f"{part:,.1f}" for part in (tokens.prompt, tokens.completion))


class Sections(NamedTuple):
    """The reasons by what a reader wants first."""

    decided: list[Reason]
    unchecked: list[Reason]
    informed: list[Reason]
    passed: list[Reason]


def sections(report: GateReport) -> Sections:
    """What keeps the verdict from a pass, what was not checked or waived, what else is reported, and what passed."""
    found = Sections([], [], [], [])
    for reason in ordered(report):
        if reason.outcome in ("refused", "fail"):
            found.decided.append(reason)
        elif reason.id == "not_checked" or reason.waived:
            found.unchecked.append(reason)
        else:
            (found.passed if reason.outcome == "pass" else found.informed).append(reason)
    return found


def _wrapped(reason: Reason, detail: str, verbose: bool) -> list[str]:
    """A reason in lines; at most three of them unless `verbose`."""
    label = "amber" if reason.outcome == "info" and (reason.id == "not_checked" or reason.waived) else reason.outcome
    lines = textwrap.wrap(
        f"{reason.criterion}: {detail}",
        width=110,
        initial_indent=f"  {label:<8}",
        subsequent_indent=" " * 10,
        break_long_words=False,
    )
    return lines if verbose or len(lines) <= 3 else [*lines[:2], f"{lines[2][:106]} …"]


def ordered(report: GateReport) -> list[Reason]:
    """The reasons, with those that keep the verdict from a pass first."""
    return sorted(report.reasons, key=lambda reason: ("refused", "fail", "pass", "info").index(reason.outcome))


def rate(successes: int, n: int, interval: tuple[float, float]) -> str:
    """A success rate with its interval: 81.0 % (243 of 300, 95 % interval 76.2 to 85.0); none where nothing was judged."""
    if not n:
        return "– (0 of 0)"
    return f"{100 * successes / n:.1f} % ({successes} of {n}, 95 % interval {100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def points(difference: float) -> str:
    """A difference of proportions in percentage points with its sign, a true minus included."""
    text = f"{100 * difference:+z.1f}"
    return "0.0" if text == "+0.0" else text.replace("-", "−")


def _table(report: GateReport) -> list[str]:
    width = max(len("type"), *(min(len(t.name), 30) for t in report.types))
    head = f"{'type':<{width}}  {'n':>5}  {'base %':>6}  {'sft %':>6}  {'lift':>6}  {'interval':>15}  {'lost':>5}  {'won':>5}  {'p':>8}  {'p adj.':>8}"
    return [head, *(_row(t, width, report.test) for t in report.types)]


def _row(group: GroupResult, width: int, test: str) -> str:
    interval = f"{points(group.lift_interval[0])} to {points(group.lift_interval[1])}"
    p = {"exact": group.p_exact, "midp": group.p_midp, "corrected": group.p_corrected}[test]
    adjusted = "" if group.p_adjusted is None else f"{group.p_adjusted:.2g}"
    return (
        f"{' '.join(group.name.split())[:width]:<{width}}  {group.n:>5}  {100 * group.base_rate:>6.1f}  {100 * group.sft_rate:>6.1f}  "
        f"{points(group.lift):>6}  {interval:>15}  {group.lost:>5}  {group.won:>5}  {p:>8.2g}  {adjusted:>8}"
    )

"""The comparison of several models as plain text, and the words that the page shares with it."""

from sft_pipeline.artifacts import ComparisonReport, ModelComparison, ModelRate, ScoreComparison, ScoreReport
from sft_pipeline.report.excerpt import visible
from sft_pipeline.report.gate.text import points, rate

LONGEST = 30
"""Characters of a name in a column of text."""


def summary(report: ComparisonReport) -> str:
    """Rates, Cochran's Q and every comparison."""
    width = max(len("against"), *(len(cut(name)) for name in report.models))
    lines = [headline(report), ""]
    lines += _rates([r for r in report.rates if r.type is None], width)
    lines += ["", *notes(report), ""]
    head = f"{'model':<{width}}  {'against':<{width}}  {'lift':>6}  {'95 % interval':>15}  {'won':>5}  {'lost':>5}  {'p':>8}  {'p Holm':>8}"
    head += f"  {'by cluster':>15}" if clustered(report) else ""
    lines += [head, *(_row(comparison, width, report) for comparison in report.comparisons)]
    for type, rates in by_type(report).items():
        lines += ["", f"type {cut(type)}", *_rates(rates, width)]
    # A name in the data must not command the terminal.
    return "\n".join(map(visible, lines)) + "\n"


def scores_summary(report: ScoreReport) -> str:
    """Mean scores and every comparison."""
    width = max(len("against"), *(len(cut(name)) for name in report.models))
    lines = [headline(report), "", *(f"{cut(m.model):<{width}}  mean {m.mean:.4f} of {m.n}" for m in report.means), ""]
    lines += [*scores_notes(report), ""]
    lines += [
        f"{'model':<{width}}  {'against':<{width}}  {'difference':>10}  {'95 % interval':>20}  {'higher':>6}  {'lower':>6}  {'p':>8}  {'p Holm':>8}"
    ]
    for c in report.comparisons:
        between = f"{c.interval[0]:+.4f} to {c.interval[1]:+.4f}"
        lines.append(
            f"{cut(c.model):<{width}}  {cut(c.baseline):<{width}}  {c.difference:>+10.4f}  {between:>20}  {c.better:>6}  {c.worse:>6}  "
            f"{c.p:>8.2g}  {c.p_adjusted:>8.2g}  {finding(c, report)}"
        )
    return "\n".join(map(visible, lines)) + "\n"


def scores_notes(report: ScoreReport) -> list[str]:
    """What a reader must know besides the tables of scores, a sentence each."""
    found = [
        f"The score {report.metric} is a number, and no threshold was declared: the scores themselves are compared. Whether higher "
        "is better depends on the metric.",
        f"A difference is shown where p of the sign-flip test, adjusted by Holm over {_counted(len(report.comparisons), 'comparison')}, is "
        f"at most {report.alpha:g}. Test and bootstrap interval exchange and draw whole clusters ({report.clusters}).",
    ]
    if report.missing:
        found.append(f"{report.missing} items are left out: at least one model has no score there.")
    return [*found, *report.notes]


def _counted(n: int, what: str) -> str:
    return f"{n} {what}" + ("s" if n > 1 else "")


def headline(report: ComparisonReport | ScoreReport) -> str:
    """What was compared and how many differences are shown, in one line."""
    shown = sum(finding(comparison, report) != "not shown" for comparison in report.comparisons)
    against = f" with {report.baseline}" if report.baseline else ""
    return (
        f"{len(report.models)} models on {report.n} items: {shown} of {_counted(len(report.comparisons), 'comparison')}"
        f"{against} show{'s' if shown == 1 else ''} a difference"
    )


def notes(report: ComparisonReport) -> list[str]:
    """What a reader must know besides the tables, a sentence each."""
    found = [
        f"Cochran's Q over all models: {report.cochran_q:.2f}, p = {report.cochran_p:.3g} "
        f"({_counted(len(report.models) - 1, 'degree')} of freedom).",
        f"A difference is shown where p (McNemar's, {report.test}), adjusted by Holm over "
        f"{_counted(len(report.comparisons), 'comparison')}, is at most {report.alpha:g}.",
        "The intervals (Wilson's, and Tango's of the paired lift) are for one comparison each and are not adjusted.",
    ]
    if clustered(report):
        found.append(
            f"The items form {report.comparisons[0].result.clusters} clusters: p is the larger one of McNemar's and of an exact "
            "test that exchanges the models in whole clusters; the interval by cluster is a bootstrap over whole clusters."
        )
    if report.repeated:
        found.append(
            f"{report.repeated} items without a group ask the same question as another one, and count as one cluster with it."
        )
    if report.missing:
        items = "1 item is" if report.missing == 1 else f"{report.missing} items are"
        found.append(f"{items} left out: the answer of at least one model could not be judged{_whose(report)}")
    return [*found, *report.notes]


def _whose(report: ComparisonReport) -> str:
    """By model what could not be judged; a warning where it is one model's answers only."""
    by_model = {model: count for model, count in report.unjudged.items() if count}
    said = f" ({', '.join(f'{cut(model)} {count}' for model, count in by_model.items())})."
    if len(by_model) > 1:
        return said
    return (
        f"{said} They are of one model alone: if its worst answers are those that nobody could judge, it is shown as better than "
        "it is. Judge them, or count them as failures."
    )


def finding(comparison: ModelComparison | ScoreComparison, report: ComparisonReport | ScoreReport) -> str:
    """What one comparison shows: better, worse, or neither; of scores higher, lower, or neither."""
    if comparison.p_adjusted > report.alpha:
        return "not shown"
    if isinstance(comparison, ScoreComparison):
        return "higher" if comparison.difference > 0 else "lower"
    return "better" if comparison.result.lift > 0 else "worse"


def clustered(report: ComparisonReport) -> bool:
    """Whether some items share a cluster."""
    return report.comparisons[0].result.clusters is not None


def interval(bounds: tuple[float, float]) -> str:
    """An interval of a difference in points."""
    return f"{points(bounds[0])} to {points(bounds[1])}"


def by_type(report: ComparisonReport) -> dict[str, list[ModelRate]]:
    """Rates of the models, in their order, by type; empty where there is but one type."""
    found: dict[str, list[ModelRate]] = {}
    for entry in report.rates:
        if entry.type is not None:
            found.setdefault(entry.type, []).append(entry)
    return found


def cut(name: str) -> str:
    """A name on one line, shortened to fit a column."""
    name = " ".join(name.split())
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _rates(rates: list[ModelRate], width: int) -> list[str]:
    return [f"{cut(r.model):<{width}}  {rate(r.successes, r.n, r.interval)}" for r in rates]


def _row(comparison: ModelComparison, width: int, report: ComparisonReport) -> str:
    result = comparison.result
    by_cluster = f"  {interval(result.cluster_interval):>15}" if result.cluster_interval else ""
    return (
        f"{cut(comparison.model):<{width}}  {cut(comparison.baseline):<{width}}  {points(result.lift):>6}  "
        f"{interval(result.lift_interval):>15}  {result.won:>5}  {result.lost:>5}  {comparison.p:>8.2g}  "
        f"{comparison.p_adjusted:>8.2g}{by_cluster}  {finding(comparison, report)}"
    )

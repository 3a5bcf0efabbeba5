"""The capability report as plain text, and the words that the page shares with it."""

from sft_pipeline.artifacts import BenchmarkResult, CapabilityReport, ModelScore
from sft_pipeline.report.excerpt import visible
from sft_pipeline.report.gate.text import points

VERDICTS = {
    "held": "no regression: every margin holds",
    "regressed": "regressed",
    "undecided": "undecided: the items are too few to rule out a loss beyond the margin",
    None: "measured, not compared",
}


def summary(report: CapabilityReport) -> str:
    """Headline, table, perplexity, problems and notes."""
    lines = [f"capabilities: {headline(report)}", ""]
    width = max([len(r.name) for r in report.results] + [9])
    if report.results:
        lines.append(
            f"{'benchmark':<{width}}  {'n':>6}  {reference(report):<22}  {'fine-tuned':<22}  {'difference':<24}  verdict"
        )
    lines += [
        f"{r.name:<{width}}  {r.n:>6,}  {score(r.base):<22}  {score(r.sft):<22}  {difference(r):<24}  {outcome(r)}"
        for r in report.results
    ]
    if report.perplexity:
        lines += ["", f"perplexity of the dev split: {perplexity(report)}"]
    for label, texts in (("keeps the adapter from being released", report.problems), ("note", report.notes)):
        for text in texts:
            lines += ["", f"{label}: {text}"]
    # A name in the data must not command the terminal.
    return "\n".join(map(visible, lines)) + "\n"


def headline(report: CapabilityReport) -> str:
    """The verdict in one line."""
    if report.verdict is None and not report.results:
        return "not measured"
    deciding = [r for r in report.results if r.verdict]
    counts = {v: sum(r.verdict == v for r in deciding) for v in ("held", "regressed", "undecided")}
    shown = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return VERDICTS[report.verdict] + (f" ({shown})" if shown else "")


def reference(report: CapabilityReport) -> str:
    """What the fine-tuned model is compared with."""
    return "base" if report.compared_with == "base" else "baseline"


def score(found: ModelScore | None) -> str:
    """Mean score in percent with its interval."""
    if found is None:
        return "–"
    low, high = found.interval
    return f"{100 * found.mean:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def difference(result: BenchmarkResult) -> str:
    """Paired difference in points with its interval."""
    if result.difference is None or result.difference_interval is None:
        return "–"
    low, high = result.difference_interval
    return f"{points(result.difference)} ({points(low)} to {points(high)})"


def outcome(result: BenchmarkResult) -> str:
    """Verdict with its margin, and what would decide."""
    if result.margin is None:
        return "reported only"
    if result.verdict is None:
        return "–"
    more = f"; {result.items_to_decide:,} items would decide" if result.items_to_decide else ""
    return f"{result.verdict} (margin {100 * result.margin:g}){more}"


def perplexity(report: CapabilityReport) -> str:
    """Both models' perplexity and the limit."""
    found = report.perplexity
    assert found is not None
    both = " → ".join(f"{value:.4g}" for value in (found.base, found.sft) if value is not None)
    holds = "within" if found.within else "ABOVE"
    return f"{both}, {holds} the limit of {found.limit:g} ({found.rows:,} rows, {found.tokens:,} tokens)"

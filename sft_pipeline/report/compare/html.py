"""The comparison of several models as one self-contained page: no network, no script, everything from data escaped."""

import base64

from sft_pipeline.artifacts import ComparisonReport, ScoreReport
from sft_pipeline.report.compare.text import by_type, clustered, cut, finding, headline, interval, notes, scores_notes
from sft_pipeline.report.gate import plots as gate_plots
from sft_pipeline.report.gate.text import points
from sft_pipeline.report.rendering import render


def page(report: ComparisonReport, picture: bytes) -> str:
    """The page as HTML.

    Args:
        report: the comparison.
        picture: the forest plot as PNG.
    """
    filters = {"points": points, "interval": interval, "finding": lambda comparison: finding(comparison, report)}
    return render(
        "compare.html.j2",
        filters,
        report=report,
        headline=headline(report),
        notes=notes(report),
        types=by_type(report),
        clustered=clustered(report),
        picture=base64.b64encode(picture).decode(),
    )


def scores_page(report: ScoreReport) -> str:
    """The page of a comparison of scores as HTML."""
    return render(
        "compare_scores.html.j2",
        {"finding": lambda comparison: finding(comparison, report)},
        report=report,
        headline=headline(report),
        notes=scores_notes(report),
    )


def differences(report: ComparisonReport) -> bytes:
    """Forest plot of the paired differences with Tango 95 % intervals, as PNG."""
    results = [comparison.result for comparison in report.comparisons]
    figure, axes = gate_plots.forest(results, "paired difference, points (95 % Tango interval)")
    figure.set_figheight(1.4 + 0.5 * len(results))
    labels = [f"{cut(c.model)}\nminus {cut(c.baseline)}" for c in report.comparisons]
    axes.set_yticks(range(len(results)), labels, parse_math=False)
    return gate_plots.png(figure)

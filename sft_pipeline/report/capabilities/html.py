"""The capability report as one self-contained page: no network, no script, everything from data escaped."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline.artifacts import BenchmarkResult, CapabilityReport
from sft_pipeline.report import excerpt
from sft_pipeline.report.capabilities import text
from sft_pipeline.report.gate import plots
from sft_pipeline.report.gate.text import points
from sft_pipeline.report.rendering import render

CHANGED = 20
"""Most items per metric that the page shows of those that only the reference got right."""

EXCERPT = 600
"""Characters of an answer."""


def page(report: CapabilityReport, rows: Sequence[Mapping[str, Any]], picture: bytes | None) -> str:
    """The page as HTML.

    Args:
        report: the report.
        rows: every item of every metric.
        picture: the forest plot as PNG; None of one model alone.
    """
    return render(
        "capabilities.html.j2",
        {"points": points, "excerpt": lambda text: excerpt.shown(excerpt.cut(text, longest=EXCERPT))},
        report=report,
        headline=text.headline(report),
        reference=text.reference(report),
        perplexity=text.perplexity(report) if report.perplexity else "",
        changed=_changed(report, rows),
        most=CHANGED,
        picture=base64.b64encode(picture).decode() if picture else "",
    )


def differences(report: CapabilityReport) -> bytes:
    """Forest plot of the paired differences with their intervals and margins, as PNG."""
    shown = [r for r in report.results if r.difference is not None]
    figure, axes = plots.canvas(1.3 + 0.45 * len(shown))
    axes.axvline(0, color=plots.INK, linewidth=1)
    for place, result in enumerate(shown):
        assert result.difference is not None
        low, high = result.difference_interval or (0.0, 0.0)
        colour = plots.SFT if low > 0 else plots.LOSS if high < 0 else plots.BASE
        axes.plot([100 * low, 100 * high], [place] * 2, color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(100 * result.difference, place, "o", color=colour, markersize=5)
        if result.margin is not None:
            axes.plot([-100 * result.margin] * 2, [place - 0.35, place + 0.35], color=plots.LOSS, linestyle=(0, (3, 2)))
    axes.plot([], [], color=plots.LOSS, linestyle=(0, (3, 2)), label="tolerated loss")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8.5)
    axes.set_yticks(range(len(shown)), [_label(r) for r in shown], parse_math=False)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel(f"fine-tuned minus {text.reference(report)}, points (95 % interval)")
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0")
    return plots.png(figure)


def _label(result: BenchmarkResult) -> str:
    return f"{result.name if len(result.name) <= 24 else result.name[:23] + '…'}\nn = {result.n:,}"


def _changed(report: CapabilityReport, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """By metric the items that only the reference got right, the first ones of them."""
    lost: dict[str, list[Mapping[str, Any]]] = {r.name: [] for r in report.results if r.lost}
    for row in rows:
        own = lost.get(row["metric"])
        if own is not None and len(own) < CHANGED and row["base_score"] == 1 and row["sft_score"] == 0:
            own.append(row)
    return lost

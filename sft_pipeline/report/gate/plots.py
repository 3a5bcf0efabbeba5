"""Pictures of a gate report by type and guarantee, as PNG bytes; the same report gives the same bytes on one machine."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sft_pipeline.artifacts import GateReport, GroupResult
from sft_pipeline.report.excerpt import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASE, SFT, LOSS, INK = "#8a8f98", "#1f6f8b", "#b3432b", "#333940"
"""Colours of the base, the fine-tuned model, a shown loss, and of lines and text; told apart in grey as well."""

TYPES = 40
"""Most types that a picture shows, those with the most items; the tables have all of them."""

WIDTH, DPI = 5.4, 140
"""Inches and dots per inch: small and fine, so that the text can still be read at the width of a phone."""


def rates(report: GateReport) -> bytes:
    """Success rates of both models by type, with Wilson 95 % intervals."""
    groups = _groups(report)
    figure, axes = _axes(groups, "success rate (95 % Wilson interval)")
    for position, group in enumerate(groups):
        for rate, (low, high), colour, shift, marker in (
            (group.base_rate, group.base_interval, BASE, -0.16, "s"),
            (group.sft_rate, group.sft_interval, SFT, 0.16, "o"),
        ):
            axes.plot([100 * low, 100 * high], [position + shift] * 2, color=colour, linewidth=2, solid_capstyle="butt")
            axes.plot(100 * rate, position + shift, marker, color=colour, markersize=5)
    axes.plot([], [], "s-", color=BASE, label="base")
    axes.plot([], [], "o-", color=SFT, label="fine-tuned")
    _legend(axes, 2)
    axes.set_xlim(-2, 102)
    axes.xaxis.set_major_formatter("{x:.0f} %")
    axes.get_yticklabels()[0].set_fontweight("bold")
    return png(figure)


def differences(report: GateReport) -> bytes:
    """Forest plot of the paired differences by type and guarantee, with Tango 95 % intervals and declared margins."""
    guarantees = [p.result.model_copy(update={"name": f"protected: {p.name}"}) for p in report.protected[:TYPES]]
    groups = [*_groups(report), *guarantees]
    figure, axes = forest(groups, "fine-tuned minus base, points (95 % Tango interval)")
    axes.get_yticklabels()[0].set_fontweight("bold")
    for position, protected in enumerate(report.protected[:TYPES], start=len(groups) - len(guarantees)):
        margin = -100 * protected.margin
        axes.plot([margin] * 2, [position - 0.4, position + 0.4], color=LOSS, linewidth=1.5, linestyle=(0, (3, 2)))
    if guarantees:
        axes.plot([], [], color=LOSS, linewidth=1.5, linestyle=(0, (3, 2)), label="tolerated loss")
        _legend(axes, 1)
    return png(figure)


def discordance(report: GateReport) -> bytes:
    """Items won and lost by type: the only ones that McNemar's test looks at."""
    groups = _groups(report)
    figure, axes = _axes(groups, "items that only one of the models gets right")
    places = range(len(groups))
    for counts, sign, colour, name, hatch in (
        ([g.lost for g in groups], -1, LOSS, "lost", "////"),
        ([g.won for g in groups], 1, SFT, "won", ""),
    ):
        bars = axes.barh(
            places, [sign * c for c in counts], 0.55, color=colour, label=name, hatch=hatch, edgecolor="white"
        )
        axes.bar_label(bars, [f"{c:,}" if c else "" for c in counts], padding=3, fontsize=8, color=INK)
    axes.axvline(0, color=INK, linewidth=1)
    axes.margins(x=0.14)
    # Counts to both sides: no minus sign, and no half items.
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.xaxis.set_major_formatter(lambda x, _: f"{abs(x):.0f}")
    axes.get_yticklabels()[0].set_fontweight("bold")
    _legend(axes, 2)
    return png(figure)


def forest(groups: Sequence[GroupResult], label: str) -> "tuple[Figure, Axes]":
    """Paired differences with their Tango intervals, one line per group, the axis labelled `label`: figure and axes.

    An interval that lies on one side of zero has the colour of an improvement or of a loss.
    """
    figure, axes = _axes(groups, label)
    axes.axvline(0, color=INK, linewidth=1)
    for position, group in enumerate(groups):
        low, high = group.lift_interval
        colour = SFT if low > 0 else LOSS if high < 0 else BASE
        axes.plot([100 * low, 100 * high], [position, position], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(100 * group.lift, position, "o", color=colour, markersize=5)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+g}".replace("-", "−") if x else "0")
    return figure, axes


def canvas(height: float) -> "tuple[Figure, Axes]":
    """A figure of the common width and `height` inches, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no global state, no display, nothing to close.
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.tick_params(labelsize=8.5)
    axes.xaxis.label.set_size(9)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def png(figure: "Figure") -> bytes:
    """The figure as PNG, without the time and the software that made it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _groups(report: GateReport) -> list[GroupResult]:
    types = sorted(report.types, key=lambda g: -g.n)[:TYPES] if len(report.types) > 1 else []
    return [report.overall.model_copy(update={"name": "all items"}), *sorted(types, key=lambda g: g.name)]


def _axes(groups: Sequence[GroupResult], label: str) -> "tuple[Figure, Axes]":
    figure, axes = canvas(1.2 + 0.4 * len(groups))
    # Names come from the data: a dollar sign in one is no formula.
    axes.set_yticks(range(len(groups)), [_label(g) for g in groups], parse_math=False)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return figure, axes


def _legend(axes: "Axes", columns: int) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False, fontsize=8.5)


def _label(group: GroupResult) -> str:
    name = " ".join(visible(group.name).split())
    return f"{name if len(name) <= 24 else name[:23] + '…'}\nn = {group.n:,}"

"""Pictures of a gate report as PNG bytes; the same report gives the same bytes on the same machine."""

import io
from collections.abc import Sequence

from sft_pipeline.artifacts import GateReport, GroupResult

BASE, SFT, LOSS, INK = "#8a8f98", "#1f6f8b", "#b3432b", "#333940"
"""Colours of the base, the fine-tuned model, a shown loss, and of lines and text; told apart in grey as well."""


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
            axes.plot(100 * rate, position + shift, marker, color=colour, markersize=6)
    axes.plot([], [], "s-", color=BASE, label="base")
    axes.plot([], [], "o-", color=SFT, label="fine-tuned")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    axes.set_xlim(-2, 102)
    axes.xaxis.set_major_formatter("{x:.0f} %")
    return _png(figure)


def differences(report: GateReport) -> bytes:
    """Forest plot of the paired differences by type and guarantee, with Tango 95 % intervals and declared margins."""
    guarantees = [p.result.model_copy(update={"name": f"protected: {p.name}"}) for p in report.protected]
    groups = [*_groups(report), *guarantees]
    figure, axes = _axes(groups, "fine-tuned minus base, points (95 % Tango interval)")
    axes.axvline(0, color=INK, linewidth=1)
    for position, group in enumerate(groups):
        low, high = group.lift_interval
        colour = SFT if low > 0 else LOSS if high < 0 else BASE
        axes.plot([100 * low, 100 * high], [position, position], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(100 * group.lift, position, "D" if position == 0 else "o", color=colour, markersize=6)
    for position, protected in enumerate(report.protected, start=len(groups) - len(guarantees)):
        margin = -100 * protected.margin
        axes.plot([margin] * 2, [position - 0.4, position + 0.4], color=LOSS, linewidth=1.5, linestyle=(0, (3, 2)))
    if report.protected:
        axes.plot([], [], color=LOSS, linewidth=1.5, linestyle=(0, (3, 2)), label="tolerated loss")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.0f}".replace("-", "−") if x else "0")
    return _png(figure)


def _groups(report: GateReport) -> list[GroupResult]:
    types = report.types if len(report.types) > 1 else ()
    return [report.overall.model_copy(update={"name": "all items"}), *types]


def _axes(groups: Sequence[GroupResult], label: str):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no global state, no display, nothing to close.
    figure = Figure(figsize=(7, 1.4 + 0.36 * len(groups)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # Names come from the data: a dollar sign in one is no formula.
    axes.set_yticks(range(len(groups)), [_label(g) for g in groups], parse_math=False)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.set_xlabel(label)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _label(group: GroupResult) -> str:
    name = " ".join(group.name.split())
    return f"{name if len(name) <= 28 else name[:27] + '…'}  (n = {group.n})"


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()

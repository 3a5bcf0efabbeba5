"""Pictures of a gate report over all items: how long the answers are, and what the test can find; as PNG bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline.report.gate.json import Lengths, PowerCurve
from sft_pipeline.report.gate.plots import BASE, DPI, INK, SFT, WIDTH, canvas, png


def lengths(figures: Lengths, items: Sequence[Mapping[str, Any]]) -> bytes:
    """How long the answers are in characters, by model and by whether they succeed.

    Args:
        figures: the edges of the bins; the last bin holds all that is longer and is drawn as wide as the others.
        items: rows of items.parquet.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, 4.2), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    both = figure.subplots(2, sharex=True, sharey=True)
    bins = range(len(figures.edges) - 1)
    for axes, model, title, colour in zip(both, ("base", "sft"), ("base", "fine-tuned"), (BASE, SFT), strict=True):
        below = np.zeros(len(bins))
        for success, name, shade, hatch in (
            (True, "success", colour, ""),
            (False, "failure", "white", "////"),
            (None, "not judged", "#dfe2e6", ""),
        ):
            chosen = [len(i[f"{model}_output"].strip()) for i in items if i[f"{model}_success"] is success]
            if not chosen and success is None:
                continue
            counts = np.histogram(chosen, figures.edges)[0]
            axes.bar(
                bins, counts, 0.9, below, align="edge", color=shade, edgecolor=colour, hatch=hatch, linewidth=0.6,
                label=f"{name} ({len(chosen):,})",
            )  # fmt: skip
            below += counts
        axes.set_title(title, fontsize=9, fontweight="bold", loc="left", color=INK)
        axes.legend(frameon=False, fontsize=8)
        axes.tick_params(labelsize=8.5)
        axes.grid(axis="y", color="#e3e5e8", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    marks = [*range(0, len(bins), 6)]
    names = [f"{figures.edges[k]:,}" for k in marks]
    if figures.edges[-1] - figures.edges[-2] > 2 * (figures.edges[1] - figures.edges[0]):
        marks, names = [k for k in marks if k < len(bins) - 2], names[: sum(k < len(bins) - 2 for k in marks)]
        marks.append(len(bins) - 1)
        names.append(f"more, up to\n{figures.edges[-1]:,}")
    both[1].set_xticks(marks, names)
    both[1].set_xlabel("characters", fontsize=9)
    figure.supylabel("answers", fontsize=9)
    return png(figure)


def power(curve: PowerCurve, observed: float, wanted: float) -> bytes:
    """Probability to find a true lift with these items, with the planned and the `observed` lift and the `wanted` power."""
    figure, axes = canvas(3)
    axes.plot([100 * lift for lift in curve.lifts], [100 * p for p in curve.power], color=INK, linewidth=2)
    axes.axhline(100 * wanted, color=BASE, linewidth=1, linestyle=(0, (4, 2)))
    axes.text(
        100 * curve.lifts[-1], 100 * wanted - 2, f"{100 * wanted:g} %", ha="right", va="top", fontsize=8, color=INK
    )
    for lift, name, colour, style in (
        (curve.planned_lift, "planned", BASE, (0, (1, 1))),
        (observed, "observed", SFT, "-"),
    ):
        label = f"{name}: {100 * lift:+z.1f}".replace("-", "−")
        axes.axvline(100 * lift, color=colour, linewidth=2, linestyle=style, label=label)
    axes.set_ylim(0, 103)
    axes.set_xlim(min(0, 100 * observed - 1), max(100 * curve.lifts[-1], 100 * observed + 1))
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.set_xlabel(f"true lift, points ({curve.n:,} items, {curve.discordance:.0%} discordant)")
    axes.set_ylabel("power", fontsize=9)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8.5)
    return png(figure)

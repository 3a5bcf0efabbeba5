"""Picture of a checkpoint series."""

from sft_pipeline.artifacts import SeriesReport
from sft_pipeline.report.gate_plots import BASE, INK, LOSS, SFT, canvas, png
from sft_pipeline.report.series_table import CORRECT, FORMAT, WRONG


def plot(report: SeriesReport) -> bytes:
    """Accuracy with its Wilson 95 % interval over training steps, and the format's shares where there are some, as PNG."""
    points = report.points
    figure, axes = canvas(3.4)
    steps = [p.step for p in points]
    rates = [100 * p.successes / p.n if p.n else float("nan") for p in points]
    errors = [
        [r - 100 * p.low for r, p in zip(rates, points, strict=True)],
        [100 * p.high - r for r, p in zip(rates, points, strict=True)],
    ]
    axes.errorbar(steps, rates, yerr=errors, marker="o", markersize=4, capsize=3, color=SFT, label="accuracy")
    labels = [p.labels for p in points]
    judged = [sum(found.get(name, 0) for name in (CORRECT, WRONG, FORMAT)) for found in labels]
    if any(found.get(FORMAT) or found.get(WRONG) for found in labels):
        for names, title, colour, style in (
            ((CORRECT, WRONG), "format accuracy", INK, "s--"),
            ((WRONG,), "wrong answer", LOSS, "^:"),
        ):
            shares = [
                100 * sum(f.get(name, 0) for name in names) / n if n else float("nan")
                for f, n in zip(labels, judged, strict=True)
            ]
            axes.plot(steps, shares, style, color=colour, markersize=4, linewidth=1.2, label=title)
    if report.best.n and report.best.step:
        axes.axvline(report.best.step, color=BASE, linewidth=1, linestyle=(0, (3, 2)), label="best")
    axes.set_xlabel("training step (0 = base)")
    axes.set_ylabel(f"share of {points[0].n:,} answers, {report.split} split", fontsize=9)
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_ylim(bottom=0)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=8, columnspacing=1)
    return png(figure)

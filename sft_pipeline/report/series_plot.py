"""Picture of a checkpoint series."""

from collections.abc import Sequence
from pathlib import Path

from sft_pipeline.artifacts import SeriesPoint


def plot_series(points: Sequence[SeriesPoint], path: Path) -> None:
    """Success rate with its Wilson 95 % interval over training steps, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    rates = [p.successes / p.n for p in points]
    errors = [[r - p.low for r, p in zip(rates, points)], [p.high - r for r, p in zip(rates, points)]]
    axes.errorbar([p.step for p in points], rates, yerr=errors, marker="o", capsize=3, color="#1f5fa8")
    axes.set(xlabel="training step (0 = base)", ylabel=f"success on dev (n = {points[0].n})", ylim=(0, 1))
    axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Software": None})

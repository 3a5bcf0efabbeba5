"""Pictures of a training: the planned schedule and the logged curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def schedule(rates: Sequence[float], warmup: int, path: Path) -> None:
    """Draw the learning rate over the steps; `rates` has one value per step and the final one."""
    figure = _figure(7, 3)
    axes = figure.add_subplot()
    axes.plot(range(len(rates)), rates)
    if warmup:
        axes.axvline(warmup, color="grey", linestyle=":", label=f"warm-up ends at {warmup}")
        axes.legend()
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes.grid(alpha=0.3)
    _save(figure, path)


def curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw loss, token accuracy, gradient norm and learning rate of log rows; non-finite values leave gaps."""
    figure = _figure(9, 6)
    loss, accuracy, norm, rate = figure.subplots(2, 2, sharex=True).flat
    panels = (
        (loss, "loss", (("loss", "train"), ("eval_loss", "dev"))),
        (accuracy, "token accuracy", (("mean_token_accuracy", "train"), ("eval_mean_token_accuracy", "dev"))),
        (norm, "gradient norm", (("grad_norm", "train"),)),
        (rate, "learning rate", (("learning_rate", "train"),)),
    )
    for axes, title, series in panels:
        for key, label in series:
            points = [(row["step"], float(row[key])) for row in rows if "step" in row and row.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, marker="o" if label == "dev" else None, markersize=3)
                if len(series) > 1:
                    axes.legend()
            elif key == series[0][0]:
                axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color="grey")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    for axes in (norm, rate):
        axes.set_xlabel("step")
    _save(figure, path)


def _figure(width: float, height: float):
    from matplotlib.figure import Figure  # not pyplot: no global state and no window

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure, path: Path) -> None:
    figure.savefig(path, dpi=100, metadata={"Software": None})

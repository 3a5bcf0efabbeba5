"""Plots of a training: the planned schedule, the logged series, and the series with the findings of a diagnosis."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import Finding, SeriesReport
from sft_pipeline.report.gate.plots import BASE, INK, LOSS, SFT, canvas, png
from sft_pipeline.report.training.checkpoint_table import CORRECT, FORMAT, WRONG

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"blocking": "tab:red", "warning": "tab:orange", "info": "tab:grey"}

_LINES = {"train": SFT, "all": SFT, "dev": "#c98a00"}
"""Colours of a training's series: the model that is trained has one colour everywhere."""

_PANELS = {
    "gradient norm": ("gradient",),
    "learning rate": ("learning_rate", "rate_spent", "coverage"),
    "token accuracy": ("accuracy",),
}
"""Parts of the names of the rules that concern a panel; all others concern the loss."""


def schedule(
    points: Sequence[int], rates: Sequence[float], warmup: int, path: Path, negligible: int | None = None
) -> None:
    """Draw the learning rate over the steps.

    Args:
        points: steps in rising order from 0 to the last; each tenth of the run is among them.
        rates: the learning rate at each of them.
        warmup: steps of warm-up.
        path: PNG file.
        negligible: step from which on the rate is below 1 % of its peak.
    """
    figure = _figure(7, 3)
    axes = figure.add_subplot()
    steps, at = points[-1], dict(zip(points, rates, strict=True))
    axes.plot(points, rates, color=SFT)
    tenths = [round(steps * k / 10) for k in range(11)]
    axes.plot(tenths, [at[step] for step in tenths], "o", markersize=4, color=SFT, label="each tenth of the run")
    if warmup:
        axes.axvline(warmup, color="grey", linestyle=":", label=f"warm-up ends at step {warmup:,}")
    if negligible is not None and negligible < steps:
        axes.axvspan(
            negligible, steps, color="tab:orange", alpha=0.25, label=f"below 1 % of the peak from step {negligible:,}"
        )
    axes.legend(fontsize=8)
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes.grid(alpha=0.3)
    _save(figure, path)


def curves(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw loss, token accuracy, gradient norm and learning rate of log records; non-finite values leave gaps."""

    def series(key: str) -> list[tuple[float, float]]:
        return [(row["step"], float(row[key])) for row in rows if "step" in row and row.get(key) is not None]

    figure = _figure(9, 6)
    _panels(
        figure,
        {
            "loss": {"train": series("loss"), "dev": series("eval_loss")},
            "token accuracy": {"train": series("mean_token_accuracy"), "dev": series("eval_mean_token_accuracy")},
            "gradient norm": {"all": series("grad_norm")}
            | {
                key.partition("/")[2]: series(key)
                for key in sorted({k for r in rows for k in r if k.startswith("module_grad_norm/")})
            },
            "learning rate": {"train": series("learning_rate")},
        },
    )
    _save(figure, path)


def diagnosis(series: Mapping[str, Any], findings: Sequence[Finding], verdict: str, path: Path) -> None:
    """Draw the series of a run with each finding in the panel that it concerns.

    Args:
        series: lists of (step, value) by the names loss, dev, norm, rate and accuracy.
        findings: what the rules found; each is shown below the title of its panel, in the colour of its severity.
        verdict: healthy, unhealthy or undecided: the title.
        path: PNG file.
    """
    notes: dict[str, list[Finding]] = {title: [] for title in ("loss", *_PANELS)}
    for finding in findings:
        fitting = [title for title, parts in _PANELS.items() if any(part in finding.rule for part in parts)]
        notes[fitting[0] if fitting else "loss"].append(finding)
    figure = _figure(10, 7)
    lines = {
        "loss": {"train": series["loss"], "dev": series["dev"]},
        "token accuracy": {"train": series["accuracy"]},
        "gradient norm": {"train": series["norm"]},
        "learning rate": {"train": series["rate"]},
    }
    panels = _panels(figure, lines)
    for title, axes in panels.items():
        values = [value for points in lines[title].values() for _, value in points if math.isfinite(value)]
        if title in ("loss", "gradient norm") and values and min(values) > 0 and max(values) > 20 * median(values):
            axes.set_yscale("log")  # a spike would flatten everything else
        elif notes[title]:  # room above the curve
            low, high = axes.get_ylim()
            axes.set_ylim(low, high + 0.09 * min(6, len(notes[title])) * (high - low))
        for line, finding in enumerate(notes[title][:6]):
            axes.text(
                0.98,
                0.96 - 0.075 * line,
                finding.rule.replace("_", " "),
                transform=axes.transAxes,
                ha="right",
                va="top",
                fontsize=9,
                color="white",
                bbox={"facecolor": _COLOURS[finding.severity], "edgecolor": "none", "alpha": 0.9, "pad": 1.5},
            )
    for title, name in (("loss", "loss"), ("loss", "dev"), ("gradient norm", "norm")):
        for step in [step for step, value in series[name] if not math.isfinite(value)][:50]:
            panels[title].axvline(step, color="tab:red", linewidth=0.8)
    zeros = [(step, value) for step, value in series["norm"] if value == 0.0]
    if zeros:
        panels["gradient norm"].plot(*zip(*zeros, strict=True), "o", color="tab:red", markersize=4)
    dev = [(step, value) for step, value in series["dev"] if math.isfinite(value)]
    if len({value for _, value in dev}) > 1:
        panels["loss"].plot(*min(dev, key=lambda point: point[1]), "*", color="tab:green", markersize=11)
    blocking = sum(f.severity == "blocking" for f in findings)
    title = f"{verdict}: {blocking} finding{'s' if blocking != 1 else ''}" if blocking else verdict
    figure.suptitle(title, color=_COLOURS["blocking"] if blocking else "tab:green", fontweight="bold")
    _save(figure, path)


def _panels(figure: "Figure", content: Mapping[str, Mapping[str, list[tuple[float, float]]]]) -> dict[str, "Axes"]:
    """Four panels over the same steps; returns the axes by title."""
    made = dict(zip(content, figure.subplots(2, 2, sharex=True).flat, strict=True))
    for title, axes in made.items():
        for label, points in content[title].items():
            if points:
                marker = "o" if label == "dev" or len(points) < 30 else None
                axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=3, color=_LINES.get(label))
        if not any(content[title].values()):
            axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, ha="center", color="grey")
        elif len(content[title]) > 1:
            axes.legend(
                loc="upper left", fontsize=8 if len(content[title]) < 4 else 6, ncols=1 + len(content[title]) // 5
            )
        axes.set_title(title)
        axes.grid(alpha=0.3)
    for axes in list(made.values())[2:]:
        axes.set_xlabel("step")
    return made


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure  # not pyplot: no global state and no window

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    figure.savefig(path, dpi=100, metadata={"Software": None})


def plot(report: SeriesReport, log_history: Sequence[Mapping[str, Any]] = ()) -> bytes:
    """Accuracy with its Wilson 95 % interval over the training steps, and the shares of the format where judged, as PNG.

    Below it the losses of the log, where there is one.
    """
    points = report.points
    figure, axes = canvas(5.4 if log_history else 3.4)
    if log_history:
        axes.remove()
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for key, label, style, colour in (("loss", "training loss", "-", BASE), ("eval_loss", "dev loss", "o-", SFT)):
            series = [(row["step"], float(row[key])) for row in log_history if row.get(key) is not None]
            if series:
                below.plot(*zip(*series, strict=True), style, color=colour, markersize=3, linewidth=1.2, label=label)
        below.set_ylabel("nats per token", fontsize=9)
        below.grid(color="#e3e5e8", linewidth=0.8)
        below.legend(frameon=False, fontsize=8)
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
    figure.axes[-1].set_xlabel("training step (0 = base)")
    axes.set_ylabel(f"share of {points[0].n:,} answers, {report.split} split", fontsize=9)
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.set_ylim(bottom=0)
    axes.grid(color="#e3e5e8", linewidth=0.8)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False, fontsize=8, columnspacing=1)
    return png(figure)

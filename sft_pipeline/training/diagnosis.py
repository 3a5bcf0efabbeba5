"""Whether a training was healthy, from its log rows alone; works on the log history of any Hugging Face trainer.

Each rule looks at one thing and says what it saw, with the numbers, and what to do. A blocking finding means sick.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from sft_pipeline.artifacts import Finding, TrainingReport
from sft_pipeline.report import training_plots

FLAT, SLOW = 0.01, 0.03
"""Relative fall of the training loss below which it counts as flat, and below which it is worth a warning."""

NOISE = 0.15
"""Scatter of the training loss from row to row, relative to its level, above which a trend must be proven."""

SCALE = 3.0
"""Ratio of training and dev loss from which on they are not measured on the same scale."""

ZERO_ROWS = 5
"""Consecutive log rows with a gradient norm of exactly 0 that prove that nothing is trained."""


@dataclass(frozen=True)
class Log:
    """The log rows of a run, split in training and evaluation; every series is a list of (step, value)."""

    loss: list[tuple[int, float]]
    dev: list[tuple[int, float]]
    norm: list[tuple[int, float]]

    @property
    def finite(self) -> list[float]:
        """The finite training losses."""
        return [value for _, value in self.loss if math.isfinite(value)]

    @property
    def start(self) -> float:
        """Median loss of the first twentieth of the rows, ten at most."""
        return median(self.finite[: min(10, math.ceil(len(self.finite) / 20))])

    @property
    def end(self) -> float:
        """Median loss of the last tenth of the rows."""
        return median(self.finite[-math.ceil(len(self.finite) / 10) :])

    @property
    def scatter(self) -> float:
        """Typical difference of neighbouring losses (their standard deviation, from the median) over the level."""
        steps = [abs(b - a) for a, b in zip(self.finite, self.finite[1:], strict=False)]
        level = median(self.finite) if self.finite else 0.0
        return median(steps) / 0.6745 / math.sqrt(2) / level if steps and level else 0.0


def read(log_history: Iterable[Mapping[str, Any]]) -> Log:
    """The series in a trainer's log history; rows without a step or without a loss are passed over."""
    rows = [row for row in log_history if row.get("step") is not None]

    def series(key: str) -> list[tuple[int, float]]:
        return [(row["step"], float(row[key])) for row in rows if row.get(key) is not None]

    return Log(loss=series("loss"), dev=series("eval_loss"), norm=series("grad_norm"))


def diagnose(
    log_history: Sequence[Mapping[str, Any]],
    out: Path,
    *,
    train_rows: int | None = None,
    effective_batch: int | None = None,
) -> TrainingReport:
    """Judge a run and write `diagnosis.json`, `diagnosis.txt` and `curves.png` into `out`.

    Args:
        log_history: rows as in `trainer_state.json`; non-finite numbers may be floats or their names.
        out: empty folder.
        train_rows: rows of the training split, where known: with the effective batch it gives the coverage.
        effective_batch: sequences per optimiser step, where known.
    """
    found, metrics = judge(log_history, train_rows, effective_batch)
    report = TrainingReport(root=out, findings=tuple(found), metrics=metrics)
    (out / "diagnosis.json").write_text(
        json.dumps(report.model_dump(mode="json", include={"findings", "metrics"}), indent=1)
    )
    (out / "diagnosis.txt").write_text(text(report))
    training_plots.curves(log_history, out / "curves.png")
    return TrainingReport.seal(out, findings=report.findings, metrics=report.metrics)


def judge(
    log_history: Sequence[Mapping[str, Any]], train_rows: int | None = None, effective_batch: int | None = None
) -> tuple[list[Finding], dict[str, float]]:
    """Findings and metrics of a log history, blocking ones first; writes nothing."""
    log = read(log_history)
    if not log.finite:
        found = _non_finite(log) or [
            _finding("no_log", "blocking", "the log holds no training loss", "log every few steps")
        ]
        return found, {"log_rows": float(len(log.loss))}
    found = [f for rule in RULES for f in rule(log)]
    found += _coverage(log, train_rows, effective_batch)
    order = ("blocking", "warning", "info")
    return sorted(found, key=lambda f: order.index(f.severity)), _metrics(log)


def text(report: TrainingReport) -> str:
    """The verdict with every finding, for a terminal."""
    lines = ["healthy" if report.healthy else "sick", ""]
    for f in report.findings:
        lines += [f"{f.severity}: {f.evidence}", *([f"  → {f.remedy}"] if f.remedy else [])]
    lines += ["", *(f"{name:<18}{value:.6g}" for name, value in report.metrics.items())]
    return "\n".join(lines) + "\n"


def _finding(rule: str, severity: str, evidence: str, remedy: str = "") -> Finding:
    return Finding(rule=rule, severity=severity, evidence=evidence, remedy=remedy)


def _metrics(log: Log) -> dict[str, float]:
    metrics = {
        "log_rows": float(len(log.loss)),
        "last_step": float(log.loss[-1][0]),
        "loss_start": log.start,
        "loss_end": log.end,
        "loss_scatter": log.scatter,
    }
    dev = [value for _, value in log.dev if math.isfinite(value)]
    if dev:
        metrics |= {"dev_loss_first": dev[0], "dev_loss_best": min(dev), "dev_loss_last": dev[-1]}
    norms = [value for _, value in log.norm if math.isfinite(value)]
    if norms:
        metrics["grad_norm_median"] = median(norms)
    return metrics


# --------------------------------------------------------------------------------------------------------------- rules


def _non_finite(log: Log) -> list[Finding]:
    """A loss that is no number spoils the weights; a gradient norm now and then is a skipped step of a loss scaler."""
    found = []
    for name, series in (("training loss", log.loss), ("dev loss", log.dev)):
        bad = [(step, value) for step, value in series if not math.isfinite(value)]
        if bad:
            evidence = f"the {name} is {bad[0][1]} at step {bad[0][0]} ({len(bad)} of {len(series)} rows)"
            remedy = "lower the learning rate, train in bfloat16 or float32, and look at the rows around that step"
            found.append(_finding("non_finite_loss", "blocking", evidence, remedy))
    bad = [step for step, value in log.norm if not math.isfinite(value)]
    if bad:
        lasting = len(bad) > 0.05 * len(log.norm) and len(bad) > 1 or bad[-1] == log.norm[-1][0]
        evidence = f"the gradient norm is not finite at {len(bad)} of {len(log.norm)} log rows, first at step {bad[0]}"
        remedy = "lower the learning rate or train in bfloat16" if lasting else ""
        found.append(_finding("non_finite_gradient", "blocking" if lasting else "info", evidence, remedy))
    return found


def _zero_gradient(log: Log) -> list[Finding]:
    """A gradient norm of exactly 0 means that no trainable weight takes part in the loss."""
    if not log.norm:
        return [
            _finding("gradient_norm_missing", "info", "the log holds no gradient norm: zero gradients cannot be seen")
        ]
    zeros = sum(value == 0.0 for _, value in log.norm)
    if not zeros:
        return []
    longest = max(len(list(run)) for zero, run in groupby(log.norm, lambda point: point[1] == 0.0) if zero)
    sick = longest >= ZERO_ROWS or zeros > len(log.norm) / 2
    evidence = f"the gradient norm is exactly 0 at {zeros} of {len(log.norm)} log rows, {longest} in a row"
    remedy = (
        "no trainable weight reaches the loss: check that the adapter is attached and requires gradients, that gradient "
        "checkpointing keeps them (enable_input_require_grads), and that labels are not all masked"
    )
    return [_finding("zero_gradient", "blocking" if sick else "warning", evidence, remedy)]


def _exploding(log: Log) -> list[Finding]:
    """A gradient norm that has grown by an order of magnitude at the end."""
    norms = [value for _, value in log.norm if math.isfinite(value)]
    if len(norms) < 10 or not median(norms):
        return []
    tail = median(norms[-math.ceil(len(norms) / 10) :])
    if tail < 10 * median(norms):
        return []
    evidence = f"the gradient norm ends at {tail:.3g}, {tail / median(norms):.0f} times its median over the run"
    return [_finding("exploding_gradient", "warning", evidence, "lower the learning rate or max_grad_norm")]


def _not_learning(log: Log) -> list[Finding]:
    """A training loss that does not fall, or whose fall cannot be told from its noise."""
    if len(log.finite) < 3:
        return []
    from scipy.stats import spearmanr

    fall = (log.start - log.end) / log.start if log.start else 0.0
    evidence = f"the training loss goes from {log.start:.4g} to {log.end:.4g} ({-fall:+.1%})"
    remedy = "raise the learning rate or the number of steps, and check that the adapter is trained at all"
    if fall < FLAT:
        return [_finding("not_learning", "blocking", evidence + ": it does not fall", remedy)]
    if log.scatter > NOISE and len(log.finite) >= 10:
        trend = spearmanr(range(len(log.finite)), log.finite)
        if abs(trend.statistic) < 0.5 and trend.pvalue > 0.001:
            evidence += (
                f" but scatters by {log.scatter:.0%} of its level from row to row, with no clear trend (rank correlation "
                f"{trend.statistic:.2f}, p = {trend.pvalue:.2g})"
            )
            remedy = "check labels, tokenizer and precision; then a larger effective batch and another learning rate"
            return [_finding("not_learning", "blocking", evidence, remedy)]
    if 0 < fall < SLOW:
        return [_finding("slow_learning", "warning", evidence, remedy)]
    return []


def _divergence(log: Log) -> list[Finding]:
    """A loss that ends well above the best level that it had reached; a spike that went away only warns."""
    losses = log.finite
    width = max(3, len(losses) // 10)
    if len(losses) < 2 * width:
        return []
    windows = [(median(losses[i : i + width]), i) for i in range(len(losses) - width + 1)]
    best, at = min(windows)
    steps = [step for step, value in log.loss if math.isfinite(value)]
    if log.end > max(1.5 * best, best + 0.1):
        evidence = f"the training loss had fallen to {best:.4g} around step {steps[at]} and ends at {log.end:.4g}"
        remedy = "lower the learning rate, lengthen the warm-up, clip harder; an earlier checkpoint may be of use"
        return [_finding("divergence", "blocking", evidence, remedy)]
    inner = range(width, len(losses) - width)  # the course at both ends is no spike
    spikes = [i for i in inner if losses[i] > 2 * median(losses[i - width : i + width + 1]) + 0.1]
    if spikes:
        worst = max(spikes, key=lambda i: losses[i])
        evidence = f"the training loss jumps to {losses[worst]:.4g} at step {steps[worst]} ({len(spikes)} such rows) and recovers"
        return [
            _finding("loss_spikes", "warning", evidence, "look at the rows of these batches; lower the learning rate")
        ]
    return []


def _vanished_loss(log: Log) -> list[Finding]:
    """A loss of 0: nothing carries loss, or everything is known by heart."""
    zeros = sum(value == 0.0 for _, value in log.loss)
    if zeros > 1:
        evidence = f"the training loss is exactly 0 at {zeros} of {len(log.loss)} log rows"
        remedy = "labels are all masked, or float16 overflowed: look at the mask audit and the precision"
        return [_finding("zero_loss", "blocking", evidence, remedy)]
    if log.end < 0.01:
        evidence = f"the training loss ends at {log.end:.2g}: the rows are known by heart"
        return [_finding("memorised", "warning", evidence, "fewer epochs; look for duplicates among the rows")]
    return []


def _identical_dev(log: Log) -> list[Finding]:
    """Evaluations that all give the same number: the model did not change between them."""
    values = {value for _, value in log.dev}
    if len(log.dev) < 2 or len(values) > 1 or not math.isfinite(log.dev[0][1]):
        return []
    steps = ", ".join(str(step) for step, _ in log.dev[:5])
    evidence = f"the dev loss is {log.dev[0][1]:.6g} at all {len(log.dev)} evaluations (steps {steps})"
    remedy = (
        "the weights do not change: check that the adapter is attached, requires gradients and is what is evaluated"
    )
    return [_finding("identical_dev_loss", "blocking" if len(log.dev) > 2 else "warning", evidence, remedy)]


def _scales(log: Log) -> list[Finding]:
    """Training and dev loss that differ by a factor that no learning explains.

    A training loss far above the dev loss is never right; a dev loss far above the training loss is not at the first
    evaluation, and later it is overfitting.
    """
    pairs = []
    for step, dev in log.dev:
        before = [loss for s, loss in log.loss if s <= step and math.isfinite(loss)]
        if before and math.isfinite(dev) and dev > 0 and before[-1] > 0:
            pairs.append((step, before[-1], dev))
    if not pairs:
        return []
    late = pairs[len(pairs) // 2 :]
    ratio = median(train / dev for _, train, dev in late)
    step, train, dev = late[-1]
    if ratio < SCALE:
        step, train, dev = pairs[0]
        if dev / train < SCALE:
            return []
    evidence = f"training loss {train:.4g} and dev loss {dev:.4g} at step {step} are a factor {max(train / dev, dev / train):.1f} apart"
    remedy = (
        "the two are not on the same scale: a loss summed over accumulation steps (transformers before 4.46), another "
        "mask, or dev rows of another kind"
    )
    return [_finding("loss_scales", "blocking", evidence, remedy)]


def _overfitting(log: Log) -> list[Finding]:
    """A dev loss that rises again while the training loss falls on."""
    dev = [(step, value) for step, value in log.dev if math.isfinite(value)]
    if len(dev) < 2:
        return []
    best_step, best = min(dev, key=lambda point: point[1])
    since = [loss for step, loss in log.loss if step <= best_step and math.isfinite(loss)]
    if dev[-1][1] <= 1.05 * best or not since or log.end >= since[-1]:
        return []
    evidence = (
        f"the dev loss rises from {best:.4g} (step {best_step}) to {dev[-1][1]:.4g} while the training loss falls from "
        f"{since[-1]:.4g} to {log.end:.4g}"
    )
    return [
        _finding("overfitting", "warning", evidence, "train for fewer epochs, or use the checkpoint of the best step")
    ]


def _few_rows(log: Log) -> list[Finding]:
    """A log with too few rows for the rules above to say much."""
    n = len(log.loss)
    if n >= 10:
        return []
    evidence = f"only {n} log rows: the other rules see little"
    return [_finding("few_log_rows", "warning" if n < 5 else "info", evidence, "lower logging_steps")]


def _coverage(log: Log, train_rows: int | None, effective_batch: int | None) -> list[Finding]:
    """How much of the data the run has seen, where that is known."""
    if not train_rows or not effective_batch:
        return []
    steps = log.loss[-1][0]
    share = steps * effective_batch / train_rows
    if share >= 0.999:
        return []
    evidence = f"coverage {share:.3g} epochs: {steps:,} steps × {effective_batch} = {steps * effective_batch:,} of {train_rows:,} rows"
    return [
        _finding(
            "coverage", "warning", evidence, f"train for at least {math.ceil(train_rows / effective_batch):,} steps"
        )
    ]


RULES = (
    _non_finite,
    _zero_gradient,
    _exploding,
    _not_learning,
    _divergence,
    _vanished_loss,
    _identical_dev,
    _scales,
    _overfitting,
    _few_rows,
)

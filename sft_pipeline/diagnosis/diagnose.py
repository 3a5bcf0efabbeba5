"""Whether a training was healthy, from its log alone; works on the log of any Hugging Face trainer and others.

Each rule (`rules/`) looks at one thing and reports what it saw, with the numbers, and what to do. A blocking finding means
unhealthy, or that the log does not suffice to decide.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from sft_pipeline.artifacts import Finding, TrainingReport
from sft_pipeline.diagnosis.log import KEYS, Log, first, last, read
from sft_pipeline.diagnosis.rules import dev_loss, gradient, learning_rate, loss, reward
from sft_pipeline.diagnosis.rules.success_criteria import criteria
from sft_pipeline.experiment import Training
from sft_pipeline.report.training import plots

ORDER = ("blocking", "warning", "info")

UNDECIDED = {"no_log", "few_log_records", "undecided_rise"}
"""Rules that block because the log does not suffice, not because a fault was found."""


def diagnose(
    log_history: Sequence[Mapping[str, Any]],
    out: Path,
    *,
    train_rows: int | None = None,
    effective_batch: int | None = None,
    training: Training | None = None,
) -> TrainingReport:
    """Judge a run and write `diagnosis.json`, `diagnosis.txt` and `curves.png` into `out`.

    Args:
        log_history: log records as in `trainer_state.json`; non-finite numbers may be floats or their names.
        out: empty folder.
        train_rows: rows of the training split, where known: with the effective batch it gives the coverage.
        effective_batch: sequences per optimiser step, where known.
        training: the specification of the run, where known: its success criteria are checked.

    Raises:
        DataError: a log record is not an object or a value not a number.
    """
    found, metrics = judge(log_history, train_rows, effective_batch, training)
    report = TrainingReport(root=out, findings=tuple(found), metrics=metrics)
    (out / "diagnosis.json").write_text(
        json.dumps(report.model_dump(mode="json", include={"findings", "metrics"}), indent=1)
    )
    (out / "diagnosis.txt").write_text(text(report))
    plots.diagnosis(vars(read(log_history)), report.findings, verdict(report.findings), out / "curves.png")
    return TrainingReport.finalize(out, findings=report.findings, metrics=report.metrics)


def judge(
    log_history: Sequence[Mapping[str, Any]],
    train_rows: int | None = None,
    effective_batch: int | None = None,
    training: Training | None = None,
) -> tuple[list[Finding], dict[str, float]]:
    """Findings and metrics of a log history, blocking ones first; writes nothing."""
    log = read(log_history)
    keeps_best = training is not None and training.adapter == "best"
    found = [
        *loss.aborted(log),
        *loss.impossible(log),
        *dev_loss.identical(log),
        *dev_loss.overfitting(log, keeps_best),
    ]
    if not log.finite:
        if not any(finding.severity == "blocking" for finding in found):
            found.append(_no_log(log))
        return _ordered(found), {"log_records": float(len(log.loss))}
    found += [
        *gradient.not_finite(log),
        *gradient.zero(log),
        *gradient.exploding(log),
        *gradient.idle_modules(log),
        *gradient.clipped(log),
        *learning_rate.out_of_range(log),
        *learning_rate.spent(log),
        *learning_rate.plateau(log),
        *learning_rate.coverage(log, train_rows, effective_batch, training),
        *learning_rate.epochs_without_dev(log),
        *criteria(log, training),
        *reward.trend(log),
        *reward.pairs_memorized(log),
        *reward.reward_log(log),
        *loss.few_records(log),
    ]
    if not any(finding.rule == "negative_loss" for finding in found):  # these take the loss for a cross entropy
        found += [*dev_loss.scales(log), *loss.level(log), *loss.divergence(log), *loss.not_learning(log)]
        found += loss.vanished(log)
    return _ordered(found), _metrics(log)


def _no_log(log: Log) -> Finding:
    evidence = f"too few log records to judge: none has a training loss (key {', '.join(KEYS['loss'])})"
    evidence += f"; the keys are {', '.join(log.keys[:12])}" if log.keys else ""
    remedy = "set logging_steps to a tenth of the steps or less"
    return Finding(rule="no_log", severity="blocking", evidence=evidence, remedy=remedy)


def _ordered(found: Sequence[Finding]) -> list[Finding]:
    """Blocking ones first; what was undecided by one rule is not, where another found a fault."""
    certain = any(finding.severity == "blocking" and finding.rule not in UNDECIDED for finding in found)
    kept = [finding for finding in found if not (certain and finding.rule == "undecided_rise")]
    return sorted(kept, key=lambda finding: ORDER.index(finding.severity))


def verdict(findings: Sequence[Finding]) -> str:
    """`healthy`, `unhealthy`, or `undecided` where all that blocks is that the log does not suffice."""
    blocking = {finding.rule for finding in findings if finding.severity == "blocking"}
    return "healthy" if not blocking else "undecided" if blocking <= UNDECIDED else "unhealthy"


def text(report: TrainingReport) -> str:
    """The verdict with every finding, for a terminal."""
    lines = [verdict(report.findings), ""]
    for f in report.findings:
        lines += [f"{f.severity}: {f.evidence}  [{f.rule}]", *([f"  → {f.remedy}"] if f.remedy else [])]
    lines += ["", *(f"{name:<22}{value:.6g}" for name, value in report.metrics.items())]
    return "\n".join(lines) + "\n"


def _metrics(log: Log) -> dict[str, float]:
    metrics = {
        "log_records": float(len(log.loss)),
        "last_step": float(log.loss[-1][0]),
        "loss_start": log.start,
        "loss_end": log.end,
        "loss_scatter": log.scatter,
    }
    values = [value for _, value in log.finite_dev]
    if values:
        metrics |= {"dev_loss_first": values[0], "dev_loss_best": min(values), "dev_loss_last": values[-1]}
        if values[-1] < 700:  # beyond it the perplexity is no float
            metrics["dev_perplexity"] = math.exp(values[-1])
    norms = [value for _, value in log.norm if math.isfinite(value)]
    if norms:
        metrics["grad_norm_median"] = median(norms)
    if (share := gradient.clipped_share(log)) is not None:
        metrics["clipped_share"] = share
    rates = [value for _, value in log.rate if math.isfinite(value)]
    if rates:
        metrics |= {"learning_rate_peak": max(rates), "learning_rate_last": rates[-1]}
    accuracy = [value for _, value in log.accuracy if math.isfinite(value)]
    if accuracy:
        metrics |= {"token_accuracy_start": first(accuracy), "token_accuracy_end": last(accuracy)}
    return metrics

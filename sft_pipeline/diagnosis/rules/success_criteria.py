"""The success criteria that a specification declares, against what the log shows."""

import math

from sft_pipeline.artifacts import Finding
from sft_pipeline.diagnosis.log import Log, first, last
from sft_pipeline.experiment import SuccessCriteria, Training


def criteria(log: Log, training: Training | None) -> list[Finding]:
    """Criteria that were missed: those of `training.minimum` make the run unhealthy, those of `training.optimal` do not."""
    if training is None:
        return []
    result = _dev_loss(log, training)
    return _missed(log, training.minimum, "minimum", result) + _missed(log, training.optimal, "optimal", result)


def _dev_loss(log: Log, training: Training) -> float | None:
    """Dev loss of the state that is the result: only one that was saved can be the best (training/export.py)."""
    saved = [value for step, value in log.finite_dev if step % training.save_steps == 0 or step == log.loss[-1][0]]
    if training.adapter == "best" and saved:
        return min(saved)
    return log.finite_dev[-1][1] if log.finite_dev else None


def _missed(log: Log, wanted: SuccessCriteria, name: str, result: float | None) -> list[Finding]:
    dev = [value for _, value in log.finite_dev]
    accuracy = [value for _, value in log.accuracy if math.isfinite(value)]
    gain = last(accuracy) - first(accuracy) if accuracy else None
    dev_drop = dev[0] - result if len(dev) > 1 and result is not None else None
    perplexity = math.exp(min(result, 700.0)) if result is not None else None
    criteria = (
        ("min_loss_drop", "fall of the training loss", log.start - log.end, wanted.min_loss_drop, "nats"),
        ("min_dev_loss_drop", "fall of the dev loss", dev_drop, wanted.min_dev_loss_drop, "nats"),
        ("min_accuracy_gain", "gain of the token accuracy", gain, wanted.min_accuracy_gain, ""),
        ("max_perplexity", "perplexity on dev", perplexity, wanted.max_perplexity, ""),
    )
    found = []
    for key, title, value, limit, unit in criteria:
        if limit is None:
            continue
        most = key.startswith("max")
        if value is not None and (value <= limit if most else value >= limit):
            continue
        shown = f"{value:.4g}" if value is not None else "not logged"
        found.append(
            Finding(
                rule=f"{name}_{key}",
                severity="blocking" if name == "minimum" else "info",
                evidence=f"{title}: {shown}, {name} criterion {'at most' if most else 'at least'} {limit:g} {unit}".rstrip(),
                remedy="evaluate on dev at least twice and log the token accuracy"
                if value is None
                else "train longer or on better data, or set another criterion: an absolute limit depends on the loss that "
                "the base begins with",
            )
        )
    return found

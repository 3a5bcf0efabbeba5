"""Dev loss: identical at every evaluation, on another scale than the training loss, rising."""

import math
from statistics import median

from sft_pipeline.artifacts import Finding
from sft_pipeline.training.curves import Log

SCALE = 3.0
"""Ratio of training and dev loss from which on they are hardly measured on the same scale."""

RISE, LOST = 1.05, 1.3
"""Dev loss over its best: worth a warning, and a result that is worse by a third in nats per token."""


def identical(log: Log) -> list[Finding]:
    """Evaluations that all give the same number: the model did not change between them."""
    values = {value for _, value in log.dev}
    if len(log.dev) < 2 or len(values) > 1 or not math.isfinite(log.dev[0][1]):
        return []
    steps = ", ".join(f"{step:g}" for step, _ in log.dev[:5])
    return [
        Finding(
            rule="identical_dev_loss",
            severity="blocking" if len(log.dev) > 2 else "warning",
            evidence=f"the dev loss is {log.dev[0][1]:.6g} at all {len(log.dev)} evaluations (steps {steps})",
            remedy="the weights do not change: check that the adapter is attached, requires gradients and is what is "
            "evaluated",
        )
    ]


def scales(log: Log) -> list[Finding]:
    """Training and dev loss that differ by a factor that no learning explains.

    A training loss far above the dev loss is never right. A dev loss far above the training loss is not at the first
    evaluation, unless the rows are known by heart by then; later it is overfitting. Sets of another kind may be harder.
    """
    pairs = []
    for step, dev in log.finite_dev:
        before = [loss for s, loss in log.loss if s <= step and math.isfinite(loss)]
        if before and dev > 0 and before[-1] > 0:
            pairs.append((step, before[-1], dev))
    if not pairs or log.rewards:
        return []
    late = pairs[len(pairs) // 2 :]
    severity = "blocking"
    step, train, dev = late[-1]
    if median(train / dev for _, train, dev in late) < SCALE:
        step, train, dev = pairs[0]
        if dev / train < SCALE or log.several_dev_sets:
            return []
        severity = "blocking" if train > 0.5 else "warning"
    return [
        Finding(
            rule="loss_scales",
            severity=severity,
            evidence=f"training loss {train:.4g} and dev loss {dev:.4g} at step {step:g} are a factor "
            f"{max(train / dev, dev / train):.1f} apart",
            remedy="the two are not on the same scale: a loss summed over accumulation steps (transformers before 4.46), "
            "another mask, or dev rows of another kind",
        )
    ]


def overfitting(log: Log, best_is_kept: bool = False) -> list[Finding]:
    """A dev loss that rises again while the training loss falls on.

    Args:
        log: the series.
        best_is_kept: the result is the state of the best evaluation, which a later rise does not touch.
    """
    dev = log.finite_dev
    if len(dev) < 2:
        return []
    best_step, best = min(dev, key=lambda point: point[1])
    since = [loss for step, loss in log.loss if step <= best_step and math.isfinite(loss)]
    if dev[-1][1] <= RISE * best or not since or log.end >= since[-1]:
        return []
    lost = dev[-1][1] > LOST * best and dev[-1][1] > best + 0.1 and not best_is_kept and not log.several_dev_sets
    return [
        Finding(
            rule="overfitting",
            severity="blocking" if lost else "warning",
            evidence=f"the dev loss rises from {best:.4g} (step {best_step:g}) to {dev[-1][1]:.4g} "
            f"({dev[-1][1] / best - 1:+.0%}) while the training loss falls from {since[-1]:.4g} to {log.end:.4g}",
            remedy="train for fewer epochs, or use the checkpoint of the best step (training.adapter: best)",
        )
    ]

"""Dev loss: identical at every evaluation, on another scale than the training loss, rising."""

import math
from statistics import median

from sft_pipeline.artifacts import Finding
from sft_pipeline.training.curves import Log

SCALE = 3.0
"""Ratio of training and dev loss from which on they are hardly measured on the same scale."""

FEWEST = 3
"""Log rows at least that give the training loss at an evaluation."""

NEAR_ZERO = 0.05
"""Training loss (nats) below which its ratio to the dev loss says nothing of scales: both are nearly nothing."""

RISE, LOST, LOST_NATS = 1.05, 1.15, 0.05
"""Dev loss over its best: worth a warning, and lost. Public runs of several epochs that are in use end up to 3 % above
their best, an evaluation repeats within about 5 %; at 15 %, and 0.05 nats, most of what dev had gained is gone again."""

MANY = 20
"""Evaluations from which on the best and the last are medians of three, for the best of many is a lucky one."""


def identical(log: Log) -> list[Finding]:
    """Evaluations that all give the same number: the model did not change between them."""
    values = {value for _, value in log.dev}
    if len(log.dev) < 2 or len(values) > 1 or not math.isfinite(log.dev[0][1]):
        return []
    if log.rewards and values == {0.0}:  # evaluated by the reward: there is no loss
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
    The training loss at an evaluation is the median of some rows before it, since a single row may be a single example.
    """
    pairs, rows = [], max(FEWEST, len(log.loss) // 20)
    for step, dev in log.finite_dev:
        before = [loss for s, loss in log.loss if s <= step and math.isfinite(loss)]
        train = median(before[-rows:]) if before else 0.0
        if dev > 0 and train > 0:
            pairs.append((step, train, dev))
    if not pairs or log.rewards:
        return []
    late = pairs[len(pairs) // 2 :]
    severity = "blocking"
    step, train, dev = late[-1]
    if median(train / dev for _, train, dev in late) < SCALE or train < NEAR_ZERO:
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
    """A dev loss that rises again, mostly while the training loss falls on.

    Args:
        log: the series.
        best_is_kept: the result is the state of the best evaluation, which a later rise does not touch.
    """
    dev = log.finite_dev
    if len(dev) < 2 or log.rewards:
        return []
    at = min(range(len(dev)), key=lambda i: dev[i][1])
    best_step, best, last = dev[at][0], dev[at][1], dev[-1][1]
    if len(dev) >= MANY:
        best, last = median(value for _, value in dev[max(at - 1, 0) : at + 2]), median(value for _, value in dev[-3:])
    since = [loss for step, loss in log.loss if step <= best_step and math.isfinite(loss)]
    if at == len(dev) - 1 or last <= RISE * best:
        return []
    then = median(since[-max(1, len(log.finite) // 20) :]) if since else log.start
    lost = last > LOST * best and last > best + LOST_NATS and not best_is_kept and not log.several_dev_sets
    return [
        Finding(
            rule="overfitting" if log.end < then else "rising_dev_loss",
            severity="blocking" if lost else "warning",
            evidence=f"the dev loss rises from {best:.4g} (step {best_step:g}) to {last:.4g} ({last / best - 1:+.0%}) "
            f"while the training loss goes from {then:.4g} to {log.end:.4g}",
            remedy="train for fewer epochs, or use the checkpoint of the best step (training.adapter: best)",
        )
    ]

"""Dev loss: identical at every evaluation, on another scale than the training loss, rising."""

import math
from collections.abc import Sequence
from statistics import median

from sft_pipeline.artifacts import Finding
from sft_pipeline.diagnosis.log import Log, Series

SCALE = 3.0
"""Ratio of training and dev loss from which on they are hardly measured on the same scale."""

FEWEST = 3
"""Log records at least that give the training loss at an evaluation."""

NEAR_ZERO = 0.05
"""Training loss (nats) below which its ratio to the dev loss says nothing of scales: both are nearly 0."""

RISE, OVERFIT, OVERFIT_NATS = 1.05, 1.15, 0.05
"""Dev loss over its best: worth a warning, and overfit. Public runs of several epochs that are in use end up to 3 % above
their best, an evaluation repeats within about 5 %; at 15 %, and 0.05 nats, most of what dev had gained is lost again."""

GAINED = 0.9
"""Dev loss at the end over the first one below which the model has improved, whatever else the log shows."""

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
    evaluation, unless the rows are memorized by then; later it is overfitting. Sets of another kind may be harder.
    The training loss at an evaluation is the median of some records before it: a single one may be a single example.
    """
    pairs, ratios, count = [], [], max(FEWEST, len(log.loss) // 20)
    for step, dev in log.finite_dev:
        before = [loss for s, loss in log.loss if s <= step and math.isfinite(loss)]
        train = median(before[-count:]) if before else 0.0
        if dev > 0 and train > 0:
            pairs.append((step, train, dev))
            ratios.append(min(train, _carried_on(before)) / dev)
    if not pairs or log.rewards:
        return []
    late = pairs[len(pairs) // 2 :]
    severity = "blocking"
    step, train, dev = late[-1]
    if median(ratios[len(pairs) // 2 :]) < SCALE or train < NEAR_ZERO:
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


def _carried_on(losses: Sequence[float]) -> float:
    """The training loss one record after the last, where they are few, each a mean over steps, and the course is steep."""
    steep = 1 < len(losses) < 2 * FEWEST and 0 < losses[-1] < losses[-2]
    return losses[-1] ** 2 / losses[-2] if steep else math.inf


def overfitting(log: Log, best_is_kept: bool = False) -> list[Finding]:
    """A dev loss that rises again, mostly while the training loss keeps falling.

    Args:
        log: the series.
        best_is_kept: the result is the state of the best evaluation, which a later rise does not touch.
    """
    dev = log.finite_dev
    if len(dev) < 2 or log.rewards:
        return []
    best_step, best, last = _rise(dev)
    if best_step == dev[-1][0] or last <= RISE * best:
        return []
    # One set of several may be of another kind, and get worse as the others improve.
    overfit = all(_is_overfit(one) for one in log.dev_sets or (dev,))
    collapsed = last > OVERFIT * best and any(_has_collapsed(one) for one in log.scores)
    evidence = f"the dev loss rises from {best:.4g} (step {best_step:g}) to {last:.4g} ({last / best - 1:+.0%})"
    evidence += (
        f", and so does that of each of the {len(log.dev_sets)} sets," if overfit and log.several_dev_sets else ""
    )
    evidence += ", and a score of the labels loses more than half of its best" if collapsed else ""
    rule = "rising_dev_loss"
    if log.finite:
        since = [loss for step, loss in log.loss if step <= best_step and math.isfinite(loss)]
        then = median(since[-max(1, len(log.finite) // 20) :]) if since else log.start
        rule = "overfitting" if log.end < then else rule
        evidence += f" while the training loss goes from {then:.4g} to {log.end:.4g}"
    return [
        Finding(
            rule=rule,
            severity="blocking" if (overfit or collapsed) and not best_is_kept else "warning",
            evidence=evidence,
            remedy="train for fewer epochs, or use the checkpoint of the best step (training.adapter: best)",
        )
    ]


def gained(log: Log) -> bool:
    """Whether dev shows beyond doubt that the model improved: a loss that fell by a tenth and ends near its best."""
    dev = [value for _, value in log.finite_dev]
    return len(dev) > 1 and dev[-1] < GAINED * dev[0] and dev[-1] <= RISE * min(dev)


def _rise(dev: Series) -> tuple[float, float, float]:
    """Step and level of the best evaluation, and the level at the end."""
    at = min(range(len(dev)), key=lambda i: dev[i][1])
    step, best, end = dev[at][0], dev[at][1], dev[-1][1]
    later = [value for _, value in dev[at + 1 :]]
    if len(dev) < MANY or (later and min(later) > OVERFIT * best):  # not luck: none of the others comes near it
        return step, best, end
    return step, median(value for _, value in dev[max(at - 1, 0) : at + 2]), median(value for _, value in dev[-3:])


def _is_overfit(dev: Series) -> bool:
    dev = [point for point in dev if math.isfinite(point[1])]
    step, best, end = _rise(dev) if dev else (0.0, 0.0, 0.0)
    return bool(dev) and step != dev[-1][0] and end > OVERFIT * best and end > best + OVERFIT_NATS


def _has_collapsed(score: Series) -> bool:
    values = [value for _, value in score if math.isfinite(value)]
    return bool(values) and max(values) > 0 and values[-1] < max(values) / 2

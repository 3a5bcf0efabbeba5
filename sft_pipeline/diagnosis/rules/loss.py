"""Training loss: aborted run, non-finite, negative, not falling, diverging, spiking, vanished, at an impossible level, too
few log records."""

import math
from collections.abc import Sequence
from itertools import groupby
from statistics import mean, median, pvariance

from sft_pipeline.artifacts import Finding
from sft_pipeline.diagnosis.log import Log, noise
from sft_pipeline.diagnosis.rules.dev_loss import GAINED, SCALE, gained

FLAT, SLOW = 0.01, 0.03
"""Relative fall of the training loss below which it counts as flat, and below which it is worth a warning."""

NOISE = 0.15
"""Scatter of the training loss from row to row, relative to its level, that is large."""

RESOLVED = 0.02
"""Upper end of the fall's 95 % interval below which a run that shows none is called flat: more than a fall of 2 % is
ruled out, and a training is started for several times that."""

TREND = 4.0
"""Standard errors that the fall of a poor and noisy loss has to amount to."""

BROKEN = 7.0
"""Cross entropy (nats per token) that no pretrained language model ends a training with: below one in a thousand per
token. Only a loss that is summed over accumulation steps, or a broken input, is as large."""

UNTRAINED = 12.5
"""Cross entropy (nats per token) of a model that knows nothing, with the largest vocabularies: ln 262,144."""

POOR = 5.0
"""Level of a loss (nats per token) at which noise without a trend is no small-batch noise of a working model."""

FEW, VERY_FEW, UNDECIDABLE = 10, 5, 3
"""Log records below which the other rules see little, next to nothing, and no trend at all."""

NEGATIVE = -1e-4
"""Loss (nats per token) below which rounding is ruled out: in float32 a logit of 100 is exact to 1e-5."""

SUSTAINED = 5
"""Consecutive log records that prove a gradient of exactly 0, or a divergence."""

VANISHED_RECORDS, VANISHED_SHARE = 3, 0.05
"""Consecutive log records, and share of all, with a loss of 0 from which on all labels are masked."""

SUDDEN_RECORDS, SUDDEN = 3, 3.0
"""Log records at the end that prove a divergence where they lie so many times, and nats, above the best level, and above
every record of the half before."""

ONCE = 2.0
"""Standard deviations of a record by which the last ones of a log must lie above its best level."""

AT_ONCE = 0.05
"""Relative height of the first log record above the end that shows that something was learned, if only within it."""

NOTHING_LEFT, MEMORIZED = 1e-3, 0.01
"""Loss (nats per token) at the end of a run, and over its last third. 1e-3 is a probability of 0.999 per token, which no
text allows: the labels leak, or the rows are memorized. At 0.01 without a dev loss nothing speaks against that."""

PASSES, MEMORIZED_LATE = 5, 0.15
"""Epochs without a dev loss after which overfitting is to be expected, and a loss below 0.15 nats, and a tenth of its start, is taken for memorization: public
runs of up to three epochs end there on tables and labels, those of twenty and more on anything."""


def aborted(log: Log) -> list[Finding]:
    """A run that the watchdog stopped, whatever else its log shows: it checks every step."""
    if not log.aborted:
        return []
    remedy = (
        "find the cause before another attempt: learning rate and clipping where the loss rises or is non-finite, mask and "
        "labels where it is 0, the adapter where the gradient is 0; an earlier checkpoint may be usable"
    )
    evidence = f"the watchdog stopped the run: {log.aborted}"
    return [Finding(rule="aborted", severity="blocking", evidence=evidence, remedy=remedy)]


def impossible(log: Log) -> list[Finding]:
    """A non-finite loss destroys the weights; a negative one is not a cross entropy."""
    found = []
    for name, series in (("training loss", log.loss), ("dev loss", log.dev)):
        bad = [(step, value) for step, value in series if not math.isfinite(value)]
        if bad:
            evidence = f"the {name} is {bad[0][1]} at step {bad[0][0]:g} ({len(bad)} of {len(series)} log records)"
            remedy = "lower the learning rate, train in bfloat16 or float32, and look at the data around that step"
            found.append(Finding(rule="non_finite_loss", severity="blocking", evidence=evidence, remedy=remedy))
        negative = [] if log.rewards else [(step, value) for step, value in series if -math.inf < value < NEGATIVE]
        if negative:
            step, value = negative[0]
            evidence = (
                f"the {name} is {value:.4g} at step {step:g} ({len(negative)} of {len(series)} log records): a cross entropy is "
                "never negative"
            )
            remedy = (
                "check the loss function and its labels (a probability above 1, a wrong sign, another objective); the other "
                "rules take the loss for a cross entropy"
            )
            found.append(Finding(rule="negative_loss", severity="blocking", evidence=evidence, remedy=remedy))
    return found


def falls(log: Log) -> tuple[float, float, float, float, float]:
    """Two estimates of the fall of at least three training losses that begin above 0, each with its standard error.

    The thirds of the run, which noise hardly moves, and its two ends, which show what was learned in the first steps but
    are unreliable where the records scatter.

    Returns:
        Mean of the first and of the last third, standard error of `1 - last / first`, relative fall from the level at
        the start to that at the end, its standard error.
    """
    losses, third = log.finite, len(log.finite) // 3
    head, tail = losses[:third], losses[-third:]
    early, late = mean(head), mean(tail)
    # Standard error by neighbouring records or within the thirds, whichever is larger: either can be small by chance.
    error = max(log.scatter * math.sqrt(2 / third), math.sqrt((pvariance(head) + pvariance(tail)) / third) / early)
    ends = (log.start - log.end) / log.start
    counts = min(10, math.ceil(len(losses) / 20)), math.ceil(len(losses) / 10)
    return early, late, error, ends, log.scatter * math.sqrt(1 / counts[0] + 1 / counts[1])


def not_learning(log: Log) -> list[Finding]:
    """A training loss that does not fall, or whose fall does not stand out from its noise."""
    losses = log.finite
    if len(losses) < 3 or log.rewards or not log.start:
        return []
    from scipy.stats import spearmanr, t

    n, third = len(losses), len(losses) // 3
    early, late, error, ends, error_ends = falls(log)
    fall = max(1 - late / early, ends if ends > 3 * error_ends else -math.inf)
    evidence = (
        f"the training loss goes from {log.start:.4g} to {log.end:.4g} ({-ends:+.2%}), its mean from {early:.4g} in the first "
        f"third to {late:.4g} in the last ({late / early - 1:+.2%})"
    )
    remedy = "raise the learning rate or the number of steps, and check that the adapter receives gradients"
    dev = log.finite_dev
    dev_fall = (dev[0][1] - min(value for _, value in dev)) / dev[0][1] if dev and dev[0][1] > 0 else 0.0
    if dev_fall > SLOW and fall < SLOW:
        evidence += f"; the dev loss falls by {dev_fall:.1%}"
        return [Finding(rule="slow_learning", severity="warning", evidence=evidence, remedy=remedy)]
    rises = fall < -max(FLAT, 4 * error)
    margin = t.ppf(0.975, max(1, 2 * third - 2)) * error
    if rises or (fall < FLAT and max(fall, 0.0) + margin < RESOLVED):
        evidence += ": it does not fall"
        return _standing(log, evidence, remedy, learned=not rises)
    # A steep course looks like scatter when records are few: where nearly each is lower than the last, it is a fall.
    steady = len(set(losses)) > 1 and spearmanr(range(n), losses).statistic < -0.7
    poor = log.scatter > NOISE and median(losses) > POOR and fall < TREND * error
    if not steady and (poor or fall < max(FLAT, 2 * error)):
        evidence += f"; it scatters by {log.scatter:.0%} of its level from record to record, and no clear fall stands out from that"
        remedy = (
            "check labels, tokenizer and precision; then a larger effective batch, a larger logging_steps, more steps"
        )
        if median(losses) > POOR:
            return [Finding(rule="not_learning", severity="blocking", evidence=evidence, remedy=remedy)]
        if late >= early and dev_fall < FLAT:
            return [_undecided_rise(log, evidence, margin)]
        return [Finding(rule="noise", severity="warning", evidence=evidence, remedy=remedy)]
    if 1 - late / early < 2 * FLAT and ends < SLOW and len(dev) > 1 and dev_fall < FLAT:
        evidence += f"; the dev loss falls by {dev_fall:.1%}: neither shows that anything is learned"
        return _standing(log, evidence, remedy, learned=True)
    if fall < SLOW:
        return [Finding(rule="slow_learning", severity="warning", evidence=evidence, remedy=remedy)]
    return []


def _undecided_rise(log: Log, evidence: str, margin: float) -> Finding:
    """A loss that rises within its noise, where no fall of the dev loss shows that anything was learned.

    `margin` is half the width of the 95 % interval of the fall. It shrinks with the root of the number of records.
    """
    evaluations = len(log.finite_dev)
    evidence += ", nor does a dev loss show one: " + (
        f"it does not fall over its {evaluations} evaluations"
        if evaluations > 1
        else "it was not evaluated at least twice"
    )
    needed = math.ceil(len(log.finite) * (margin / RESOLVED) ** 2)
    return Finding(
        rule="undecided_rise",
        severity="blocking",
        evidence=evidence,
        remedy="to decide, evaluate on a dev split at the start and at the end (eval_steps); by the training loss alone it "
        f"takes about {needed:,} log records of this noise, or a larger effective batch",
    )


def _standing(log: Log, evidence: str, remedy: str, learned: bool) -> list[Finding]:
    """A loss that does not fall; only a warning where it may have `learned`, and the first log record shows that it has.

    The format of an answer is learned within some steps. The level at the start is a median of records, most of them from
    after that.
    """
    began = log.finite[0]
    if not learned or began - log.end <= max(AT_ONCE, TREND * log.scatter) * log.end:
        return [Finding(rule="not_learning", severity="blocking", evidence=evidence, remedy=remedy)]
    evidence += (
        f" after the first log record, {began:.4g} at step {log.steps[0]:g}: what was learned was learned by then"
    )
    remedy = (
        "lower logging_steps to see the start; if more should be learned: another rate, more capacity or other data"
    )
    return [Finding(rule="learned_at_once", severity="warning", evidence=evidence, remedy=remedy)]


def limit(level: float) -> float:
    """Loss (nats) above which a run that had this level has diverged: half as much again, and at least a nat."""
    return max(1.5 * level, level + 1.0)


def stays_above(losses: Sequence[float], level: float, deviations: float) -> bool:
    """Whether each of the last `SUSTAINED` losses has left a level of the run for good; watchdog and diagnosis share it.

    Args:
        losses: the finite losses, more than `SUSTAINED`.
        level: a level that the run had.
        deviations: standard deviations of a record before that they have to lie above it as well: records of single
            examples often double for several records in a row.
    """
    now = min(losses[-SUSTAINED:])
    return now > limit(level) and now > level + deviations * noise(losses[:-SUSTAINED])


def divergence(log: Log) -> list[Finding]:
    """A loss that ends well above where it was; a spike that went away only warns."""
    losses, steps = log.finite, log.steps
    width = max(3, len(losses) // 10)
    if (log.rewards and not log.pairs) or len(losses) < 4:
        return []
    remedy = "lower the learning rate, lengthen the warm-up, clip harder; an earlier checkpoint may be usable"
    deviation = noise(losses)  # of a record
    ends = min(10, math.ceil(len(losses) / 20)), math.ceil(len(losses) / 10)
    if log.end - log.start > max(0.5 * log.start, 0.5, 4 * deviation * math.sqrt(1 / ends[0] + 1 / ends[1])):
        evidence = f"the training loss begins at {log.start:.4g} and ends at {log.end:.4g}"
        return [Finding(rule="divergence", severity="blocking", evidence=evidence, remedy=remedy)]
    if len(losses) < 2 * width or log.rewards:
        return []
    windows = [(median(losses[i : i + width]), i) for i in range(len(losses) - width + 1)]
    best, at = min(windows)
    # The best window is the luckiest of many and the end is one: the difference has to exceed the noise of both.
    if log.end - best > max(0.5 * best, 0.1, 5 * deviation * math.sqrt(1 / width + 1 / ends[1])):
        evidence = f"the training loss had fallen to {best:.4g} around step {steps[at]:g} and ends at {log.end:.4g}"
        return [Finding(rule="divergence", severity="blocking", evidence=evidence, remedy=remedy)]
    if stays_above(losses, best, ONCE):
        evidence = (
            f"the training loss had fallen to {best:.4g} around step {steps[at]:g} and is at least "
            f"{min(losses[-SUSTAINED:]):.4g} in the last {SUSTAINED} log records"
        )
        return [Finding(rule="divergence", severity="blocking", evidence=evidence, remedy=remedy)]
    now, before = min(losses[-SUDDEN_RECORDS:]), losses[len(losses) // 2 : -SUDDEN_RECORDS]
    if now > max(SUDDEN * best, best + SUDDEN, best + 10 * deviation, *before):
        evidence = (
            f"the training loss had fallen to {best:.4g} around step {steps[at]:g} and is at least {now:.4g} in the last "
            f"{SUDDEN_RECORDS} log records, more than in the half before"
        )
        return [Finding(rule="divergence", severity="blocking", evidence=evidence, remedy=remedy)]
    spikes = [i for i in range(width, len(losses)) if losses[i] > 2 * median(losses[i - width : i + width + 1]) + 0.1]
    if not spikes:
        return []
    worst = max(spikes, key=lambda i: losses[i])
    evidence = (
        f"the training loss jumps to {losses[worst]:.4g} at step {steps[worst]:g} ({len(spikes)} such log records) "
    )
    if spikes[-1] == len(losses) - 1:
        evidence += "and the log ends there: too few records to tell a spike from a divergence"
    else:
        evidence += "and recovers"
    remedy = "look at the data of these batches; lower the learning rate"
    return [Finding(rule="loss_spikes", severity="warning", evidence=evidence, remedy=remedy)]


def vanished(log: Log) -> list[Finding]:
    """A loss of 0: all labels are masked, or the data are memorized."""
    if log.rewards:
        return []
    zeros = _zeros(log)
    if any(finding.severity == "blocking" for finding in zeros):
        return zeros
    losses, dev = log.finite, log.finite_dev
    passes = log.epoch[-1][1] if log.epoch else 0.0
    third = median(losses[-max(1, len(losses) // 3) :])
    late = passes > PASSES and third < min(MEMORIZED_LATE, 0.1 * log.start)
    low_dev = bool(dev) and dev[-1][1] < 10 * max(third, NOTHING_LEFT)
    # Where most answers are certain and a few wrong, most records are nearly 0 and the loss, which is their mean, is not.
    nothing_left = log.end < NOTHING_LEFT and mean(losses[-math.ceil(len(losses) / 10) :]) < MEMORIZED
    certain = nothing_left or (low_dev and dev[-1][1] < NOTHING_LEFT) or (not dev and (third < MEMORIZED or late))
    if not certain and log.end >= MEMORIZED and (passes <= 2 or log.end >= min(0.1 * log.start, 0.2)):
        return zeros
    evidence = f"the training loss goes from {log.start:.4g} to {log.end:.2g}, with {third:.2g} in the last third"
    evidence += f", after {passes:.1f} epochs" if passes else ""
    evidence += f"; the dev loss ends at {dev[-1][1]:.2g}" if dev else "; no dev loss shows whether it generalizes"
    remedy = "look for answers that stand in the prompt, for rows shared with dev, and for repeated rows; fewer epochs"
    # A classifier can be as certain of rows that it never saw: its own measure decides.
    severity = "blocking" if certain and len(losses) >= UNDECIDABLE and not (low_dev and log.scored) else "warning"
    return [*zeros, Finding(rule="memorized", severity=severity, evidence=evidence, remedy=remedy)]


def carries_nothing(loss: float, norm: float | None) -> bool:
    """Whether a log record has a loss of exactly 0, and no gradient that shows that it was only rounded to 0."""
    return loss == 0.0 and not (norm is not None and 0.0 < norm < math.inf)


def _zeros(log: Log) -> list[Finding]:
    """Records with a loss of exactly 0: sustained, all labels are masked; now and then, rounding or a fully masked batch."""
    norms, records = dict(log.norm), len(log.loss)
    zeros = sum(value == 0.0 for _, value in log.loss)
    if not zeros:
        return []
    empty = [carries_nothing(value, norms.get(step)) for step, value in log.loss]
    longest = max((len(list(run)) for is_empty, run in groupby(empty) if is_empty), default=0)
    lasting = longest >= VANISHED_RECORDS or sum(empty) > max(1, VANISHED_SHARE * records)
    evidence = f"the training loss is exactly 0 at {zeros} of {records} log records"
    evidence += f", {longest} in a row without a gradient norm above 0" if longest else ", yet there is a gradient"
    if lasting:
        remedy = "all labels are masked, or float16 overflowed: look at the mask audit and the precision"
        return [Finding(rule="zero_loss", severity="blocking", evidence=evidence, remedy=remedy)]
    remedy = "harmless where it is rounding: many versions of transformers log 4 decimals, and one or two certain tokens have less"
    remedy += "; otherwise all labels of these batches are masked: look at the mask audit" if longest else ""
    return [Finding(rule="zero_loss", severity="warning", evidence=evidence, remedy=remedy)]


def level(log: Log) -> list[Finding]:
    """A loss at the end that no pretrained language model has, with or without learning."""
    if log.rewards or len(log.finite) < 3 or log.end <= BROKEN:
        return []
    dev = [value for _, value in log.finite_dev]
    both_fell = gained(log) and log.end < GAINED * log.start
    if both_fell and dev[0] > UNTRAINED and log.end < 1.5 * dev[-1] < 1.5 * SCALE * log.end:
        evidence = (
            f"the training loss goes from {log.start:.4g} to {log.end:.4g} and the dev loss from {dev[0]:.4g} to {dev[-1]:.4g}: "
            "no cross entropy of tokens begins there, trained or not"
        )
        remedy = (
            "harmless for another kind of loss (regression, CTC, a sum over the tokens); otherwise look at the labels"
        )
        return [Finding(rule="loss_level", severity="warning", evidence=evidence, remedy=remedy)]
    evidence = (
        f"the training loss ends at {log.end:.4g}, a probability of {math.exp(-log.end):.1g} per token: no pretrained "
        "language model is that bad"
    )
    remedy = (
        "the loss is summed instead of averaged (over accumulation steps: transformers before 4.46), or the weights, "
        "tokenizer, labels or precision are broken"
    )
    return [Finding(rule="loss_level", severity="blocking", evidence=evidence, remedy=remedy)]


def few_records(log: Log) -> list[Finding]:
    """A log with too few records for the other rules to see much, or anything: a trend takes three points."""
    n, evaluations = len(log.loss), len(log.dev)
    if n >= FEW:
        return []
    if max(n, evaluations) < UNDECIDABLE:
        evidence = f"too few log records to judge: {n} of training and {evaluations} of evaluation"
        remedy = "set logging_steps to a tenth of the steps or less, and evaluate at least three times"
        return [Finding(rule="few_log_records", severity="blocking", evidence=evidence, remedy=remedy)]
    evidence = f"only {n} log record{'s' if n != 1 else ''}: the other rules see little"
    severity = "warning" if n < VERY_FEW else "info"
    return [Finding(rule="few_log_records", severity=severity, evidence=evidence, remedy="lower logging_steps")]

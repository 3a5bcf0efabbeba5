"""Gradient norm: non-finite, exactly zero, exploding, missing."""

import math
from dataclasses import replace
from itertools import groupby
from statistics import median

from sft_pipeline.artifacts import Finding
from sft_pipeline.diagnosis.log import Log
from sft_pipeline.diagnosis.rules.dev_loss import gained
from sft_pipeline.diagnosis.rules.loss import SUSTAINED, TREND, falls

GROWN, CLIP, ABSURD = 10.0, 1.0, 1000.0
"""Growth of the norm over its level after the warm-up that no healthy run shows (the public ones stay below 6); the
usual clip, below which a norm is harmless however much it grew; and a norm that is out of any proportion, whatever it
began with: the few healthy public runs that show one recorded it on another scale, which dev reveals."""

UNMEASURED_FALL, CHANCE, MANY = 0.1, 1e-3, 20
"""Fall of the loss, relative, that a run without gradients can only have by noise: then the norm was not measured; the
probability with which noise may cause the ranks of the losses to fall as they do; log records from which on standard
errors are reliable."""


def not_finite(log: Log) -> list[Finding]:
    """Now and then it is a step that a loss scaler skipped; sustained, or at the end, the run has diverged."""
    bad = [step for step, value in log.norm if not math.isfinite(value)]
    if not bad:
        return []
    lasting = len(bad) > 0.05 * len(log.norm) and len(bad) > 1 or bad[-1] == log.norm[-1][0]
    return [
        Finding(
            rule="non_finite_gradient",
            severity="blocking" if lasting else "info",
            evidence=f"the gradient norm is non-finite at {len(bad)} of {len(log.norm)} log records, first at step {bad[0]:g}",
            remedy="lower the learning rate or train in bfloat16" if lasting else "",
        )
    ]


def zero(log: Log) -> list[Finding]:
    """A gradient norm of exactly 0 means that no trainable weight takes part in the loss."""
    if not log.norm:
        evidence = "the log holds no gradient norm: zero or exploding gradients would not show"
        return [Finding(rule="gradient_norm_missing", severity="info", evidence=evidence)]
    zeros = sum(value == 0.0 for _, value in log.norm)
    if not zeros:
        return []
    evidence = f"the gradient norm is exactly 0 at {zeros} of {len(log.norm)} log records"
    if zeros == len(log.norm) and (fall := _fall_without_norm(log)):
        evidence += f", yet the training loss falls by {fall:.0%} over these records: the norm was not measured"
        remedy = (
            "some launchers record 0 for a norm they do not compute; log the real norm to detect exploding gradients"
        )
        return [Finding(rule="gradient_norm_unmeasured", severity="warning", evidence=evidence, remedy=remedy)]
    longest = max(len(list(run)) for is_zero, run in groupby(log.norm, lambda point: point[1] == 0.0) if is_zero)
    # With rewards a step has no gradient whenever the answers to a prompt are all as good as each other.
    unhealthy = zeros > max(1, len(log.norm) / 2) or (longest >= SUSTAINED and not log.rewards)
    remedy = (
        "no trainable weight reaches the loss: check that the adapter is attached and requires gradients, that gradient "
        "checkpointing keeps them (enable_input_require_grads), and that labels are not all masked"
    )
    evidence += f", {longest} in a row"
    return [
        Finding(rule="zero_gradient", severity="blocking" if unhealthy else "warning", evidence=evidence, remedy=remedy)
    ]


def _fall_without_norm(log: Log) -> float:
    """Relative fall of the loss over the records with a norm, where it is large and not noise; otherwise 0.

    With a gradient of 0 the loss still varies with the data, so that a few records can lie as far apart.
    """
    steps = {step for step, _ in log.norm}
    log = replace(log, loss=[point for point in log.loss if point[0] in steps])
    if len(log.finite) < 3 or not min(log.finite) > 0:
        return 0.0
    from scipy.stats import spearmanr

    early, late, error, ends, error_ends = falls(log)
    fall = 1 - late / early
    if len(set(log.finite)) == 1:
        return 0.0
    trend = spearmanr(range(len(log.finite)), log.finite, alternative="less").pvalue
    # With few records an end is one of them, and their scatter is itself a guess: there only the ranks decide.
    many = len(log.finite) >= MANY
    fell = trend < CHANCE or (many and (fall > TREND * error or ends > TREND * error_ends))
    return max(fall, ends) if fell and max(fall, ends) > UNMEASURED_FALL else 0.0


def exploding(log: Log) -> list[Finding]:
    """A gradient norm that has grown by an order of magnitude and stays there, or is out of any proportion.

    The level before is the lower quartile of the first third after the warm-up, so that an explosion which begins within
    it does not raise its own measure.
    """
    norms = [value for _, value in log.norm if math.isfinite(value)]
    n = len(norms)
    if n < 10:
        return []
    late = median(norms[-(n // 3) :])
    remedy = "lower the learning rate, lengthen the warm-up, and look at the data where it begins"
    warm_up = min(_warm_up(log), n // 10)
    level = sorted(norms[warm_up : n // 3 + warm_up])[(n // 3) // 4]
    if late > ABSURD and late <= level and gained(log):
        evidence = (
            f"the gradient norm is {late:.3g} in the last third and {level:.3g} after the warm-up, yet the dev loss falls from "
            f"{log.finite_dev[0][1]:.4g} to {log.finite_dev[-1][1]:.4g}: it is of another scale"
        )
        remedy = "some versions record the norm before the loss scale of float16 is taken out, or of a sum"
        return [Finding(rule="gradient_norm_scale", severity="warning", evidence=evidence, remedy=remedy)]
    if late > ABSURD:
        evidence = (
            f"the gradient norm is {late:.3g} in the last third; clipping at 1 leaves {1 / late:.1g} of each gradient"
        )
        return [Finding(rule="exploding_gradient", severity="blocking", evidence=evidence, remedy=remedy)]
    large = [value > max(GROWN * level, CLIP) for value in norms]
    tail = max(median(norms[-math.ceil(n / 10) :]), min(norms[-SUSTAINED:]))  # a long log may end soon after it began
    if not level or not (sum(large) >= n / 3 or tail > max(GROWN * level, CLIP)):
        return []
    top = median(value for value, is_large in zip(norms, large, strict=True) if is_large)
    sustained = sum(large) >= n / 3 or (tail > GROWN**2 * level and all(large[-3:]))
    evidence = (
        f"the gradient norm is around {top:.3g} at {sum(large)} of {n} log records, {top / level:.0f} times the {level:.3g} "
        f"after the warm-up, and ends at {tail:.3g}"
    )
    severity = "blocking" if sustained and max(top, tail) > GROWN * CLIP else "warning"
    return [Finding(rule="exploding_gradient", severity=severity, evidence=evidence, remedy=remedy)]


def idle_modules(log: Log) -> list[Finding]:
    """Adapted modules that never have a gradient, while others have: their adapters stay what they were."""
    idle = [name for name, norms in log.module_norms.items() if not any(value for _, value in norms)]
    if not idle or len(idle) == len(log.module_norms):
        return []
    evidence = f"the gradient norm of {', '.join(idle)} is exactly 0 in every log record, that of other modules is not"
    remedy = "these modules take no part in the loss: leave them out of lora.target_modules, or find what detaches them"
    return [Finding(rule="zero_gradient_of_a_module", severity="warning", evidence=evidence, remedy=remedy)]


def clipped(log: Log) -> list[Finding]:
    """Where most steps are clipped, the clip sets the length of the gradient that the optimiser averages."""
    share = clipped_share(log)
    if share is None or share <= 0.5:
        return []
    evidence = (
        f"{share:.0%} of the steps had their gradient clipped: its norm says little, its direction is what is learned"
    )
    return [Finding(rule="gradient_clipped", severity="info", evidence=evidence)]


def clipped_share(log: Log) -> float | None:
    """Share of all steps whose gradient was clipped; None where the log does not say."""
    if not log.clipped:
        return None
    before = [0.0, *(step for step, _ in log.clipped)]
    return sum((step - last) * share for last, (step, share) in zip(before, log.clipped, strict=False)) / before[-1]


def _warm_up(log: Log) -> int:
    """Log records before the learning rate reaches its peak."""
    rates = [value for _, value in log.rate if math.isfinite(value)]
    return next((i for i, value in enumerate(rates) if value >= 0.99 * max(rates)), 0)

"""Gradient norm: not finite, exactly zero, growing, missing."""

import math
from itertools import groupby
from statistics import median

from sft_pipeline.artifacts import Finding
from sft_pipeline.training.curves import Log

ZERO_ROWS = 5
"""Consecutive log rows with a gradient norm of exactly 0 that prove that nothing is trained."""

UNMEASURED_FALL = 0.1
"""Fall of the loss, relative, that a run without gradients cannot have: then the norm was not measured."""


def not_finite(log: Log) -> list[Finding]:
    """Now and then it is a step that a loss scaler skipped; lasting, or at the end, the run is lost."""
    bad = [step for step, value in log.norm if not math.isfinite(value)]
    if not bad:
        return []
    lasting = len(bad) > 0.05 * len(log.norm) and len(bad) > 1 or bad[-1] == log.norm[-1][0]
    return [
        Finding(
            rule="non_finite_gradient",
            severity="blocking" if lasting else "info",
            evidence=f"the gradient norm is not finite at {len(bad)} of {len(log.norm)} log rows, first at step {bad[0]:g}",
            remedy="lower the learning rate or train in bfloat16" if lasting else "",
        )
    ]


def zero(log: Log) -> list[Finding]:
    """A gradient norm of exactly 0 means that no trainable weight takes part in the loss."""
    if not log.norm:
        evidence = "the log holds no gradient norm: zero or exploding gradients cannot be seen"
        return [Finding(rule="gradient_norm_missing", severity="info", evidence=evidence)]
    zeros = sum(value == 0.0 for _, value in log.norm)
    if not zeros:
        return []
    evidence = f"the gradient norm is exactly 0 at {zeros} of {len(log.norm)} log rows"
    if zeros == len(log.norm) and len(log.finite) > 2 and log.start > 0 and log.end < (1 - UNMEASURED_FALL) * log.start:
        evidence += f", yet the training loss falls from {log.start:.4g} to {log.end:.4g}: the norm was not measured"
        remedy = "some launchers record 0 for a norm they do not compute; log the real norm to see exploding gradients"
        return [Finding(rule="gradient_norm_unmeasured", severity="warning", evidence=evidence, remedy=remedy)]
    longest = max(len(list(run)) for is_zero, run in groupby(log.norm, lambda point: point[1] == 0.0) if is_zero)
    sick = longest >= ZERO_ROWS or zeros > max(1, len(log.norm) / 2)
    remedy = (
        "no trainable weight reaches the loss: check that the adapter is attached and requires gradients, that gradient "
        "checkpointing keeps them (enable_input_require_grads), and that labels are not all masked"
    )
    evidence += f", {longest} in a row"
    return [Finding(rule="zero_gradient", severity="blocking" if sick else "warning", evidence=evidence, remedy=remedy)]


def exploding(log: Log) -> list[Finding]:
    """A gradient norm that has grown by an order of magnitude at the end; whether it did harm, the loss tells."""
    norms = [value for _, value in log.norm if math.isfinite(value)]
    if len(norms) < 10 or not median(norms):
        return []
    tail = median(norms[-math.ceil(len(norms) / 10) :])
    if tail < 10 * median(norms):
        return []
    evidence = f"the gradient norm ends at {tail:.3g}, {tail / median(norms):.0f} times its median over the run"
    remedy = "lower the learning rate or max_grad_norm"
    return [Finding(rule="exploding_gradient", severity="warning", evidence=evidence, remedy=remedy)]

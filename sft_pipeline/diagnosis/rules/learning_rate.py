"""Learning rate and amount of training: out of range, decayed too early, a plateau before the decay, coverage, epochs."""

import math
from statistics import median

from sft_pipeline.artifacts import Finding
from sft_pipeline.diagnosis.log import Log
from sft_pipeline.diagnosis.rules.loss import PASSES, SLOW
from sft_pipeline.experiment import Training

NEGLIGIBLE = 0.01
"""Share of the peak below which the learning rate does next to nothing."""

LOWEST, HIGHEST = 1e-6, 1e-2
"""Peak learning rates between which fine-tuning by AdamW works in practice: large models at 1e-6, toy ones at 4e-3."""

LOWEST_REWARDS = 1e-7
"""The same lower end for reinforcement and preference learning, whose records lie between 5e-7 and 5e-6."""

NOTHING, TOO_HIGH = 1e-8, 3e-2
"""Peak learning rates below and above which training fails: a step of AdamW moves a weight by about the rate, so 10,000
steps at 1e-8 move it by 1e-4, half a percent of a usual weight (0.02), while one step at 3e-2 is larger than the weight.
Prompts and prefixes beside a frozen model are trained with 2e-2 to 3e-2."""

FIRST = 0.9
"""Share of the peak rate that the highest log record may show, since it follows the first steps of the decay."""

QLORA = (1e-4, 5e-4)
"""Peak learning rates that an adapter on a quantised base is usually trained with: 1e-4 to 2e-4 in the records."""

LORA = (1e-5, 1e-3)
"""Peak learning rates that an adapter on other bases is usually trained with."""


def out_of_range(log: Log) -> list[Finding]:
    """A learning rate that trains nothing, or that destroys any model."""
    rates = [value for _, value in log.rate if math.isfinite(value)]
    if not rates or (len(rates) == 1 and rates[0] < LOWEST):  # the only record may be the end of a decay
        return []
    peak = max(rates)
    if peak == 0:
        evidence = f"the learning rate is 0 in all {len(rates)} log records"
        remedy = "no weight is trained: check scheduler, warm-up and number of steps"
        return [Finding(rule="learning_rate", severity="blocking", evidence=evidence, remedy=remedy)]
    low = LOWEST_REWARDS if log.rewards else LOWEST
    still = len(log.finite) > 2 and log.start and log.end > (1 - SLOW) * log.start
    if low <= peak < QLORA[0] and still and not log.rewards:
        evidence = f"the peak learning rate is {peak:g} and the loss hardly falls; adapters usually take 1e-4 to 2e-4"
        remedy = "if an adapter was trained, and its gradients are not zero: raise learning_rate to 1e-4 or 2e-4"
        return [Finding(rule="learning_rate_low", severity="warning", evidence=evidence, remedy=remedy)]
    if low <= peak <= HIGHEST:
        return []
    hopeless = not FIRST * NOTHING <= peak <= TOO_HIGH
    low, high = (NOTHING, TOO_HIGH) if hopeless else (low, HIGHEST)
    evidence = f"the peak learning rate is {peak:g}, outside {low:g} to {high:g}"
    remedy = "with AdamW 2e-4 is a common start for an adapter, 1e-5 to 2e-5 for all weights"
    if log.rewards:
        remedy = "with AdamW 5e-7 to 5e-6 is common where rewards or preferences are learned"
    return [
        Finding(rule="learning_rate", severity="blocking" if hopeless else "warning", evidence=evidence, remedy=remedy)
    ]


def spent(log: Log) -> list[Finding]:
    """Steps at the end in which the learning rate was too small to matter."""
    rates = [(step, value) for step, value in log.rate if math.isfinite(value)]
    if len(rates) < 10:
        return []
    peak = max(value for _, value in rates)
    if not peak or rates[-1][1] >= NEGLIGIBLE * peak:
        return []
    ended = next(i for i in range(len(rates)) if all(value < NEGLIGIBLE * peak for _, value in rates[i:]))
    share = (len(rates) - ended) / len(rates)
    evidence = (
        f"the learning rate decays from {peak:.2g} to {rates[-1][1]:.2g} and is below 1 % of its peak from step "
        f"{rates[ended][0]:g} on ({share:.0%} of the log)"
    )
    if share < 0.05:  # every schedule that ends at 0 has such a tail
        return []
    remedy = "more steps after this point need a schedule that ends later" if share > 0.2 else ""
    return [Finding(rule="rate_spent", severity="warning" if share > 0.2 else "info", evidence=evidence, remedy=remedy)]


def plateau(log: Log) -> list[Finding]:
    """A loss that did not change over the middle of the run, while the learning rate was still high."""
    losses, rates = log.finite, dict(log.rate)
    if len(losses) < 20 or not rates or log.rewards:
        return []
    peak = max(rates.values())
    n = len(losses)
    early, late = losses[n // 4 : n // 2], losses[n // 2 : 3 * n // 4]
    rate = rates.get(log.steps[n // 2], 0.0)
    fall = 1 - median(late) / median(early) if median(early) else 0.0
    if not peak or rate < 0.5 * peak or abs(fall) >= 0.005 or len(set(rates.values())) == 1:
        return []
    return [
        Finding(
            rule="plateau",
            severity="info",
            evidence=f"the training loss is {median(early):.4g} and {median(late):.4g} in the second and third quarter "
            f"({-fall:+.2%}), while the learning rate at step {log.steps[n // 2]:g} is still {rate / peak:.0%} of its peak",
            remedy="the decay did not stop it: another rate, more capacity (rank, modules) or other data, or it has converged",
        )
    ]


def coverage(log: Log, train_rows: int | None, effective_batch: int | None, training: Training | None) -> list[Finding]:
    """How much of the data the run has seen; by its own log where nothing else is known."""
    if train_rows and effective_batch:
        steps = log.loss[-1][0]
        seen = int(steps * effective_batch)
        wanted = min(1.0, training.min_coverage) if training else 1.0
        if seen / train_rows >= 0.999 * wanted:
            return []
        return [
            Finding(
                rule="coverage",
                severity="warning",
                evidence=f"coverage {seen / train_rows:.3g} epochs: {steps:,.0f} steps × {effective_batch} = {seen:,} of "
                f"{train_rows:,} rows",
                remedy=f"train for at least {math.ceil(train_rows * wanted / effective_batch):,} steps",
            )
        ]
    passes = max((value for _, value in log.epoch), default=1.0)
    if passes >= 0.9:
        return []
    evidence = f"coverage {passes:.3g} epochs, by the log: {1 - passes:.0%} of the rows were never seen"
    severity = "warning" if passes < 0.2 else "info"
    remedy = "train for a whole epoch, unless so few rows are meant to suffice"
    return [Finding(rule="coverage", severity=severity, evidence=evidence, remedy=remedy)]


def epochs_without_dev(log: Log) -> list[Finding]:
    """Many passes over the data, of which no dev loss shows whether they still generalize."""
    passes = max((value for _, value in log.epoch), default=0.0)
    if passes <= PASSES or log.dev or log.rewards:
        return []
    evidence = f"{passes:.3g} epochs without an evaluation: from which one on the model overfits cannot be seen"
    remedy = "evaluate on a dev split (eval_steps) and keep the best checkpoint, or train for 1 to 3 epochs"
    return [Finding(rule="epochs_without_dev", severity="warning", evidence=evidence, remedy=remedy)]

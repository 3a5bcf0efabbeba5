"""Reinforcement and preference learning: what should rise, and the loss as far as it can be judged."""

import math
from collections.abc import Sequence
from statistics import mean, pstdev, pvariance

from sft_pipeline.artifacts import Finding
from sft_pipeline.diagnosis.log import PAIR_KEY, Log, last, noise
from sft_pipeline.diagnosis.rules.loss import MEMORIZED, NOTHING_LEFT, UNDECIDABLE

FEWEST = 12
"""Log records below which a reward, which scatters with the sampled answers, shows no trend by its thirds."""

FEWEST_RANKS, CHANCE = 5, 0.01
"""Log records below which not even a steady fall shows a trend, and the probability with which chance may cause it: five
values fall one after the other once in 120 draws."""

RISEN, FALLEN = 2.0, 4.0
"""Standard errors by which the last third has to lie above the first to have risen, and below it to have collapsed."""


def trend(log: Log) -> list[Finding]:
    """A reward that collapses, which blocks, and one that falls or does not rise, which warns.

    The first of the `gains` is what the training is for; of the others only a fall is reported.
    """
    found = []
    for number, (key, series) in enumerate(log.gains.items()):
        values = [value for _, value in series if math.isfinite(value)]
        found += _trend(key, values, log.pairs, main=number == 0)
    return found


def _trend(key: str, values: Sequence[float], pairs: bool, main: bool) -> list[Finding]:
    from scipy.stats import spearmanr

    n, third = len(values), len(values) // 3
    if n < FEWEST_RANKS or len(set(values)) == 1 and n < FEWEST:
        return []
    name = "margin of the rewards" if key == "rewards/margins" else f"reward ({key})"
    remedy = "look at the answers: the policy may have collapsed or exploit the reward; lower the rate, raise beta"
    if key == PAIR_KEY:
        remedy = (
            "the chosen answers become less likely than under the reference, which preference losses allow while the margin "
            "grows: look at the answers; lower the rate, raise beta, or add a likelihood term (rpo_alpha)"
        )
    if n < FEWEST:
        if not spearmanr(range(n), values, alternative="less").pvalue < CHANCE:
            return []
        evidence = f"the {name} falls from {values[0]:.4g} to {values[-1]:.4g} over {n} log records"
        return [Finding(rule="reward_falls", severity="warning", evidence=evidence, remedy=remedy)]
    first_third, last_third = values[:third], values[-third:]
    early, late = mean(first_third), mean(last_third)
    rise, error = late - early, math.sqrt((pvariance(first_third) + pvariance(last_third)) / third)
    evidence = f"the {name} has a mean of {early:.4g} in the first third and {late:.4g} in the last"
    # Over many records a small fall is significant as well; one by the scatter of the records is not harder prompts.
    if main and rise < -FALLEN * error and -rise > pstdev(first_third):
        return [Finding(rule="reward_falls", severity="blocking", evidence=evidence, remedy=remedy)]
    if rise < -RISEN * error:
        return [Finding(rule="reward_falls", severity="warning", evidence=evidence, remedy=remedy)]
    width = max(3, n // 10)
    best, end = max(mean(values[i : i + width]) for i in range(n - width + 1)), mean(values[-width:])
    # The best window is the luckiest of many: the fall has to exceed its noise, and half of what was gained.
    if best - end > max(5 * noise(values) * math.sqrt(2 / width), 0.5 * (best - early)):
        evidence = f"the {name} had risen to {best:.4g} and ends at {end:.4g} (means over {width} log records)"
        return [Finding(rule="reward_falls", severity="warning", evidence=evidence, remedy=remedy)]
    if not main or rise > RISEN * error:
        return []
    evidence += ": it does not rise beyond its noise"
    remedy = "nothing was learned, or the reward was at its maximum; look at the share of groups whose rewards differ"
    return [Finding(rule="reward_flat", severity="warning", evidence=evidence, remedy=remedy)]


def pairs_memorized(log: Log) -> list[Finding]:
    """A loss of pairs that leaves nothing to learn: the two are separated with a probability of 0.999."""
    losses = log.finite
    if not log.pairs or len(losses) < UNDECIDABLE:
        return []
    tail = mean(losses[-math.ceil(len(losses) / 10) :])
    if not (abs(log.end) < NOTHING_LEFT and abs(tail) < MEMORIZED):
        return []
    margins = log.gains.get("rewards/margins", ())
    evidence = f"the loss of the pairs goes from {log.start:.4g} to {log.end:.2g}"
    evidence += f", and the margin of their rewards to {last([value for _, value in margins]):.3g}" if margins else ""
    remedy = "the pairs are memorized, or differ in their format: fewer epochs, a lower rate, harder pairs"
    return [Finding(rule="memorized", severity="blocking", evidence=evidence, remedy=remedy)]


def reward_log(log: Log) -> list[Finding]:
    """Reports that the rules for a cross entropy were left out."""
    if not log.rewards:
        return []
    evidence = "the log is one of reinforcement or preference learning: its loss need not fall, and is not judged"
    if log.pairs:
        evidence = (
            "the log is one of preference learning: of its loss only a rise above its start and an end at 0 count"
        )
    return [Finding(rule="reward_log", severity="info", evidence=evidence)]

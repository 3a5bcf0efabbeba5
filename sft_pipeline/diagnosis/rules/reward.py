"""What reinforcement and preference learning are to raise: the reward, or the margin between the answers of a pair."""

import math
from statistics import mean, pstdev, pvariance

from sft_pipeline.artifacts import Finding
from sft_pipeline.diagnosis.log import Log

FEWEST = 12
"""Log rows below which a reward, which scatters with the answers that were drawn, shows no course."""

RISEN, FALLEN = 2.0, 4.0
"""Standard errors by which the last third has to lie above the first to have risen, and below it to have fallen."""


def falling(log: Log) -> list[Finding]:
    """A reward that ends lower than it began, which blocks, or that does not rise."""
    gain = [value for _, value in log.gain if math.isfinite(value)]
    if len(gain) < FEWEST:
        return []
    third = len(gain) // 3
    early, late = gain[:third], gain[-third:]
    rise, error = mean(late) - mean(early), math.sqrt((pvariance(early) + pvariance(late)) / third)
    if rise > RISEN * error:
        return []
    name = "margin of the rewards" if log.pairs else "reward"
    evidence = f"the {name} has a mean of {mean(early):.4g} in the first third and {mean(late):.4g} in the last"
    # Many rows show a small fall as well; one by the scatter of the rows is none of harder prompts.
    if rise < -FALLEN * error and -rise > pstdev(early):
        remedy = "look at the answers: the policy collapsed or left the reward behind; lower the rate, raise beta"
        return [Finding(rule="reward_falls", severity="blocking", evidence=evidence, remedy=remedy)]
    evidence += ": it does not rise beyond its noise"
    remedy = "nothing was learned, or the reward was at its top; look at the share of groups whose rewards differ"
    return [Finding(rule="reward_flat", severity="warning", evidence=evidence, remedy=remedy)]

"""Is any of the best trials better than the default, on rows that took no part in the search?

A gain is shown only where neither the choice of the rows nor the choice of the seeds explains it: its p is the larger one of a
paired test over the rows and of a test against the spread between trainings that differ in their seed alone.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, variance
from typing import NamedTuple

from sft_pipeline.evaluation.statistics.paired import holm
from sft_pipeline.evaluation.statistics.scores import FLIPS, paired_scores

SAMPLES = 9_999
"""Samples of the bootstrap."""

Arm = Sequence[Mapping[str, tuple[float, float]]]
"""Trainings of one configuration, one for each seed: value and weight of each row, by id. A larger value is better."""


class Gain(NamedTuple):
    """How much better a configuration is than the default; the p-values are two-sided."""

    gain: float
    interval: tuple[float, float]
    p_rows: float
    p_seeds: float | None
    p: float
    p_adjusted: float
    better: bool


def compare(
    default: Arm, candidates: Sequence[Arm], clusters: Mapping[str, str | None], alpha: float, seed: int
) -> list[Gain]:
    """The gain of each candidate over the default, with Holm's adjustment over all of them.

    Args:
        default: trainings of the default.
        candidates: those of the others, with the same seeds.
        clusters: cluster of each row; only these rows are compared.
        alpha: level of the adjusted p-values.
        seed: of exchanges and bootstrap.
    """
    means = [_means(arm, clusters) for arm in (default, *candidates)]
    figures = [by_seed(arm, clusters) for arm in (default, *candidates)]
    names = list(clusters.values())
    seeds = _seed_p(figures)
    found = [paired_scores(means[0], own, names, SAMPLES, seed) for own in means[1:]]
    p = [max(rows.p, spread or 0.0) for rows, spread in zip(found, seeds)]
    return [
        Gain(rows.difference, rows.interval, rows.p, spread, worse, adjusted, adjusted <= alpha and rows.difference > 0)
        for rows, spread, worse, adjusted in zip(found, seeds, p, holm(p))
    ]


def by_seed(arm: Arm, ids: Mapping[str, object] | None = None) -> list[float]:
    """The figure of each training over these rows (all by default): the weighted mean of their values."""
    wanted = [[row for id, row in one.items() if ids is None or id in ids] for one in arm]
    return [sum(v * w for v, w in rows) / sum(w for _, w in rows) for rows in wanted]


def decidable(clusters: int, alpha: float, candidates: int) -> bool:
    """Whether any outcome could be shown as a gain: each independent cluster halves the smallest p, down to that of `FLIPS`."""
    return candidates * max(2 / 2**clusters, 1 / (FLIPS + 1)) <= alpha


def _means(arm: Arm, ids: Mapping[str, object]) -> list[float]:
    """Each row's mean over the seeds, scaled so that the mean over the rows is the figure."""
    scale = [fmean(one[id][1] for id in ids) for one in arm]
    return [fmean(one[id][0] * one[id][1] / mean for one, mean in zip(arm, scale)) for id in ids]


def _seed_p(figures: Sequence[Sequence[float]]) -> list[float | None]:
    """Two-sided p of each configuration's mean against the first one's, from the variance between seeds.

    Student's t-test with the variance pooled over all configurations, which few seeds need: with three seeds and four
    configurations it rests on eight degrees of freedom instead of four. Source: C. W. Dunnett, Journal of the American
    Statistical Association 50 (1955) 1096-1121; the adjustment is Holm's here.
    """
    from scipy.stats import t

    seeds = len(figures[0])
    if seeds < 2:
        return [None] * (len(figures) - 1)
    pooled = fmean(variance(one) for one in figures)
    found: list[float | None] = []
    for one in figures[1:]:
        difference = abs(fmean(one) - fmean(figures[0]))
        error = (2 * pooled / seeds) ** 0.5
        found.append(
            float(2 * t.sf(difference / error, len(figures) * (seeds - 1))) if error else float(difference == 0)
        )
    return found

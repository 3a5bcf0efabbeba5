"""The paired test of scores that are no booleans, such as F1 or a grade from 1 to 10."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_pipeline.evaluation.statistics.clusters import BLOCK, bootstrap_interval, numbered

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FLIPS = 9999
"""Random exchanges of the models beyond `EXACT` clusters: the smallest p is 0.0001."""

EXACT = 13
"""Clusters up to which all exchanges are tried, fewer than `FLIPS`."""


class PairedScores(NamedTuple):
    """Mean difference (model minus baseline) with its interval, two-sided p, and the number of clusters."""

    difference: float
    interval: tuple[float, float]
    p: float
    clusters: int


def paired_scores(
    base: Sequence[float], model: Sequence[float], clusters: Sequence[str | None], samples: int, seed: int
) -> PairedScores:
    """Sign-flip test and bootstrap of the mean difference, over whole clusters.

    The interval is the percentile interval of a bootstrap that draws clusters (Davison and Hinkley 1997, section 3.8).

    Args:
        base: scores of the baseline, by item.
        model: scores of the model, by item.
        clusters: cluster of each item; None is a cluster of its own.
        samples: bootstrap samples.
        seed: seed of the random numbers; the order of the items does not matter.
    """
    import numpy as np

    members, n = numbered(clusters)
    differences = np.asarray(model, dtype=float) - np.asarray(base, dtype=float)
    if n < 2:
        return PairedScores(float(differences.mean()) if n else 0.0, (float("-inf"), float("inf")), 1.0, n)
    sums, sizes = np.bincount(members, differences, minlength=n), np.bincount(members, minlength=n)
    order = np.lexsort((sizes, sums))
    sums, sizes = sums[order], sizes[order]
    rng = np.random.default_rng(seed)
    p = sign_flip_p(sums, rng)
    interval = bootstrap_interval(sums, sizes, np.ones(n), samples, rng)
    return PairedScores(float(differences.mean()), interval, p, n)


def sign_flip_p(sums: "npt.NDArray[Any]", rng: "np.random.Generator") -> float:
    """Two-sided p-value of no difference: each sum is as likely as its negative.

    The total is compared with those of exchanged models: all of them, or `FLIPS` random ones, of which the observed one counts
    as one. Nothing is assumed of the scale. Source: E. S. Edgington and P. Onghena, Randomization Tests (2007), chapters 3
    and 5.

    Args:
        sums: differences, one for each independent unit, shape (n,).
        rng: draws the exchanges where there are too many to try all.
    """
    import numpy as np

    n = len(sums)
    if n <= EXACT:
        up = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(float)
        totals, added = 2 * (up @ sums) - sums.sum(), 0
    else:
        rows = max(1, BLOCK // n)
        blocks = []
        for start in range(0, FLIPS, rows):
            count = min(rows, FLIPS - start)
            bits = np.frombuffer(rng.bytes(count * ((n + 7) // 8)), np.uint8).reshape(count, -1)
            blocks.append(2 * (np.unpackbits(bits, axis=1)[:, :n] @ sums) - sums.sum())
        totals, added = np.concatenate(blocks), 1
    tolerance = 1e-9 * float(np.abs(sums).sum())  # equal totals that were added in another order
    reached = int((np.abs(totals) >= abs(float(sums.sum())) - tolerance).sum())
    return (reached + added) / (len(totals) + added)

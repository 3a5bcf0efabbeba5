"""Items that belong together: test and interval of the lift that treat them as the one observation that they nearly are.

Ten questions about one text, or ten variants of one prompt, succeed and fail together. McNemar's test and Tango's interval
take them as ten independent items and are too sure of themselves. Here the test exchanges the models of whole clusters, and
the bootstrap draws whole clusters.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import GroupResult
from sft_pipeline.evaluation.statistics.paired import LEVEL, deciding_p, tango
from sft_pipeline.experiment import Gate

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BLOCK = 4_000_000
"""Most numbers of a block of bootstrap samples: 32 MB."""

SMALLEST = 1e-15
"""The smallest p over clusters: a smaller one is lost in the rounding of the convolution."""


def with_clusters(
    result: GroupResult,
    base: Sequence[bool],
    sft: Sequence[bool],
    clusters: Sequence[str | None],
    gate: Gate,
) -> GroupResult:
    """`result` with the number of its clusters, interval and p; unchanged where no two items share a cluster."""
    named = [cluster for cluster in clusters if cluster is not None]
    number = len(set(named)) + len(clusters) - len(named)
    if number == len(clusters):
        return result
    interval = cluster_interval(base, sft, clusters, gate.bootstrap_samples, gate.bootstrap_seed)
    p = cluster_p(base, sft, clusters)
    return result.model_copy(update={"clusters": number, "cluster_interval": interval, "cluster_p": p})


def clustered_p(result: GroupResult, test: str) -> float:
    """p of the deciding test; where items share clusters, the larger one of it and of the exact test over whole clusters."""
    return max(deciding_p(result, test), result.cluster_p or 0.0)


def cluster_p(base: Sequence[bool], sft: Sequence[bool], clusters: Sequence[str | None]) -> float:
    """Exact two-sided p-value of no difference, from exchanging the two models in every cluster independently.

    Under no difference the sum of won minus lost of a cluster is as likely as its negative, so the total is a sum of
    independent signs times known whole numbers: its distribution is a convolution of binomials, one for each size of sum.
    With a cluster for each item it is McNemar's exact test. It keeps its level with any number of clusters, which the
    bootstrap does not. Source: E. S. Edgington and P. Onghena, Randomization Tests (2007), chapter 5.

    Returns:
        The probability of a total at least as large in size, to within `SMALLEST`; 1 without discordant clusters.
    """
    import numpy as np
    from scipy.signal import fftconvolve
    from scipy.stats import binom

    _, (won, lost) = _totals(base, sft, clusters)
    sums = Counter(abs(int(x)) for x in won - lost if x)
    distribution = np.ones(1)  # of the sum over the clusters that went up, from 0
    for size, count in sums.items():
        steps = np.zeros(size * count + 1)
        steps[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        distribution = fftconvolve(distribution, steps)
    totals = 2 * np.arange(len(distribution)) - (len(distribution) - 1)
    reached = np.abs(totals) >= abs(int(won.sum()) - int(lost.sum()))
    return float(np.clip(distribution[reached].sum(), SMALLEST, 1.0))


def cluster_interval(
    base: Sequence[bool],
    sft: Sequence[bool],
    clusters: Sequence[str | None],
    samples: int,
    seed: int,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of the paired difference, from a bootstrap that draws whole clusters with replacement.

    Each sample draws as many clusters as there are; its lift is the sum of won minus lost over the sum of items. Source:
    A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application (1997), section 3.8, resampling at the upper
    level. Clusters with the same number of items and the same sum are interchangeable, so a sample is one multinomial draw
    over the distinct kinds of clusters, of which there are few, and not over the clusters.

    With few clusters (some 30) the interval is narrower than it should be, as every percentile bootstrap is. Where all
    clusters have the same lift there is nothing to draw from; then the interval is Tango's with each cluster as one item.

    Args:
        base: success of the base, by item.
        sft: success of the fine-tuned model, by item.
        clusters: cluster of each item; None is a cluster of its own.
        samples: bootstrap samples.
        seed: seed of the random numbers; the order of the items does not matter.
        level: confidence level.

    Returns:
        Lower and upper bound; (-1, 1) for no items and for a single cluster, from which no spread can be seen.

    Raises:
        ValueError: the sequences differ in length.
    """
    import numpy as np

    if not len(base) == len(sft) == len(clusters):
        raise ValueError(f"{len(base)} base and {len(sft)} fine-tuned outcomes, but {len(clusters)} clusters")
    sizes, sums = _totals(base, sft, clusters)
    if len(sizes) < 2:
        return -1.0, 1.0
    n, won, lost = int(sizes.sum()), int(sums[0].sum()), int(sums[1].sum())
    lifts = sums[0] - sums[1]
    if (lifts * n == (won - lost) * sizes).all():
        # Cross-multiplied: equal lifts must be seen as equal to the last bit.
        return tango(lost * len(sizes) / n, won * len(sizes) / n, len(sizes), level)

    # The same random numbers for a comparison and for its mirror image: exchanging the models mirrors the interval.
    table, mirrored = _kinds(sizes, lifts), _kinds(sizes, -lifts)
    flipped = mirrored < table
    size, lift, count = np.array(min(table, mirrored)).T
    low, high = bootstrap_interval(lift, size, count, samples, np.random.default_rng(seed), level)
    if mirrored == table:
        low, high = (low - high) / 2, (high - low) / 2
    return (-high, -low) if flipped else (low, high)


def bootstrap_interval(
    sums: "npt.NDArray[Any]",
    sizes: "npt.NDArray[Any]",
    counts: "npt.NDArray[Any]",
    samples: int,
    rng: "np.random.Generator",
    level: float = LEVEL,
) -> tuple[float, float]:
    """Percentile interval of the mean over items, from `samples` draws of as many clusters as there are.

    Args:
        sums: of the items' values, by kind of cluster.
        sizes: number of items, by kind of cluster.
        counts: number of clusters of each kind.
        samples: bootstrap samples.
        rng: gives the random numbers.
        level: confidence level.
    """
    import numpy as np

    number, block, drawn = int(counts.sum()), max(1, BLOCK // len(counts)), []
    for start in range(0, samples, block):
        weights = rng.multinomial(number, counts / number, size=min(block, samples - start))
        drawn.append((weights @ sums) / (weights @ sizes))
    low, high = np.quantile(np.concatenate(drawn), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def numbered(clusters: Sequence[str | None]) -> tuple["npt.NDArray[Any]", int]:
    """Number of each item's cluster, from 0, and how many clusters there are; None is a cluster of its own."""
    import numpy as np

    index: dict[str | int, int] = {}  # an item without a cluster has its number as key, which is equal to no name
    found = [index.setdefault(k if c is None else c, len(index)) for k, c in enumerate(clusters)]
    return np.array(found, dtype=int), len(index)


def _totals(
    base: Sequence[bool], sft: Sequence[bool], clusters: Sequence[str | None]
) -> tuple["npt.NDArray[Any]", "npt.NDArray[Any]"]:
    """By cluster its number of items, shape (clusters,), and its won and lost pairs, shape (2, clusters)."""
    import numpy as np

    members, number = numbered(clusters)
    before, after = np.asarray(base, dtype=bool), np.asarray(sft, dtype=bool)
    sizes = np.bincount(members, minlength=number)
    pairs = [np.bincount(members[which], minlength=number) for which in (after & ~before, before & ~after)]
    return sizes, np.stack(pairs)


def _kinds(sizes: "npt.NDArray[Any]", lifts: "npt.NDArray[Any]") -> list[tuple[int, int, int]]:
    """Items, won minus lost, and number of the clusters of each kind, in order."""
    return sorted((size, lift, count) for (size, lift), count in Counter(zip(sizes.tolist(), lifts.tolist())).items())

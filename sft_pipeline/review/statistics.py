"""What people's choices say: preference weighted back to all pairs, agreement, position, and whether a rater can be believed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import Estimate, RaterAgreement
from sft_pipeline.evaluation.statistics.kappa import cohens_kappa
from sft_pipeline.evaluation.statistics.paired import tango, wilson
from sft_pipeline.evaluation.statistics.scores import sign_flip_p

if TYPE_CHECKING:
    import numpy.typing as npt

SAMPLES = 1000
SEED = 11


def share(count: int, n: int) -> Estimate:
    """A share with Wilson's interval."""
    return Estimate(value=count / n if n else 0.0, interval=wilson(count, n), n=n)


def position(sides: Sequence[str]) -> Estimate:
    """Share of choices for the first answer minus that for the second, with Tango's interval.

    Where either model is first equally often, what the answers say cancels out.
    """
    first, second, n = sides.count("first"), sides.count("second"), len(sides)
    return Estimate(value=(first - second) / n if n else 0.0, interval=tango(second, first, n), n=n)


def net_preference(scores: Mapping[str, Sequence[float]], population: Mapping[str, int]) -> Estimate:
    """Mean of the items' scores (-1 for the base to 1), each stratum by its share of all pairs, with a t interval.

    Strata without a judged item are left out, and the others stand for them. A stratum of one item takes the spread of
    all. W. G. Cochran, Sampling Techniques (1977), sections 5.2 to 5.4, without the correction for a finite population: the
    items stand for others like them. Where all of a stratum are alike, in each of them, the spread is unknown and not zero: then
    Tango's intervals of the strata are combined (G. Y. Zou and A. Donner, Statistics in Medicine 27, 2008, 1693-1702).

    Args:
        scores: of the judged items, by stratum.
        population: number of pairs by stratum; `identical` ones score 0 and need not be judged.
    """
    import numpy as np
    from scipy.stats import t

    total = sum(size for name, size in population.items() if scores.get(name) or name == "identical")
    everything = [score for values in scores.values() for score in values]
    n = len(everything)
    if n < 2:
        return Estimate(value=everything[0] if everything else 0.0, interval=(-1.0, 1.0), n=n)
    pooled, value = float(np.var(everything, ddof=1)), 0.0
    parts, alike = [], []
    for name, values in scores.items():
        if values:
            part, m, mean = population[name] / total, len(values), float(np.mean(values))
            value += part * mean
            # Tango's bounds where all are -1, 0 or 1, and in proportion between them.
            alike.append(part * tango(0, 0, m)[1] * np.array([1 + mean, 1 - mean]))
            parts.append((part**2 * (float(np.var(values, ddof=1)) if m > 1 else pooled) / m, max(1, m - 1)))
    variance = sum(v for v, _ in parts)
    freedom = variance**2 / sum(v**2 / d for v, d in parts) if variance else 1.0  # Satterthwaite's
    half = float(t.ppf(0.975, freedom)) * variance**0.5
    below, above = (half, half) if variance else map(float, np.hypot.reduce(alike))
    return Estimate(value=value, interval=(max(-1.0, value - below), min(1.0, value + above)), n=n)


def sign_test_p(scores: Sequence[float]) -> float:
    """Two-sided p-value of no preference, by the sign flip of each item's weighted score; equal weights make it the sign test.

    Up to 13 scores that are not 0 it is exact, beyond that at least 0.0001.
    """
    import numpy as np

    return sign_flip_p(np.array([s for s in scores if s], dtype=float), np.random.default_rng(SEED))


def agreement(question: Any, units: Sequence[Mapping[str, str]]) -> RaterAgreement | None:
    """Cohen's kappa of two raters, Krippendorff's alpha (nominal) of more; None where no unit has two judgements.

    Alpha's interval is a percentile bootstrap over the units. K. Krippendorff, Content Analysis (2013), chapter 12.

    Args:
        question: what was judged.
        units: of each answer or pair, what the raters said.
    """
    import numpy as np

    units = [unit for unit in units if len(unit) > 1]
    raters = sorted({rater for unit in units for rater in unit})
    if not units:
        return None
    values = sorted({value for unit in units for value in unit.values()})
    agreed = sum(len(set(unit.values())) == 1 for unit in units)
    common: dict[str, Any] = {"question": question, "n": len(units), "agreed": agreed}
    if len(raters) == 2:
        table = np.zeros((len(values), len(values)), int)
        for unit in units:
            table[values.index(unit[raters[0]]), values.index(unit[raters[1]])] += 1
        value, interval = cohens_kappa(table)
        return RaterAgreement(measure="Cohen's kappa", value=value, interval=interval, **common)
    counts = np.array([[list(unit.values()).count(value) for value in values] for unit in units])
    value, interval = _alpha(counts), None
    if value is not None:
        rng = np.random.default_rng(SEED)
        drawn = [_alpha(counts[rng.integers(0, len(counts), len(counts))]) for _ in range(SAMPLES)]
        low, high = np.quantile([1.0 if a is None else a for a in drawn], [0.025, 0.975])
        interval = (float(low), float(high))
    return RaterAgreement(measure="Krippendorff's alpha", value=value, interval=interval, **common)


def _alpha(counts: "npt.NDArray[Any]") -> float | None:
    import krippendorff

    used = counts[:, counts.any(axis=0)]
    if used.shape[1] < 2:
        return None
    return float(krippendorff.alpha(value_counts=used, level_of_measurement="nominal"))

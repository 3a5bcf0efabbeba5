"""Statistics of paired binary outcomes: the same items, judged for the base and for the fine-tuned model.

Of each pair it matters whether both succeed, only the base does (b, "lost"), only the fine-tuned model does (c, "won")
or neither. Every difference is fine-tuned minus base, so a positive lift is an improvement. Nothing here divides by
zero: no discordant pairs, all items alike, one item or none at all give p = 1 and the widest honest interval.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from sft_pipeline.artifacts import GroupResult

LEVEL = 0.95
"""Confidence level of every interval in a report."""

_remembered = lru_cache(maxsize=4096)
"""The same table comes up several times in one report: overall, as the only type, among similar lengths, as a guarantee."""


class McNemar(NamedTuple):
    """p-values of the two-sided McNemar tests for b lost and c won pairs, and both chi-squared statistics."""

    exact: float
    midp: float
    corrected: float
    asymptotic: float
    chi2_corrected: float
    chi2: float


@_remembered
def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a proportion; (0, 1) when there are no items."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    low, high = binomtest(successes, n).proportion_ci(level, method="wilson")
    # Rounding must not push the estimate itself out of its interval at 0 % and 100 %.
    return min(float(low), successes / n), max(float(high), successes / n)


@_remembered
def mcnemar(b: int, c: int) -> McNemar:
    """McNemar's tests of b lost against c won pairs; concordant pairs carry no information about the difference.

    `exact` is the binomial test of b among b + c; `midp` counts the observed outcome by half, as in Fagerland, Lydersen
    and Laake (2013), doi:10.1186/1471-2288-13-91; `corrected` has Edwards' continuity correction, which never turns
    into a larger statistic than the uncorrected one. Without discordant pairs every p is 1.
    """
    from scipy.stats import binom, binomtest, chi2

    n = b + c
    if n == 0:
        return McNemar(1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    exact = float(binomtest(b, n, 0.5).pvalue)
    point = float(binom.pmf(min(b, c), n, 0.5))
    midp = 1 - point / 2 if b == c else max(0.0, exact - point)
    corrected = max(abs(b - c) - 1, 0) ** 2 / n
    plain = (b - c) ** 2 / n
    return McNemar(exact, midp, float(chi2.sf(corrected, 1)), float(chi2.sf(plain, 1)), corrected, plain)


@_remembered
def tango(b: int, c: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Tango's score interval of the paired difference (c - b) / n of proportions.

    The bounds are the differences d at which the score statistic

        T(d) = (c - b - n d) / sqrt(n (2 q + d (1 - d)))

    equals the normal quantile, q being the maximum-likelihood estimate of the probability of a lost pair when the
    difference is d: the larger root of 2 n q^2 - (b + c - d (2 n + b - c)) q - b d (1 - d) = 0.
    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908, equations for the restricted estimate and the score.
    """
    from scipy.stats import norm

    if n == 0:
        return -1.0, 1.0
    z = float(norm.ppf(0.5 + level / 2))
    # One formula for both ends: exchanging the models must mirror the interval to the last bit.
    return _tango_lower(b, c, n, z), -_tango_lower(c, b, n, z)


def _tango_lower(b: int, c: int, n: int, z: float) -> float:
    from scipy.optimize import brentq

    if b == n:
        return -1.0
    # In the next two cases the estimate itself is a second, spurious root, so the solution is written out.
    if b == c == 0:
        return -(z**2) / (n + z**2)
    if c == n:
        return (n - z**2) / (n + z**2)

    def excess(d: float) -> float:
        linear = b + c - d * (2 * n + b - c)
        q = (linear + math.sqrt(max(0.0, linear**2 + 8 * n * b * d * (1 - d)))) / (4 * n)
        return (c - b - n * d) - z * math.sqrt(max(0.0, n * (2 * q + d * (1 - d))))

    return float(brentq(excess, -1.0, (c - b) / n, xtol=1e-12))


@_remembered
def odds_ratio(b: int, c: int, level: float = LEVEL) -> tuple[float | None, tuple[float, float | None]]:
    """Conditional odds ratio c / b of success, fine-tuned against base, with its exact interval.

    Given the number of discordant pairs, the won ones among them are binomial with probability p = r / (1 + r) at the odds
    ratio r, so the Clopper-Pearson interval of p, whose ends are quantiles of the beta distribution, becomes that of r by
    r = p / (1 - p). Source: M. W. Fagerland, S. Lydersen, P. Laake, Statistics in Medicine 33 (2014) 2850-2875, section on
    the conditional odds ratio.

    Returns:
        The ratio, None without lost pairs, and its interval, whose upper end is None where it is infinite.
    """
    from scipy.stats import beta

    error = (1 - level) / 2
    low = float(beta.ppf(error, c, b + 1)) if c else 0.0
    high = float(beta.isf(error, c + 1, b)) if b else None
    return c / b if b else None, (low / (1 - low), None if high is None else high / (1 - high))


def deciding_p(result: GroupResult, test: str) -> float:
    """p-value of the McNemar test (exact, midp, corrected) that the specification lets decide."""
    return {"exact": result.p_exact, "midp": result.p_midp, "corrected": result.p_corrected}[test]


def cohens_h(base_rate: float, sft_rate: float) -> float:
    """Cohen's effect size h of two proportions: the difference of their arcsine transforms, positive for a lift."""
    return 2 * math.asin(math.sqrt(sft_rate)) - 2 * math.asin(math.sqrt(base_rate))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the given order: those up to q are the discoveries at false discovery rate q."""
    from scipy.stats import false_discovery_control

    return [float(p) for p in false_discovery_control(list(p_values))] if p_values else []


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order: up to alpha no true null is rejected but with probability alpha."""
    import numpy as np

    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted.tolist()


def from_counts(name: str, both: int, lost: int, won: int, neither: int) -> GroupResult:
    """Everything a report says about a group of pairs, from its table of four counts."""
    n = both + lost + won + neither
    base, sft = both + lost, both + won
    base_rate, sft_rate = (base / n, sft / n) if n else (0.0, 0.0)
    test = mcnemar(lost, won)
    ratio, ratio_interval = odds_ratio(lost, won)
    return GroupResult(
        name=name,
        n=n,
        base_successes=base,
        sft_successes=sft,
        lost=lost,
        won=won,
        base_rate=base_rate,
        base_interval=wilson(base, n),
        sft_rate=sft_rate,
        sft_interval=wilson(sft, n),
        lift=(won - lost) / n if n else 0.0,
        lift_interval=tango(lost, won, n),
        p_exact=test.exact,
        p_midp=test.midp,
        p_corrected=test.corrected,
        cohens_h=cohens_h(base_rate, sft_rate),
        odds_ratio=ratio,
        odds_ratio_interval=ratio_interval,
    )


def paired(name: str, base: Sequence[bool], sft: Sequence[bool]) -> GroupResult:
    """`from_counts` of two sequences of successes over the same items in the same order.

    Raises:
        ValueError: the sequences differ in length.
    """
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for pair in zip(base, sft, strict=True):
        counts[bool(pair[0]), bool(pair[1])] += 1
    return from_counts(name, counts[True, True], counts[True, False], counts[False, True], counts[False, False])

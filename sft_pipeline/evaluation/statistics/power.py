"""What a paired test can find before any item is judged: power, detectable effect, items needed, decidable margins.

The number of discordant pairs among n items is binomial with the expected share of discordance, and the lost ones among
them are binomial again. Both sums are taken exactly; nothing is approximated or simulated. Power is the probability of
rejecting in favour of the fine-tuned model: rejecting in the wrong direction is no success.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from sft_pipeline.artifacts import GroupResult
from sft_pipeline.evaluation.statistics.paired import LEVEL, tango
from sft_pipeline.experiment import Gate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Test = Literal["exact", "midp", "corrected"]


@lru_cache(maxsize=4096)  # a search asks for the same power again, and so does a report whose items are all of one type
def power(n: int, lift: float, discordance: float, alpha: float, test: Test = "exact") -> float:
    """Probability that a two-sided McNemar test at level `alpha` finds the fine-tuned model better.

    Args:
        n: items.
        lift: true difference of the success probabilities, fine-tuned minus base.
        discordance: probability that exactly one of the two models succeeds; at least |lift|.
        alpha: significance level.
        test: which McNemar test decides.
    """
    import numpy as np
    from scipy.stats import binom

    if abs(lift) > discordance:
        raise ValueError(f"a lift of {lift} needs at least as many discordant pairs, but discordance is {discordance}")
    # Beyond these numbers of discordant pairs lies less than 1e-14 of the probability.
    discordant = np.arange(binom.ppf(1e-14, n, discordance), binom.isf(1e-14, n, discordance) + 1)
    share_lost = (1 - lift / discordance) / 2 if discordance else 0.5
    rejected = binom.cdf(_largest_rejected(discordant, alpha, test), discordant, share_lost)
    return float(np.clip(binom.pmf(discordant, n, discordance) @ rejected, 0.0, 1.0))


def _largest_rejected(discordant: "NDArray[np.float64]", alpha: float, test: Test) -> "NDArray[np.float64]":
    """For each number of discordant pairs the largest number of lost ones at which the test rejects; -1 for none."""
    import numpy as np
    from scipy.stats import binom, chi2

    if test == "corrected":
        return np.maximum(np.floor((discordant - 1 - np.sqrt(chi2.isf(alpha, 1) * discordant)) / 2), -1)
    lost = np.maximum(binom.ppf(alpha / 2, discordant, 0.5), 0)
    lost = np.where(2 * binom.cdf(lost, discordant, 0.5) <= alpha, lost, lost - 1)
    if test == "exact":
        return lost
    # mid-p(k) = P(<= k) + P(<= k - 1), so its region is at most one lost pair larger than that of the exact test.
    more = lost + 1
    midp = binom.cdf(more, discordant, 0.5) + binom.cdf(more - 1, discordant, 0.5)
    return np.where((midp <= alpha) & (2 * more < discordant), more, lost)


def minimum_detectable_effect(
    n: int, discordance: float, alpha: float, power: float = 0.8, test: Test = "exact"
) -> float | None:
    """Smallest true lift that is found with probability `power`; None when even a lift without a loss is not."""
    from scipy.optimize import brentq

    if _power(n, discordance, discordance, alpha, test) < power:
        return None
    if _power(n, 0.0, discordance, alpha, test) >= power:  # also where no power is demanded
        return 0.0
    return float(brentq(lambda lift: _power(n, lift, discordance, alpha, test) - power, 0.0, discordance, xtol=1e-6))


def items_needed(
    lift: float, discordance: float, alpha: float, power: float = 0.8, test: Test = "exact", most: int = 200_000
) -> int | None:
    """Number of items from which on a true `lift` is found with probability `power`; None when `most` are too few.

    Power rises with n but for a ripple of the discrete test; the answer is the end of a bisection, at which power is
    reached and one item fewer does not reach it.
    """
    high = 8
    while _power(high, lift, discordance, alpha, test) < power:
        high *= 2
        if high > most:
            return None
    low = high // 2 if high > 8 else 0
    while high - low > 1:
        middle = (low + high) // 2
        if _power(middle, lift, discordance, alpha, test) < power:
            low = middle
        else:
            high = middle
    return high


_power = power  # the functions above take an argument of that name


def with_power(result: GroupResult, gate: Gate) -> GroupResult:
    """`result` with the power that its items had for the planned lift, and with the lift that they could detect.

    Both take the observed share of discordant pairs, but never a smaller one than the lift itself needs: with all pairs
    concordant a lift could still exist, and it would make at least as many pairs discordant. `detectable` is None where
    not even a lift of 100 points is found with `gate.min_power`. Neither is the power at the observed lift, which only
    says again what p says (J. M. Hoenig and D. M. Heisey, The American Statistician 55 (2001) 19-24).
    """
    from scipy.optimize import brentq

    def found(lift: float) -> float:
        return power(result.n, lift, max(observed, lift), gate.alpha, gate.test)

    observed = (result.lost + result.won) / result.n if result.n else 0.0
    if found(1.0) < gate.min_power:
        detectable = None
    elif found(0.0) >= gate.min_power:
        detectable = 0.0
    else:
        detectable = float(brentq(lambda lift: found(lift) - gate.min_power, 0.0, 1.0, xtol=1e-6))
    return result.model_copy(update={"power": found(gate.planned_lift), "detectable": detectable})


def best_lower_bound(n: int, level: float = LEVEL) -> float:
    """Lower bound of Tango's interval when n pairs are all concordant: as good as a guarantee without gains can look.

    It is -z^2 / (n + z^2): 0 lost of 20 still allows a loss of 16 points.
    """
    return tango(0, 0, n, level)[0]


def items_to_decide(margin: float, lost: int = 0, level: float = LEVEL) -> int:
    """Fewest items with which a result of `lost` lost and no won ones still shows that the loss is within `margin`.

    Without a lost item it is the smallest n with z^2 / (n + z^2) < margin; with some, the bound rises with n too.
    """
    low, high = lost, max(8, 2 * lost)
    while tango(lost, 0, high, level)[0] <= -margin:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if tango(lost, 0, middle, level)[0] > -margin:
            high = middle
        else:
            low = middle
    return high


def largest_tolerable_loss(n: int, margin: float, level: float = LEVEL) -> int:
    """Most items that may be lost, with none won, while the lower bound of the difference stays above -margin.

    Returns:
        The number of items; -1 when not even an unchanged result would show that the loss is within the margin. Such a
        margin is a fault of the specification: it needs more items or more tolerance.
    """
    low, high = -1, n  # a loss of all n has the bound -1, which no margin below 1 admits
    while high - low > 1:
        middle = (low + high) // 2
        if tango(middle, 0, n, level)[0] > -margin:
            low = middle
        else:
            high = middle
    return low

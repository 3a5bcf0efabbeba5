"""Raters' errors and what they hide: a latent class model of who answers by the texts and who guesses.

Each pair has a true order (the fine-tuned model's answer is better, the base's, or neither), with probabilities that differ
by stratum. A rater sees it with probability 1 - e; otherwise the rater guesses the first, the second or neither, with
probabilities of the rater's own. Repeats with exchanged sides, catch trials, and pairs that several raters saw tell one from
the other. A. P. Dawid and A. M. Skene, Applied Statistics 28 (1979) 20-28, with a guess in place of a full confusion matrix.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy.typing as npt

CLASSES = ("base", "tie", "sft")


class Response(NamedTuple):
    """A choice between two answers.

    Attributes:
        item: number of the pair.
        rater: number of the rater.
        side: 0 for the first answer, 1 for neither, 2 for the second.
        means: the class that it says: 0 for the base, 1 for neither, 2 for the fine-tuned model.
    """

    item: int
    rater: int
    side: int
    means: int


class Fit(NamedTuple):
    """Estimates with their 95 % intervals: the net preference over all pairs, and the error rate of each rater."""

    net: tuple[float, tuple[float, float]]
    errors: list[tuple[float, tuple[float, float]]]


def fit(
    responses: Sequence[Response], strata: Sequence[int], shares: Sequence[float], known: Sequence[bool], raters: int
) -> Fit | None:
    """Fit the model by penalized maximum likelihood, with Wald intervals.

    One observation is added to each distribution, in equal parts to its classes (Perks' prior), so that no probability is 0
    and without spread. The intervals follow from the observed information and Student's t, whose degrees of freedom are the
    pairs less the parameters. They are symmetric on the logit scale for error rates and on Fisher's z for the net preference,
    so that they stay within what is possible.

    Args:
        responses: all choices.
        strata: stratum of each pair, as a number.
        shares: of all pairs, the share that lies in each stratum; what is missing to 1 is identical pairs.
        known: whether a pair is a catch trial, in which neither answer is better.
        raters: their number.

    Returns:
        None where the choices do not suffice: the likelihood has no clear maximum.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import log_softmax, logsumexp
    from scipy.stats import t
    from statsmodels.tools.numdiff import approx_fprime

    item, rater, side, means = (np.array(column) for column in zip(*responses, strict=True))
    group, caught, h = np.array(strata), np.array(known), len(shares)
    open_groups = np.eye(h)[group] * ~caught[:, None]  # a catch trial tells nothing of its stratum
    same, sides, raters_of = means[:, None] == np.arange(3), np.eye(4)[side], np.eye(raters)[rater]

    def unpack(theta: "npt.NDArray[Any]") -> tuple[Any, Any]:
        """Log probabilities: of the classes by stratum, and of first, neither, second and seeing by rater."""
        wide, guess = np.zeros((h, 3)), np.zeros((raters, 4))
        wide[:, [0, 2]] = theta[: 2 * h].reshape(h, 2)
        guess[:, :3] = theta[2 * h :].reshape(raters, 3)
        return log_softmax(wide, axis=1), log_softmax(guess, axis=1)

    def loss(theta: "npt.NDArray[Any]") -> tuple[float, "npt.NDArray[Any]"]:
        """Negative log likelihood with its gradient."""
        classes, says = unpack(theta)
        p = np.exp(says)
        guessed, seen = p[rater, side][:, None], p[rater, 3][:, None] * same
        by_item = np.where(caught[:, None], np.log([1e-300, 1, 1e-300]), classes[group])
        for z in range(3):
            by_item[:, z] += np.bincount(item, np.log(guessed + seen)[:, z], len(group))
        total = logsumexp(by_item, axis=1)
        posterior = np.exp(by_item - total[:, None])
        of_classes = open_groups.T @ (posterior - np.exp(classes[group])) + (1 / 3 - np.exp(classes))
        part = posterior[item] / (guessed + seen)
        each = sides * (part * guessed).sum(axis=1)[:, None] - p[rater]
        each[:, 3] += (part * seen).sum(axis=1)
        of_raters = raters_of.T @ each + (1 / 4 - p)
        value = total.sum() + classes.sum() / 3 + says.sum() / 4
        return -float(value), -np.concatenate([of_classes[:, [0, 2]].ravel(), of_raters[:, :3].ravel()])

    start = np.concatenate([np.zeros(2 * h), np.full(3 * raters, -2.5)])
    best = minimize(loss, start, method="BFGS", jac=True)
    try:
        curvature = approx_fprime(best.x, lambda theta: loss(theta)[1], centered=True)
        covariance = np.linalg.inv((curvature + curvature.T) / 2)
    except np.linalg.LinAlgError:
        return None
    quantile = float(t.ppf(0.975, max(1, len(group) - len(start))))

    def interval(of: Any, back: Any) -> tuple[float, tuple[float, float]] | None:
        value = of(best.x)
        slope = np.ravel(approx_fprime(best.x, of, centered=True))
        variance = float(slope @ covariance @ slope)
        if not np.isfinite(variance) or variance <= 0:
            return None
        half = quantile * variance**0.5
        return back(value), (back(value - half), back(value + half))

    def net(theta: "npt.NDArray[Any]") -> float:
        p = np.exp(unpack(theta)[0])
        return float(np.arctanh(np.clip(np.dot(shares, p[:, 2] - p[:, 0]), -0.999999, 0.999999)))

    def error(r: int) -> Any:
        def of(theta: "npt.NDArray[Any]") -> float:
            seeing = unpack(theta)[1][r, 3]
            return float(np.log1p(-np.exp(seeing)) - seeing)

        return of

    preference = interval(net, lambda x: float(np.tanh(x)))
    errors = [interval(error(r), lambda x: float(1 / (1 + np.exp(-x)))) for r in range(raters)]
    if preference is None or None in errors:
        return None
    return Fit(preference, [e for e in errors if e is not None])

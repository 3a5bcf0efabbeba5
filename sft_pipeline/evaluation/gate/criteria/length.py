"""Is success a matter of how long an answer is? A correct test over a scorer of length proves nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sft_pipeline.artifacts import LengthAdjusted, LengthRule
from sft_pipeline.evaluation.gate.comparison import Column, Comparison, Mask
from sft_pipeline.evaluation.gate.criteria.criterion import Finding
from sft_pipeline.evaluation.gate.criteria.formatting import minus, percent
from sft_pipeline.evaluation.gate.pairs import MODELS
from sft_pipeline.evaluation.statistics.paired import LEVEL

FEWEST = 5
"""Successes and failures that the base must have, and discordant pairs: from fewer no dependence on length can be read."""

PRIOR = 5.0
"""Standard deviation of the normal prior of both coefficients, in logits: it keeps them finite where one limit of length
separates all wins from all losses, and is nothing beside the data otherwise."""


@dataclass(frozen=True)
class LengthCheck:
    """How success depends on length; `acquitted` where most wins are known not to be of length."""

    adjusted: LengthAdjusted | None
    rule: LengthRule | None
    acquitted: bool
    verified: bool
    lift: int
    alpha: float

    @property
    def left(self) -> bool:
        """Whether the interval of the preference at equal length lies on the side of the result."""
        found = self.adjusted
        return found is not None and self.lift * found.preference > _z(1 - LEVEL) * found.preference_error

    @property
    def explains(self) -> bool:
        """Whether length decides between the models, and nothing is left of the difference without it."""
        if self.acquitted or self.adjusted is None or not self.lift:
            return False
        return abs(self.adjusted.slope) > _z(self.alpha) * self.adjusted.slope_error and not self.left

    @property
    def fits(self) -> bool:
        """Whether one limit of length is what success is, in all answers and in the base's alone."""
        return not self.acquitted and self.rule is not None and self.rule.fits


def length_check(c: Comparison, keep: Mask) -> LengthCheck:
    """Examine the pairs of a mask.

    A win is not one of length where the base's answer lacks the expected one, or failed by a scorer that cannot measure
    length, unless the fine-tuned model's own answer lacks it as well; nor where the base's answer is degenerate.
    """
    free = np.array([p.length_free for p in c.pairs], dtype=bool)
    won = c.won & keep
    known = won & (c.held["sft"] != 0) & ((c.held["base"] == 0) | ((c.held["base"] < 0) & free))
    known |= won & c.repetitive["base"]
    result = int(won.sum()) - int(((c.base == 1) & (c.sft == 0) & keep).sum())
    acquitted = 2 * known.sum() > won.sum()
    rules = [] if acquitted else [_rule(unit, of, c, keep) for unit, of in c.lengths.items()]
    best = max((r for r in rules if r), key=lambda r: (r.fits, min(r.recalls)), default=None)
    verified = 2 * (won & (known | (c.verified == 1))).sum() > won.sum()
    adjusted = _adjusted(c, keep, best)
    return LengthCheck(adjusted, best, bool(acquitted), bool(verified), int(np.sign(result)), c.gate.alpha)


def _z(alpha: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(1 - alpha / 2))


def length_of(c: Comparison) -> LengthCheck:
    """The examination of all judged pairs."""
    return c.remember("length", lambda: length_check(c, c.judged))


def log_ratio(c: Comparison) -> Column:
    """Natural logarithm of the fine-tuned answer's length over the base's, in characters, one added to both."""
    lengths = c.lengths["characters"]
    return np.log((lengths["sft"] + 1) / (lengths["base"] + 1))


def _adjusted(c: Comparison, keep: Mask, rule: LengthRule | None) -> LengthAdjusted | None:
    """Logistic regression of winning on length, over the discordant pairs.

    As in length-controlled AlpacaEval (Dubois et al. 2024, arXiv:2404.04475) the log ratio of lengths enters through tanh, in
    units of the factor that counts as similar, and the preference is the prediction at equal length. A judge who takes the
    longer answer, by however little, follows the sign of the ratio instead, and one with a limit asks which answers keep it;
    the best fitting form is reported.
    """
    discordant = keep & (c.base != c.sft)
    y = (c.sft[discordant] == 1).astype(float)
    if len(y) < FEWEST:
        return None
    ratio = log_ratio(c)[discordant]
    forms = [np.tanh(ratio / np.log(c.gate.similar_length)), np.sign(ratio)]
    if rule:
        base, sft = (((c.lengths[rule.unit][m] < rule.limit) == rule.shorter)[discordant].astype(float) for m in MODELS)
        forms.append(sft - base)
    _, beta, error = max((_logistic(x, y) for x in forms), key=lambda form: form[0])
    return LengthAdjusted(n=len(y), preference=beta[0], preference_error=error[0], slope=beta[1], slope_error=error[1])


def _logistic(x: Column, y: Column) -> tuple[float, Column, Column]:
    """Log posterior, coefficients (constant, slope) and their standard errors, by Newton's method."""
    design = np.stack([np.ones_like(x), x], axis=1)
    beta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ beta))
        information = design.T @ (design * (p * (1 - p))[:, None]) + np.eye(2) / PRIOR**2
        step = np.linalg.solve(information, design.T @ (y - p) - beta / PRIOR**2)
        beta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    fit = -np.logaddexp(0, np.where(y == 1, -1, 1) * (design @ beta)).sum() - (beta**2).sum() / (2 * PRIOR**2)
    return float(fit), beta, np.sqrt(np.diag(np.linalg.inv(information)))


def _rule(unit: str, lengths: dict[str, Column], c: Comparison, keep: Mask) -> LengthRule | None:
    """The limit of length that predicts most: the sum of the shares of successes and of failures is largest.

    There is none without successes or without failures. Empty answers are left out, since nothing can be right about them.
    """
    masks = {m: keep & (lengths[m] > 0) for m in MODELS}
    own = {m: (lengths[m][masks[m]], c.success[m][masks[m]] == 1) for m in MODELS}
    every, success = (np.concatenate([own[m][k] for m in MODELS]) for k in (0, 1))
    if success.all() or not success.any():
        return None
    order = np.argsort(every, kind="stable")
    ordered, hits = every[order], success[order]
    gain = np.cumsum(hits) / max(hits.sum(), 1) - np.cumsum(~hits) / max((~hits).sum(), 1)
    gain[np.append(ordered[1:] == ordered[:-1], False)] = 0  # equal lengths stand on one side
    at = int(np.abs(gain).argmax())
    limit, shorter = int(ordered[at]), bool(gain[at] >= 0)
    predicted = (own["base"][0] <= limit) == shorter
    inside = own["base"][1][predicted]
    recalls = _recalls((every <= limit) == shorter, success)
    base_recalls = _recalls(predicted, own["base"][1])
    varied = min(int(own["base"][1].sum()), int((~own["base"][1]).sum())) >= FEWEST
    return LengthRule(
        unit=unit,
        limit=limit if shorter else limit + 1,
        shorter=shorter,
        recalls=recalls,
        base_recalls=base_recalls,
        within=float(inside.mean()) if inside.size else None,
        within_n=int(inside.size),
        fits=varied and min(*recalls, *base_recalls) >= c.gate.length_explains,
    )


def _recalls(predicted: Mask, success: Mask) -> tuple[float, float]:
    """Shares of the successes and of the failures that are predicted; 0 where there are none."""
    found = [(predicted[success == o] == o).mean() if (success == o).any() else 0.0 for o in (True, False)]
    return float(found[0]), float(found[1])


def length(c: Comparison) -> Iterator[Finding]:
    """Every finding about length over all pairs, and whether the lift stands without the types of which it is one."""
    check = length_of(c)
    if (rule := check.rule) and check.fits and check.lift:
        yield Finding(
            f"{_text(rule)} (of the base's, {percent(rule.base_recalls[0])} and {percent(rule.base_recalls[1])}): the scorer "
            f"measures length, and {'the whole lift' if check.lift > 0 else 'the difference'} is explained by it",
            "refused",
            waivable=False,
        )
        if rule.within is not None and rule.within > c.gate.max_base_success:
            yield Finding(
                f"of the base's {rule.within_n} answers within that limit {percent(rule.within)} succeed (limit "
                f"{percent(c.gate.max_base_success)}): length aside, there is no headroom",
                "refused",
                name="headroom",
                waivable=False,
            )
        return
    if check.adjusted:
        found = check.adjusted
        detail = (
            f"preference for the fine-tuned model at equal length {_logit(found.preference)} ± {found.preference_error:.2f} "
            f"logits, slope with length {_logit(found.slope)} ± {found.slope_error:.2f}, over {found.n} discordant pairs"
        )
        if check.explains:
            yield Finding(f"{detail}: the judgements follow length, and without it no preference is left", "refused")
            return
        similar = np.abs(log_ratio(c)) <= np.log(c.gate.similar_length)
        discordant = c.judged & (c.base != c.sft)
        # Where no pair has two successes, success is a preference, and one direction of length is enough to make it.
        longer = log_ratio(c) > 0
        one_way = min((discordant & longer).sum(), (discordant & ~longer).sum()) <= 0.05 * found.n
        together = ((c.base == 1) & (c.sft == 1)).any()
        alone = c.overall.won >= 0.95 * found.n and (
            (discordant & similar).sum() <= 0.05 * found.n or one_way and not together
        )
        if check.lift > 0 and not check.acquitted and not check.verified and alone:
            yield Finding(
                f"{detail}: nearly all wins go to the model whose answers are of another length, and hardly any pair of similar "
                "length could tell quality from length: it remains open whether the model is better",
                "refused",
            )
            return
        detail += "; most wins are known not to be of length" if check.acquitted else ""
        yield Finding(detail, "pass")
    bad = [name for name in sorted(set(c.types)) if _of_length(length_check(c, c.judged & (c.types == name)))]
    if bad and len(set(c.types)) > 1:
        after = c.result("other types", c.judged & ~np.isin(c.types, bad))
        lost = c.shows(c.overall) and not c.shows(after)
        yield Finding(
            f"success is a matter of length in {', '.join(bad)}; without it", "refused" if lost else "info", after,
            name="by type", waivable=False,
        )  # fmt: skip


def _of_length(check: LengthCheck) -> bool:
    return check.fits or check.explains


def similar_length(c: Comparison) -> Iterator[Finding]:
    """Only pairs of similar length, where most wins may be of length."""
    similar = c.judged & (np.abs(log_ratio(c)) <= np.log(c.gate.similar_length))
    check = length_of(c)
    free = check.acquitted or check.verified
    detail = f"among pairs whose answers differ in length by a factor of at most {c.gate.similar_length:g}"
    told = free or (check.left and not check.fits)
    yield Finding(detail, "info" if told else None, c.result("pairs of similar length", similar))


def _logit(value: float) -> str:
    return minus(f"{value:+.2f}")


def _text(rule: LengthRule) -> str:
    return (
        f"the best rule of length, “a success has at {'most' if rule.shorter else 'least'} {rule.limit} {rule.unit}”, predicts "
        f"{percent(rule.recalls[0])} of all successes and {percent(rule.recalls[1])} of all failures"
    )

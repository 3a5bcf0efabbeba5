"""Does the lift come from better answers, or from the way they are scored?

A correct test over a bad scorer proves nothing. The best-known way to be fooled is length: a scorer that in effect
accepts short answers calls a model better for having learned to be brief, although the base said the same at length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sft_pipeline.artifacts import GroupResult
from sft_pipeline.evaluation.gate.pairs import Pair, group

SIMILAR = 1.5
"""Two answers are of similar length when the longer one has at most this many times the characters of the other."""

EXPLAINED = 0.85
"""Share of the successes, and of the failures, that one limit of length must predict for the score to be about length.

Both shares, not the share of all answers: where nearly everything fails, "nothing succeeds" is nearly always right. Below
one, because a scorer of length may see other things, too, or err; judged solutions of GSM8K come to 0.58 and 0.66.
"""

FEWEST = 5
"""Successes and failures that the base must have: from fewer no dependence on length can be read."""

UNITS = {"characters": "length", "words": "words", "tokens": "tokens"}
"""Units of length, and the ending of the fields of `Pair` that hold them: a scorer may count any of them."""


@dataclass(frozen=True)
class LengthRule:
    """The best rule "a success has at most `limit` units" (`shorter`, else "at least").

    `recalls` are the shares of all successes and of all failures that it predicts, `base_recalls` the same among the
    base's answers. `within` is the base's success rate among its `within_n` answers on the successful side of the limit.
    `varied` says whether the base has enough successes and failures for a dependence on length to be seen within it.
    """

    unit: str
    limit: int
    shorter: bool
    recalls: tuple[float, float]
    base_recalls: tuple[float, float]
    within: float | None
    within_n: int
    varied: bool

    @property
    def separates(self) -> bool:
        """Whether the rule predicts success and failure of both models' answers taken together nearly always."""
        return min(self.recalls) >= EXPLAINED

    @property
    def fits(self) -> bool:
        """Whether it also does so among the base's answers, of which enough succeed and enough fail."""
        return self.varied and self.separates and min(self.base_recalls) >= EXPLAINED


@dataclass(frozen=True)
class LengthCheck:
    """How success depends on the length of the answers.

    Of the `won` pairs, `form` are those in which the base's failed output does hold the expected answer. `lacking` are those
    in which it does not, or in which no short answer can be looked for and the scorer cannot measure length; `substance`
    are the latter with all that a verifier judged. A pair counts for neither where the fine-tuned model's own output lacks
    the expected answer.
    """

    similar: GroupResult
    rules: tuple[LengthRule, ...]
    base_correlation: float | None
    sft_correlation: float | None
    won: int
    form: int
    lacking: int
    substance: int
    survives: Literal["yes", "no", "cannot tell"]

    @property
    def formal(self) -> bool:
        """Whether the base's output holds the expected answer in most won pairs."""
        return 2 * self.form > self.won

    @property
    def acquitted(self) -> bool:
        """Whether most won pairs are known to be better answers, whatever their length."""
        return 2 * self.substance > self.won

    @property
    def artefact(self) -> LengthRule | None:
        """The rule that success is, unless most won pairs show the contrary (`lacking`).

        That any verifier judged is no excuse here, for a regular expression or a schema may count characters. Within one
        model success seldom hangs on length that closely unless the scorer makes it so. The comparison between the models
        cannot show it, for a fine-tuned model is often both right and brief.
        """
        return None if 2 * self.lacking > self.won else next((rule for rule in self.rules if rule.fits), None)

    @property
    def confounded(self) -> LengthRule | None:
        """The rule that separates success from failure where length and model cannot be told apart.

        All answers of the base are long and fail, all of the fine-tuned model are short and succeed: that is what a much
        better model looks like, and what a scorer of length looks like.
        """
        if self.acquitted or self.survives == "yes":
            return None
        return next((rule for rule in self.rules if rule.separates and not rule.varied), None)

    def as_dict(self) -> dict[str, Any]:
        """For gate.json."""
        rules = [{**rule.__dict__, "fits": rule.fits} for rule in self.rules]
        similar = self.similar.model_dump(mode="json")
        return {**self.__dict__, "rules": rules, "similar": similar, "artefact": self.artefact is not None}


def length_check(pairs: Sequence[Pair]) -> LengthCheck:
    """Examine whether success is a function of length; `pairs` are judged, and there is at least one."""
    import numpy as np

    near = [
        p for p in pairs if max(p.base_length, p.sft_length) + 1 <= SIMILAR * (min(p.base_length, p.sft_length) + 1)
    ]
    similar, overall = group("pairs of similar length", near), group("all", pairs)
    success = {m: np.array([getattr(p, m) for p in pairs], dtype=bool) for m in ("base", "sft")}
    rules, correlations = [], {}
    for unit, field in UNITS.items():
        table = {m: [getattr(p, f"{m}_{field}") for p in pairs] for m in ("base", "sft")}
        if None in table["base"] or None in table["sft"]:
            continue
        lengths = {m: np.array(values) for m, values in table.items()}
        said = {m: np.array([getattr(p, f"{m}_length") > 0 for p in pairs]) for m in lengths}
        if any(mask.any() for mask in said.values()):  # nothing can be right about an empty answer, so it tells nothing
            rules.append(_rule(unit, *({m: table[m][said[m]] for m in said} for table in (lengths, success))))
        if unit == "characters":
            correlations = {m: _correlation(lengths[m], success[m]) for m in lengths}
    won = [p for p in pairs if p.won]
    known = [p for p in won if p.sft_has_answer is not False]
    return LengthCheck(
        similar=similar,
        rules=tuple(rules),
        base_correlation=correlations["base"],
        sft_correlation=correlations["sft"],
        won=len(won),
        form=sum(p.base_has_answer is True for p in won),
        lacking=sum(_known_wrong(p, p.length_free) for p in known),
        substance=sum(_known_wrong(p, p.length_free or p.verified is True) for p in known),
        survives=survives(similar, overall),
    )


def _known_wrong(pair: Pair, by_scorer: bool) -> bool:
    """Whether the base's failed answer is known to be wrong: it lacks the expected one, or its scorer is to be believed."""
    return pair.base_has_answer is False or (pair.base_has_answer is None and by_scorer)


def survives(part: GroupResult, overall: GroupResult) -> Literal["yes", "no", "cannot tell"]:
    """Whether the lift over all pairs is there in a part of them, too.

    It is when the part's 95 % interval lies above zero, and it is not when that interval ends below half of the lift over
    all: items differ, so that a lift which is only smaller is no objection. Otherwise there are too few to tell.
    """
    low, high = part.lift_interval
    if part.n and low > 0:
        return "yes"
    return "no" if part.n and high < overall.lift / 2 else "cannot tell"


def _rule(unit: str, lengths, success) -> LengthRule:
    import numpy as np

    limit, shorter = _best_limit(np.concatenate(list(lengths.values())), np.concatenate(list(success.values())))
    predicted = {m: (lengths[m] <= limit) == shorter for m in lengths}
    every = [np.concatenate([table["base"], table["sft"]]) for table in (predicted, success)]
    inside = success["base"][predicted["base"]]
    return LengthRule(
        unit=unit,
        limit=limit if shorter else limit + 1,
        shorter=shorter,
        recalls=_recalls(*every),
        base_recalls=_recalls(predicted["base"], success["base"]),
        within=float(inside.mean()) if inside.size else None,
        within_n=int(inside.size),
        varied=min(int(success["base"].sum()), int((~success["base"]).sum())) >= FEWEST,
    )


def _best_limit(lengths, success) -> tuple[int, bool]:
    """The limit L and direction for which `length <= L` (or `> L`) predicts most: the sum of both recalls is largest."""
    import numpy as np

    order = np.argsort(lengths, kind="stable")
    ordered, hits = lengths[order], success[order]
    below = np.cumsum(hits) / max(hits.sum(), 1), np.cumsum(~hits) / max((~hits).sum(), 1)
    gain = below[0] - below[1]
    gain[np.append(ordered[1:] == ordered[:-1], False)] = 0  # equal lengths stand on one side
    at = int(np.abs(gain).argmax())
    return int(ordered[at]), bool(gain[at] >= 0)


def _recalls(predicted, success) -> tuple[float, float]:
    """Shares of the successes and of the failures that are predicted; 1 where there are none."""
    return tuple(
        float((predicted[success == outcome] == outcome).mean()) if (success == outcome).any() else 1.0
        for outcome in (True, False)
    )


def _correlation(lengths, success) -> float | None:
    """Spearman's rank correlation of success with length; None where one of them does not vary."""
    from scipy.stats import spearmanr

    if len(set(success.tolist())) < 2 or len(set(lengths.tolist())) < 2:
        return None
    return float(spearmanr(lengths, success.astype(int)).statistic)

"""Does the lift come from better answers, or from the way they are scored?

A correct test over a bad scorer proves nothing. The best-known way to be fooled is length: a scorer that in effect
accepts short answers calls a model better for having learned to be brief, although the base said the same at length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sft_pipeline.artifacts import GroupResult
from sft_pipeline.evaluation.statistics import paired

SIMILAR = 1.5
"""Two answers are of similar length when the longer one has at most this many times the characters of the other."""

EXPLAINED = 0.95
"""Share of the successes, and of the failures, that one limit of length must predict for the score to be about length.

Both shares, not the share of all answers: where nearly everything fails, "nothing succeeds" is nearly always right.
"""

FEWEST = 5
"""Successes and failures that the base must have: from fewer no dependence on length can be read."""


@dataclass(frozen=True)
class Pair:
    """Both models' outcomes on one item.

    `base_has_answer` says whether the base's output holds the expected answer as whole words, whatever its scorer
    thinks; None where there is no short expected answer to look for.
    """

    id: str
    type: str
    base: bool
    sft: bool
    base_length: int
    sft_length: int
    base_has_answer: bool | None = None


@dataclass(frozen=True)
class LengthCheck:
    """How success depends on the length of the answers, in characters.

    `recalls` are the shares of all successes and of all failures that the rule "a success has at most `limit`
    characters" (`shorter`, else "at least") predicts, `base_recalls` the same among the base's answers. `within` is the
    base's success rate among its `within_n` answers on the successful side of the limit. `won_with_answer` counts,
    among the `won_checkable` won pairs with a short expected answer, those in which the base's failed output holds it.
    """

    similar: GroupResult
    base_correlation: float | None
    sft_correlation: float | None
    limit: int
    shorter: bool
    recalls: tuple[float, float]
    base_recalls: tuple[float, float]
    within: float | None
    within_n: int
    won_checkable: int
    won_with_answer: int
    artefact: bool

    def as_dict(self) -> dict[str, Any]:
        """For gate.json."""
        return {**self.__dict__, "similar": self.similar.model_dump(mode="json")}


def length_check(pairs: Sequence[Pair]) -> LengthCheck:
    """Examine whether success is a function of length.

    `artefact` is true when all of this holds: the base both succeeds and fails at least `FEWEST` times; one limit of
    length predicts `EXPLAINED` of the successes and of the failures, among the base's answers and among all; and the
    answers do not show the contrary, which they do when most won pairs have a short expected answer and in most of
    those the base's failed output does not hold it. Within one model success seldom hangs on length that closely unless
    the scorer makes it so; the comparison between the models cannot show it, for a fine-tuned model is often both right
    and brief.
    """
    import numpy as np

    lengths = {m: np.array([getattr(p, f"{m}_length") for p in pairs]) for m in ("base", "sft")}
    success = {m: np.array([getattr(p, m) for p in pairs], dtype=bool) for m in ("base", "sft")}
    limit, shorter = _best_limit(np.concatenate(list(lengths.values())), np.concatenate(list(success.values())))
    predicted = {m: (lengths[m] <= limit) == shorter for m in lengths}
    every = [np.concatenate([table["base"], table["sft"]]) for table in (predicted, success)]
    recalls, base_recalls = _recalls(*every), _recalls(predicted["base"], success["base"])
    inside = success["base"][predicted["base"]]

    near = [
        p for p in pairs if max(p.base_length, p.sft_length) + 1 <= SIMILAR * (min(p.base_length, p.sft_length) + 1)
    ]
    won = [p for p in pairs if p.sft and not p.base]
    checkable = [p.base_has_answer for p in won if p.base_has_answer is not None]
    acquitted = 2 * len(checkable) > len(won) and 2 * sum(checkable) <= len(checkable)
    varied = min(int(success["base"].sum()), int((~success["base"]).sum())) >= FEWEST
    return LengthCheck(
        similar=paired("pairs of similar length", [p.base for p in near], [p.sft for p in near]),
        base_correlation=_correlation(lengths["base"], success["base"]),
        sft_correlation=_correlation(lengths["sft"], success["sft"]),
        limit=limit if shorter else limit + 1,
        shorter=shorter,
        recalls=recalls,
        base_recalls=base_recalls,
        within=float(inside.mean()) if inside.size else None,
        within_n=int(inside.size),
        won_checkable=len(checkable),
        won_with_answer=sum(checkable),
        artefact=varied and min(recalls + base_recalls) >= EXPLAINED and not acquitted,
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

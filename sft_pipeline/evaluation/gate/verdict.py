"""The verdict on pairs that are already judged; needs no file.

It is `refused` when the comparison itself is unsound, else `fail` when any criterion fails, else `pass`. Every criterion
(criteria/registry.py) leaves its reasons, whatever the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sft_pipeline.artifacts import Agreement, GroupResult, Preference, ProtectedResult, Reason, Sensitivity
from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.length import LengthCheck, length_of
from sft_pipeline.evaluation.gate.criteria.non_inferiority import protected
from sft_pipeline.evaluation.gate.criteria.registry import CRITERIA, precondition
from sft_pipeline.evaluation.gate.pairs import Pair
from sft_pipeline.experiment import Gate


@dataclass(frozen=True)
class Decision:
    """The verdict with everything that it rests on.

    `missing` pairs could not be judged and are left out of the statistics. `length` is None where there are no judged
    pairs or their answers are not known.
    """

    verdict: Literal["pass", "fail", "refused"]
    overall: GroupResult
    types: tuple[GroupResult, ...]
    protected: tuple[ProtectedResult, ...]
    reasons: tuple[Reason, ...]
    missing: int
    sensitivity: tuple[Sensitivity, ...]
    agreement: Agreement | None
    length: LengthCheck | None
    repetitive: dict[str, int]


def verdict(
    pairs: Sequence[Pair],
    preconditions: Sequence[Reason],
    gate: Gate,
    *,
    agreement: Agreement | None = None,
    flip_rate: float | None = None,
    preference: Preference | None = None,
) -> Decision:
    """Decide on judged pairs.

    Args:
        pairs: both models' answers to the same items; those that could not be judged on both sides are left out of the
            statistics and counted.
        preconditions: what was checked beforehand (comparability, guard, training, leakage); a `refused` among them
            makes the verdict `refused`.
        gate: the criteria.
        agreement: of the scorers with human labels, where there are some.
        flip_rate: share of the items on which a repeated run of one model differed; None where it was not measured.
        preference: of people, where a review was held.
    """
    rate = max((r for r in (flip_rate, gate.flip_rate) if r is not None), default=None)
    c = Comparison(pairs, gate, agreement, rate, preference)
    known = c.texts_known and bool(c.judged.any())
    reasons = list(preconditions)
    for criterion in CRITERIA:
        if known or not criterion.texts:
            reasons += criterion.reasons(c)
    if c.judged.any() and not known:
        refused = c.overall.lift > 0
        reasons.append(
            precondition(
                "not_checked",
                "refused" if refused else "info",
                "the answers are not known, so whether the score is about them cannot be looked at",
                "Add the field output to every row." if refused else "",
            )
        )
    outcomes = {reason.outcome for reason in reasons}
    return Decision(
        verdict="refused" if "refused" in outcomes else "fail" if "fail" in outcomes else "pass",
        overall=c.overall,
        types=c.adjusted_types,
        protected=protected(c),
        reasons=tuple(reasons),
        missing=int((~c.judged).sum()),
        sensitivity=c.sensitivity,
        agreement=agreement,
        length=length_of(c) if known else None,
        repetitive={m: int(mask.sum()) for m, mask in c.repetitive.items()} if known else {},
    )

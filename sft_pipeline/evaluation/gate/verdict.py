"""The verdict on pairs that are already judged; needs no file.

It is `refused` when the comparison itself is unsound (a precondition, comparability, headroom or the validity of the
score), else `fail` when any criterion fails, else `pass`. Every criterion leaves a `Reason`, whatever the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sft_pipeline.artifacts import Agreement, GroupResult, ProtectedResult, Reason, Sensitivity
from sft_pipeline.evaluation.gate.criteria import non_inferiority as guarantees
from sft_pipeline.evaluation.gate.criteria.degenerate import empty, one_answer, one_base_answer, repetition
from sft_pipeline.evaluation.gate.criteria.format import form, unclear
from sft_pipeline.evaluation.gate.criteria.human_labels import agreement as agreement_reasons
from sft_pipeline.evaluation.gate.criteria.human_labels import trusted
from sft_pipeline.evaluation.gate.criteria.length import length as length_reasons
from sft_pipeline.evaluation.gate.criteria.length_check import LengthCheck, length_check
from sft_pipeline.evaluation.gate.criteria.missing import consistency, missing
from sft_pipeline.evaluation.gate.criteria.significance import (
    clusters,
    discoveries,
    headroom,
    min_lift,
    power,
    significance,
    width,
)
from sft_pipeline.evaluation.gate.criteria.truncation import uncut
from sft_pipeline.evaluation.gate.criteria.verified import expected, verified
from sft_pipeline.evaluation.gate.pairs import Pair
from sft_pipeline.evaluation.statistics.clusters import clustered
from sft_pipeline.evaluation.statistics.paired import benjamini_hochberg, deciding_p
from sft_pipeline.evaluation.statistics.power import with_power
from sft_pipeline.evaluation.statistics.sensitivity import sensitivity
from sft_pipeline.experiment import Gate


@dataclass(frozen=True)
class Decision:
    """The verdict with everything that it rests on.

    `missing` pairs could not be judged and are left out of the statistics. `length` is None where there are no judged
    pairs or their answers are not known, `verified` where verifiers judged all items or none.
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
    verified: GroupResult | None


def verdict(
    pairs: Sequence[Pair],
    preconditions: Sequence[Reason],
    gate: Gate,
    *,
    agreement: Agreement | None = None,
    texts_known: bool = True,
) -> Decision:
    """Decide on judged pairs.

    Args:
        pairs: both models' outcomes on the same items; those that could not be judged on both sides are left out of the
            statistics and counted.
        preconditions: what was checked beforehand (comparability, guard, training, leakage); a `refused` among them
            makes the verdict `refused`.
        gate: the criteria.
        agreement: of the scorers with human labels, where there are some.
        texts_known: whether the answers themselves are known; without them a lift is refused, for the validity of its
            score cannot be looked at.
    """
    judged = [p for p in pairs if not p.missing]
    overall = _counted("all", judged, gate)
    types = _by_type(judged, gate)
    results = tuple(guarantees.judge(p, pairs, gate) for p in gate.protected)
    treatments = sensitivity([p.base for p in pairs], [p.sft for p in pairs], gate, [p.tied for p in pairs])
    supported = trusted(agreement, gate)
    part, by_verifiers = verified(judged, overall, gate, supported)
    check = length_check(judged) if judged and texts_known else None

    reasons = [*preconditions, headroom(overall, gate), *missing(pairs, overall, treatments, gate)]
    reasons += [*agreement_reasons(agreement, gate), *consistency(judged, overall, gate), by_verifiers]
    reasons += expected(judged, overall, supported)
    if check:
        reasons += length_reasons(judged, overall, check, gate, supported)
        reasons += [*form(judged, overall, check, gate, supported), repetition(pairs, gate)]
        reasons += [*one_answer(judged, overall, gate, supported), *empty(judged, overall, gate)]
        reasons += unclear(judged, overall, gate, supported)
        reasons += [*one_base_answer(judged), *uncut(judged, overall, gate)]
    elif judged:
        reasons.append(_unread(overall))
    reasons += [significance(overall, gate), *clusters(overall, gate), min_lift(overall, gate), width(overall, gate)]
    reasons += [guarantees.reason(result, pairs, gate) for result in results]
    reasons += [discoveries(types, gate), *power(overall, gate)]
    outcomes = {reason.outcome for reason in reasons}
    return Decision(
        verdict="refused" if "refused" in outcomes else "fail" if "fail" in outcomes else "pass",
        overall=overall,
        types=types,
        protected=results,
        reasons=tuple(reasons),
        missing=len(pairs) - len(judged),
        sensitivity=treatments,
        agreement=agreement,
        length=check,
        verified=part,
    )


def _counted(name: str, pairs: Sequence[Pair], gate: Gate) -> GroupResult:
    result = clustered(name, pairs, gate)
    return with_power(result, gate) if result.n else result


def _by_type(pairs: Sequence[Pair], gate: Gate) -> tuple[GroupResult, ...]:
    members: dict[str, list[Pair]] = {}
    for pair in pairs:
        members.setdefault(pair.type, []).append(pair)
    groups = [_counted(name, members[name], gate) for name in sorted(members)]
    adjusted = benjamini_hochberg([deciding_p(result, gate.test) for result in groups])
    return tuple(g.model_copy(update={"p_adjusted": p}) for g, p in zip(groups, adjusted, strict=True))


def _unread(overall: GroupResult) -> Reason:
    """Without the answers nobody can say whether the score is about them."""
    return Reason(
        criterion="score and length",
        outcome="refused" if overall.lift > 0 else "info",
        detail="the answers are not known, so whether success depends on their length cannot be looked at: add the field "
        "output to every row",
    )

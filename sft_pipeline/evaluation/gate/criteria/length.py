"""Score and length: is success a matter of how long an answer is?"""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.gate.criteria.formatting import lift, minus, percent
from sft_pipeline.evaluation.gate.criteria.length_check import LengthCheck, LengthRule, length_check
from sft_pipeline.evaluation.gate.criteria.significance import depends_on
from sft_pipeline.evaluation.gate.pairs import Pair, group
from sft_pipeline.experiment import Gate


def length(pairs: Sequence[Pair], overall: GroupResult, check: LengthCheck, gate: Gate, trusted: bool) -> list[Reason]:
    """Every reason about length.

    Args:
        pairs: the judged pairs.
        overall: their statistics.
        check: the examination of their lengths.
        gate: the criteria.
        trusted: whether human labels agree with the scorers: then a lift that is absent at similar length is no
            objection. Against a rule of length that fits the base they count for nothing: the labelled answers need not
            be the long ones.
    """
    reasons = [_similar(overall, check, trusted), *_rule(overall, check, gate, trusted)]
    if check.artefact is None:
        reasons += _by_type(pairs, overall, gate)
    return reasons


def _similar(overall: GroupResult, check: LengthCheck, trusted: bool) -> Reason:
    """Does the lift survive among pairs of similar length?

    A base that is brief when it is right and rambles when it is wrong leaves no lift there either. Without looking at the
    answers nobody can tell that from a scorer of length, so only what is known of the answers acquits.
    """
    if not check.similar.n:
        detail = "no pair has answers of similar length (a factor of at most 1.5)"
    else:
        detail = (
            f"among pairs whose answers differ in length by a factor of at most 1.5 the lift is {lift(check.similar)}"
        )
    outcome = "info"
    if overall.lift > 0 and check.survives == "yes":
        outcome = "pass"
    elif overall.lift > 0 and check.survives == "no":
        detail += ", and no more than half of that over all pairs can be there"
        if check.acquitted:
            detail += f"; but {_substance(check)}"
        elif trusted:
            detail += "; but human labels agree with the scores"
        else:
            outcome = "refused"
            detail += ": the lift is where the lengths differ, and "
            detail += (
                "the base's outputs hold the expected answers there"
                if check.formal
                else "nothing shows that the answers there are better. Give the expected answers, a scorer that verifies, or "
                "human labels"
            )
    elif overall.lift > 0:
        detail += ": too few to tell whether the lift survives"
    return Reason(criterion="similar lengths", outcome=outcome, detail=detail)


def _rule(overall: GroupResult, check: LengthCheck, gate: Gate, trusted: bool) -> list[Reason]:
    """Is success one rule of length, in characters, words or tokens?"""
    if (rule := check.artefact) and overall.lift:
        explained = "the whole lift" if overall.lift > 0 else "the difference"
        reasons = [
            Reason(
                criterion="score and length",
                outcome="refused",
                detail=f"{_text(rule)} (of the base's, {percent(rule.base_recalls[0])} and {percent(rule.base_recalls[1])}): "
                f"the scorer measures length, and {explained} is explained by it. Judge the same answers by what they say.",
            )
        ]
        if rule.within is not None and rule.within > gate.max_base_success:
            reasons.append(
                Reason(
                    criterion="headroom at equal length",
                    outcome="refused",
                    detail=f"of the base's {rule.within_n} answers within that limit {percent(rule.within)} succeed (limit "
                    f"{percent(gate.max_base_success)}): length aside, there is no headroom",
                )
            )
        return reasons
    if (rule := check.confounded) and overall.lift > 0 and not trusted:
        return [
            Reason(
                criterion="score and length",
                outcome="refused",
                detail=f"{_text(rule)}, and the base's answers alone cannot show whether that is the scorer or the model: it "
                "cannot be told whether the fine-tuned model is better or only of another length. Give the expected "
                "answers, a scorer that verifies, or human labels",
            )
        ]
    detail = "; ".join(_text(rule) for rule in check.rules[:1])
    if check.base_correlation is not None:
        detail += (
            f"; rank correlation of success with length within the base {minus(f'{check.base_correlation:+z.2f}')}"
        )
    if check.acquitted and any(rule.separates for rule in check.rules):
        detail += f"; {_substance(check)}"
    return [Reason(criterion="score and length", outcome="pass", detail=detail)]


def _by_type(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """Is the score of single types one of length, and does the lift stand without them?"""
    members: dict[str, list[Pair]] = {}
    for pair in pairs:
        members.setdefault(pair.type, []).append(pair)
    if len(members) < 2:
        return []
    bad = [name for name, of_type in sorted(members.items()) if length_check(of_type).artefact]
    if not bad:
        return []
    rest = group("other types", [p for p in pairs if p.type not in bad])
    lost = depends_on(overall, rest, gate)
    return [
        Reason(
            criterion="score and length by type",
            outcome="refused" if lost else "info",
            detail=f"success is a matter of length in {', '.join(bad)}; without {'it' if len(bad) == 1 else 'them'} the lift is "
            f"{lift(rest)}" + (": the verdict hangs on what only measures length" if lost else ""),
        )
    ]


def _substance(check: LengthCheck) -> str:
    return (
        f"in {check.substance} of {check.won} won pairs it is not for its length that the base's answer failed (it lacks the "
        "expected answer, or its scorer verifies or cannot count characters)"
    )


def _text(rule: LengthRule) -> str:
    return (
        f"the best rule of length, “a success has at {'most' if rule.shorter else 'least'} {rule.limit} {rule.unit}”, predicts "
        f"{percent(rule.recalls[0])} of all successes and {percent(rule.recalls[1])} of all failures"
    )

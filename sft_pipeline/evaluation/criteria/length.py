"""Score and length: is success a matter of how long an answer is?"""

from collections.abc import Sequence
from dataclasses import replace

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.criteria.significance import significant
from sft_pipeline.evaluation.criteria.wording import lift, minus, percent
from sft_pipeline.evaluation.pair import Pair, group
from sft_pipeline.evaluation.validity import LengthCheck, LengthRule, length_check
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
    return [*reasons, *_form(pairs, overall, check, gate)]


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
        detail += f"; rank correlation of success with length within the base {minus(f'{check.base_correlation:+.2f}')}"
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
    lost = significant(overall, gate) and not significant(rest, gate)
    return [
        Reason(
            criterion="score and length by type",
            outcome="refused" if lost else "info",
            detail=f"success is a matter of length in {', '.join(bad)}; without {'it' if len(bad) == 1 else 'them'} the lift is "
            f"{lift(rest)}" + (": the verdict hangs on what only measures length" if lost else ""),
        )
    ]


def _form(pairs: Sequence[Pair], overall: GroupResult, check: LengthCheck, gate: Gate) -> list[Reason]:
    """Wins in which the base says the right thing in the wrong form; see `_cut` and `_holding`."""
    return [*_cut(pairs, overall, gate), *_holding(pairs, overall, check, gate)]


def _cut(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """The lift when the same scorer judges every failed answer of both models without what stands around it.

    Refused where the lift is no longer significant and at most half of it is left: some parts of wrong answers are right
    by accident, which makes a true lift a little smaller.
    """
    freed = [p for p in pairs if (p.base_cut_success, p.sft_cut_success) != (p.base, p.sft) and p.verified]
    gained = {
        m: sum(getattr(p, f"{m}_cut_success") is True and not getattr(p, m) for p in freed) for m in ("base", "sft")
    }
    if not sum(gained.values()):
        return []
    rest = group(
        "without what stands around the answers",
        [replace(p, base=p.base or p.base_cut_success is True, sft=p.sft or p.sft_cut_success is True) for p in pairs],
    )
    hangs = significant(overall, gate) and not significant(rest, gate) and rest.lift < overall.lift / 2
    return [
        Reason(
            criterion="form or substance",
            outcome="refused" if hangs else "info",
            detail=f"{gained['base']} failed answers of the base and {gained['sft']} of the fine-tuned model are right by the "
            "same scorer when only their first line, paragraph, code block or JSON value is read; with these the lift is "
            f"{lift(rest)}"
            + (
                ": it is one of form. Give both models the same stop strings, or judge that part alone" if hangs else ""
            ),
        )
    ]


def _holding(pairs: Sequence[Pair], overall: GroupResult, check: LengthCheck, gate: Gate) -> list[Reason]:
    """The lift when both models' outputs that hold the expected answer count as successes.

    Such wins are told, for only a reader can weigh them: a number stands in a long output by accident. Refused where they
    are most of the wins and the lift hangs on them: then right answers are rejected for what stands around them, as in
    the stage-1 record.
    """
    if not check.form:
        return []
    rest = group(
        "all that hold the answer",
        [replace(p, base=p.base or p.base_has_answer is True, sft=p.sft or p.sft_has_answer is True) for p in pairs],
    )
    hangs = check.formal and significant(overall, gate) and not significant(rest, gate)
    return [
        Reason(
            criterion="answer in the output",
            outcome="refused" if hangs else "info",
            detail=f"in {check.form} of {check.won} won pairs the base's output also contains the expected answer: as far as "
            "that is no accident, which with a number it may well be, the lift there is one of form (stopping, format) and "
            f"not of knowledge. If every output that contains it counted as a success, the lift would be {lift(rest)}"
            + (
                ". Give both models the same stop strings, or judge in a way that finds the answer in its surroundings"
                if hangs
                else ""
            ),
        )
    ]


def _substance(check: LengthCheck) -> str:
    return (
        f"in {check.substance} of {check.won} won pairs the base's answer is known to be wrong (it lacks the expected answer, "
        "or a verifier judged)"
    )


def _text(rule: LengthRule) -> str:
    return (
        f"the best rule of length, “a success has at {'most' if rule.shorter else 'least'} {rule.limit} {rule.unit}”, predicts "
        f"{percent(rule.recalls[0])} of all successes and {percent(rule.recalls[1])} of all failures"
    )

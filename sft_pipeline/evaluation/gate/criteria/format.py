"""Form or substance: does the base say the right thing in the wrong form where it loses?"""

from collections.abc import Sequence
from dataclasses import replace

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.gate.criteria.formatting import lift
from sft_pipeline.evaluation.gate.criteria.length_check import LengthCheck
from sft_pipeline.evaluation.gate.criteria.significance import depends_on
from sft_pipeline.evaluation.gate.pairs import Pair, group
from sft_pipeline.experiment import Gate


def form(pairs: Sequence[Pair], overall: GroupResult, check: LengthCheck, gate: Gate, trusted: bool) -> list[Reason]:
    """Both reasons about form.

    Args:
        pairs: the judged pairs.
        overall: their statistics.
        check: the examination of their lengths, which counts the wins of form.
        gate: the criteria.
        trusted: whether human labels agree with the scorers: then an answer that failed is wrong, whatever it holds.
    """
    return [*_cut(pairs, overall, gate), *_holding(pairs, overall, check, gate, trusted)]


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
    hangs = depends_on(overall, rest, gate) and rest.lift < overall.lift / 2
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


def _holding(
    pairs: Sequence[Pair], overall: GroupResult, check: LengthCheck, gate: Gate, trusted: bool
) -> list[Reason]:
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
    hangs = check.formal and depends_on(overall, rest, gate) and not trusted
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
                else "; but human labels agree with the scores"
                if trusted and check.formal
                else ""
            ),
        )
    ]


def unclear(pairs: Sequence[Pair], overall: GroupResult, gate: Gate, trusted: bool) -> list[Reason]:
    """The lift when answers that name several choices are held against the fine-tuned model.

    `choice` fails such an answer of a base that reasons about the choices, `contains` accepts such a one of an adapter that
    does: either makes a lift of nothing. Refused where the lift hangs on them, unless human labels agree (`trusted`).
    """
    several = {m: sum(getattr(p, f"{m}_unclear") for p in pairs) for m in ("base", "sft")}
    if not sum(several.values()):
        return []
    rest = group(
        "with answers that name several held against the fine-tuned model",
        [replace(p, base=p.base or p.base_unclear, sft=p.sft and not p.sft_unclear) for p in pairs],
    )
    hangs = depends_on(overall, rest, gate) and not trusted
    detail = (
        f"{several['base']} answers of the base and {several['sft']} of the fine-tuned model name the right choice and "
        "others, so that their scorer cannot tell which one they mean; with all of them held against the fine-tuned model "
        f"the lift is {lift(rest)}"
    )
    if hangs:
        detail += (
            ": it is one of naming. Let both models say which one they mean (“The answer is B”) and judge by the scorer "
            "choice, or have a sample labelled"
        )
    return [Reason(criterion="several choices", outcome="refused" if hangs else "info", detail=detail)]

"""Does the lift survive among the items that a verifier judged, rather than a heuristic or an opinion?"""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.gate.criteria.formatting import lift
from sft_pipeline.evaluation.gate.criteria.length_check import survives
from sft_pipeline.evaluation.gate.criteria.significance import significant
from sft_pipeline.evaluation.gate.pairs import Pair, group
from sft_pipeline.evaluation.statistics.paired import deciding_p
from sft_pipeline.experiment import Gate

SUPPORT = 0.2
"""Two-sided p up to which a positive lift without the heuristics supports the one with them; it need not be significant.

With the exact test it asks for at least 4 wins without a loss. How many sound results that refuses and how many unsound
ones it lets through: benchmarks/gate_error.py, table `support`."""


def verified(
    pairs: Sequence[Pair], overall: GroupResult, gate: Gate, trusted: bool
) -> tuple[GroupResult | None, Reason]:
    """The statistics of the verified pairs, where there are some and not all, and the reason.

    A lift that is not there among them (see `survives`) rests on heuristics, as one does to which all that heuristics did not
    judge lends no support (`SUPPORT`): refused unless human labels agree with the scorers (`trusted`). A judge that compared
    both answers is an opinion and no heuristic, and judgements that were brought are taken as they are.
    """

    def reason(outcome: str, detail: str) -> Reason:
        return Reason(criterion="verified items", outcome=outcome, detail=detail)

    known = [p for p in pairs if p.verified]
    if not pairs:
        return None, reason("info", "there is no judged pair")
    if len(known) == len(pairs):
        return None, reason("pass", "verifiers judged all items against a ground truth")
    if all(p.verified is None for p in pairs):
        return None, reason(
            "info",
            "success was brought with the answers: how they were judged is not known here. Have a sample labelled",
        )
    part = group("verified items", known) if known else None
    others = [p for p in pairs if p.verified is not False or p.compared]
    remedy = (
        "Heuristics look for phrases and see no quality. Have a sample of the answers labelled (evaluation.human_labels, kappa "
        f"of at least {gate.min_kappa:g}), or add items that a verifier judges"
    )
    if not others and overall.lift > 0 and not trusted:
        return None, reason("refused", f"only heuristics judged. {remedy}")
    if others and len(others) < len(pairs) and significant(overall, gate) and not trusted:
        rest = group("judged by no heuristic", others)
        p = deciding_p(rest, gate.test)
        if rest.lift <= 0 or p > SUPPORT:
            return part, reason(
                "refused",
                f"without the {len(pairs) - rest.n} items that only a heuristic judged the lift is {lift(rest)}, which lends "
                f"no support (p = {p:.2g}; a positive lift with p of at most {SUPPORT:g} would). {remedy}",
            )
    if part is None:
        labels = "" if trusted else f" Human labels (kappa of at least {gate.min_kappa:g}) would support it"
        return None, reason(
            "info", f"no item was judged by a verifier: the verdict rests on heuristics or opinions.{labels}"
        )
    detail = f"among the {part.n} of {len(pairs)} items that verifiers judged the lift is {lift(part)}"
    if overall.lift <= 0:
        return part, reason("info", detail)
    outcome = {"yes": "pass", "no": "refused", "cannot tell": "info"}[survives(part, overall)]
    if outcome == "refused":
        detail += ", and no more than half of that over all can be there: the lift rests on heuristics or opinions"
        if trusted:
            return part, reason("info", f"{detail}, with which human labels agree")
        detail += ". Verify these items, or have a sample of them labelled"
    elif outcome == "info":
        detail += ": too few to tell whether it survives among them"
    return part, reason(outcome, detail)


def expected(pairs: Sequence[Pair], overall: GroupResult, trusted: bool) -> list[Reason]:
    """Won pairs whose judgement was brought and whose winning answer lacks the short expected one.

    Refused where they are most of the wins: either the judgements or the expected answers are wrong. Human labels that
    agree (`trusted`) show that it is the latter.
    """
    brought = [p for p in pairs if p.won and p.verified is None and p.sft_has_answer is not None]
    lacking = sum(p.sft_has_answer is False for p in brought)
    if not lacking:
        return []
    contradicts = overall.lift > 0 and 2 * lacking > overall.won and not trusted
    return [
        Reason(
            criterion="judgements and expected answers",
            outcome="refused" if contradicts else "info",
            detail=f"in {lacking} of {overall.won} won pairs the fine-tuned model's answer was judged a success and does not "
            "contain the expected answer"
            + (
                ": the judgements contradict the expected answers. Correct one of them, or have a sample labelled"
                if contradicts
                else ""
            ),
        )
    ]

"""Does the lift survive among the items that a verifier judged, rather than a heuristic or an opinion?"""

from collections.abc import Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.criteria.wording import lift
from sft_pipeline.evaluation.pair import Pair, group
from sft_pipeline.evaluation.validity import survives
from sft_pipeline.experiment import Gate


def verified(
    pairs: Sequence[Pair], overall: GroupResult, gate: Gate, trusted: bool
) -> tuple[GroupResult | None, Reason]:
    """The statistics of the verified pairs, where there are some and not all, and the reason.

    A lift that is not there among them (see `survives`) rests on heuristics, as one does that nothing else judged: refused
    unless human labels agree with the scorers (`trusted`). A judge that compared both answers is an opinion and no
    heuristic, and judgements that were brought are taken as they are.
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
    if all(p.verified is False and not p.compared for p in pairs) and overall.lift > 0 and not trusted:
        return None, reason(
            "refused",
            "only heuristics judged, which look for phrases and see no quality. Have a sample of the answers labelled "
            f"(evaluation.human_labels, kappa of at least {gate.min_kappa:g}), or add items that a verifier judges",
        )
    if not known:
        labels = "" if trusted else f" Human labels (kappa of at least {gate.min_kappa:g}) would support it"
        return None, reason(
            "info", f"no item was judged by a verifier: the verdict rests on heuristics or opinions.{labels}"
        )
    part = group("verified items", known)
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

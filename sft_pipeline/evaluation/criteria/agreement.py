"""Agreement of the scorers with human labels, where there are some."""

import math

from sft_pipeline.artifacts import Agreement, Reason
from sft_pipeline.evaluation.criteria.wording import minus, percent
from sft_pipeline.experiment import Gate

FEWEST = 20
"""Labels from which kappa is taken to say something."""


def trusted(found: Agreement | None, gate: Gate) -> bool:
    """Whether enough labels agree well enough to support the scores."""
    return found is not None and found.n >= FEWEST and found.kappa is not None and found.kappa >= gate.min_kappa


def agreement(found: Agreement | None, gate: Gate) -> list[Reason]:
    """Refused where kappa lies below the limit: then the scores are not what people see.

    From fewer than 20 labels only an interval that ends below the limit refuses.
    """
    if found is None:
        return []

    def reason(outcome: str, detail: str) -> list[Reason]:
        return [Reason(criterion="human labels", outcome=outcome, detail=detail)]

    if not found.n:
        return reason(
            "refused",
            "none of the human labels is of these answers: a label belongs to the text that was read. Label these",
        )
    detail = f"{found.agreed} of {found.n} labels agree with the scorers ({percent(found.agreed / found.n)})"
    if found.kappa is None:
        return reason(
            "info", f"{detail}; all are of one kind, from which no kappa follows: label successes and failures alike"
        )
    detail += f", kappa {minus(f'{found.kappa:.2f}')}, at least {gate.min_kappa:g} is asked for"
    low, high = found.interval or (-1.0, 1.0)
    if found.interval:
        detail += f" (95 % interval {minus(f'{low:.2f}')} to {minus(f'{high:.2f}')})"
    if found.kappa < gate.min_kappa and (found.n >= FEWEST or high < gate.min_kappa):
        return reason("refused", f"{detail}: the scorers do not see what people see. Correct them, or judge anew")
    if found.n < FEWEST:
        return reason("info", f"{detail}: too few to tell, label at least {FEWEST} answers of both models")
    if low < gate.min_kappa:
        detail += f"; the interval reaches below it: {_needed(found, gate)}"
    return reason("pass", detail)


def _needed(found: Agreement, gate: Gate) -> str:
    """The interval narrows with the square root of the number of labels."""
    short = found.kappa - found.interval[0]
    room = found.kappa - gate.min_kappa
    if room <= 0.01:
        return "more labels would settle it"
    return f"about {math.ceil(found.n * (short / room) ** 2)} labels with this agreement would settle it"

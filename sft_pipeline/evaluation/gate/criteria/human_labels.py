"""Agreement of the scorers with human labels, where there are some."""

import math
from collections.abc import Iterator

from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.criterion import Finding
from sft_pipeline.evaluation.gate.criteria.formatting import minus, percent
from sft_pipeline.evaluation.statistics.kappa import unsupported
from sft_pipeline.evaluation.statistics.paired import wilson


def labels(c: Comparison) -> Iterator[Finding]:
    """Refused where kappa lies below the limit: then the scores are not what people see.

    From fewer than `min_labels` labels only an interval that ends below the limit refuses.
    """
    found, gate = c.agreement, c.gate
    if found is None:
        return
    if not found.n:
        yield Finding(
            "none of the human labels is of these answers: a label belongs to the text that was read", "refused"
        )
        return
    detail = (
        f"{found.agreed} of {found.n} labels agree with the scorers ({percent(found.agreed / found.n)}; of the base "
        f"{found.base_agreed} of {found.base_n}, of the fine-tuned model {found.sft_agreed} of {found.sft_n})"
    )
    if found.kappa is None:
        low, high = wilson(found.agreed, found.n)
        detail += (
            f", 95 % interval {percent(low)} to {percent(high)}; people or scorers give verdicts of one kind only, from which no "
            "kappa follows and no support: label successes and failures alike"
        )
        yield Finding(detail, "info")
        return
    low, high = found.interval or (-1.0, 1.0)
    detail += f", kappa {minus(f'{found.kappa:z.2f}')}, at least {gate.min_kappa:g} is required"
    if found.interval:
        detail += f" (95 % interval {minus(f'{low:z.2f}')} to {minus(f'{high:z.2f}')})"
    if found.kappa < gate.min_kappa and (found.n >= gate.min_labels or high < gate.min_kappa):
        yield Finding(f"{detail}: the scorers do not see what people see", "refused")
    elif found.n < gate.min_labels:
        yield Finding(f"{detail}: too few to tell, label at least {gate.min_labels} answers of both models", "info")
    else:
        if low < gate.min_kappa:
            detail += f"; the interval reaches below it: {_needed(found.n, found.kappa, low, gate.min_kappa)}"
        short = unsupported(found, gate)
        if short:
            detail += (
                f"; of the {' and the '.join(short)} too few are labelled or agree, so they support no lift: label at least "
                f"{gate.min_labels_each} answers of each model"
            )
        yield Finding(detail, "info" if short else "pass")


def _needed(n: int, kappa: float, low: float, required: float) -> str:
    """The interval narrows with the square root of the number of labels."""
    if kappa - required <= 0.01:
        return "more labels would settle it"
    return (
        f"about {math.ceil(n * ((kappa - low) / (kappa - required)) ** 2)} labels with this agreement would settle it"
    )

"""Agreement of the scorers with human labels, where there are some."""

import math
from typing import Literal

from sft_pipeline.artifacts import Agreement
from sft_pipeline.evaluation.gate.criteria.formatting import minus, percent
from sft_pipeline.evaluation.statistics.paired import wilson
from sft_pipeline.experiment import Gate


def trusted(found: Agreement | None, gate: Gate) -> bool:
    """Whether enough labels of both models' answers agree well enough to support the scores."""
    return (
        found is not None
        and found.n >= gate.min_labels
        and found.kappa is not None
        and found.kappa >= gate.min_kappa
        and not _unsupported(found, gate)
    )


def _unsupported(found: Agreement, gate: Gate) -> list[str]:
    """The models whose scores the labels do not support: too few of their answers are labelled, or too few of these agree.

    One model's labels may all be of one kind, so their share of disagreement is held against what all labels leave to
    chance: kappa is one minus the ratio of the two.
    """
    short = []
    kappa = found.kappa if found.kappa is not None else 0.0
    for name, n, agreed in (
        ("base", found.base_n, found.base_agreed),
        ("fine-tuned model", found.sft_n, found.sft_agreed),
    ):
        disagreed, all_disagreed = (n - agreed) * found.n, (found.n - found.agreed) * n
        if n < gate.min_labels_each or disagreed * (1 - kappa) > (1 - gate.min_kappa) * all_disagreed:
            short.append(name)
    return short


def agreement(found: Agreement, gate: Gate) -> tuple[Literal["pass", "refused", "info"], str]:
    """Outcome and detail; refused where kappa lies below the limit: then the scores are not what people see.

    From fewer than `min_labels` labels only an interval that ends below the limit refuses.
    """
    if not found.n:
        return "refused", "none of the human labels is of these answers: a label belongs to the text that was read"
    detail = (
        f"{found.agreed} of {found.n} labels agree with the scorers ({percent(found.agreed / found.n)}; of the base "
        f"{found.base_agreed} of {found.base_n}, of the fine-tuned model {found.sft_agreed} of {found.sft_n})"
    )
    if found.kappa is None:
        low, high = wilson(found.agreed, found.n)
        return "info", (
            f"{detail}, 95 % interval {percent(low)} to {percent(high)}; people or scorers give verdicts of one kind only, from "
            "which no kappa follows and no support: label successes and failures alike"
        )
    detail += f", kappa {minus(f'{found.kappa:z.2f}')}, at least {gate.min_kappa:g} is required"
    low, high = found.interval or (-1.0, 1.0)
    if found.interval:
        detail += f" (95 % interval {minus(f'{low:z.2f}')} to {minus(f'{high:z.2f}')})"
    if found.kappa < gate.min_kappa and (found.n >= gate.min_labels or high < gate.min_kappa):
        return "refused", f"{detail}: the scorers do not see what people see"
    if found.n < gate.min_labels:
        return "info", f"{detail}: too few to tell, label at least {gate.min_labels} answers of both models"
    if low < gate.min_kappa:
        detail += f"; the interval reaches below it: {_needed(found, gate)}"
    if short := _unsupported(found, gate):
        return "info", (
            f"{detail}; of the {' and the '.join(short)} too few are labelled or agree, so they support no lift: label at least "
            f"{gate.min_labels_each} answers of each model"
        )
    return "pass", detail


def _needed(found: Agreement, gate: Gate) -> str:
    """The interval narrows with the square root of the number of labels."""
    assert found.kappa is not None and found.interval is not None  # asked only where there are both
    short = found.kappa - found.interval[0]
    room = found.kappa - gate.min_kappa
    if room <= 0.01:
        return "more labels would settle it"
    return f"about {math.ceil(found.n * (short / room) ** 2)} labels with this agreement would settle it"

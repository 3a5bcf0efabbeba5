"""What people say of the same answers: labels of single ones, and which model they prefer."""

import math
from collections.abc import Iterator

from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.criterion import Finding
from sft_pipeline.evaluation.gate.criteria.formatting import interval, minus, percent, signed
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


def preference(c: Comparison) -> Iterator[Finding]:
    """The declared claim about people's preference; without one it is only reported."""
    p, asked = c.preference, c.gate.people
    if p is None:
        if asked:
            yield Finding("the specification asks what people prefer, and no rating was returned", "refused")
        return
    texts = {pair.id: p.of_texts(pair.base.output, pair.sft.output) for pair in c.pairs if pair.id in p.answers}
    if other := sorted(id for id, judged in p.answers.items() if texts.get(id) != judged):
        yield Finding(
            f"people judged other answers than these to {len(other)} of {len(p.answers)} items, such as {other[0]}",
            "refused" if asked else "info",
        )
        return
    detail = (
        f"people's net preference for the fine-tuned model is {signed(p.net.value)} points ({interval(p.net.interval)}), sign "
        f"test p = {p.p:.3g}, over {p.n} judged pairs"
    )
    if asked is None:
        yield Finding(detail, "info")
    elif asked == "prefer":
        holds = p.net.value > 0 and p.p <= c.gate.alpha
        yield Finding(f"{detail}; it must be positive at alpha = {c.gate.alpha:g}", "pass" if holds else "fail")
    else:
        holds = p.net.interval[0] > -c.gate.people_margin
        yield Finding(
            f"{detail}; its lower bound must lie above {signed(-c.gate.people_margin)} points",
            "pass" if holds else "fail",
        )

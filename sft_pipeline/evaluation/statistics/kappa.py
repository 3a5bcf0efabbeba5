"""Agreement of the scorers with human labels over the same outputs."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

from sft_pipeline.artifacts import Agreement
from sft_pipeline.evaluation.inputs.human_labels import Label
from sft_pipeline.experiment import Gate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Model = Literal["base", "sft"]


def agreement(
    labels: Mapping[tuple[str, str], Label], judged: Iterable[tuple[Model, str, str, bool | None]]
) -> Agreement:
    """Cohen's kappa of labels and verdicts with its 95 % interval, and how many agree by model.

    Where people or scorers give one kind of verdict only, chance alone explains all agreement and kappa says nothing: there
    is none. The interval is by the large-sample variance of statsmodels; where all agree, or none, that variance is 0
    however few the labels, and the interval is that of the share which agrees (Clopper and Pearson) over the same chance.

    Cohen, A coefficient of agreement for nominal scales (1960); variance by Fleiss, Cohen and Everitt (1969).

    Args:
        labels: human labels by id and output (evaluation/inputs/human_labels.py); undecided ones are left out.
        judged: (model, id, output, success) of the scorers; an output that both models gave counts once, and for each of
            them. A verdict that was made in pairs is none on an output: leave it out.
    """
    import numpy as np

    known = {
        (model, id, output): (bool(label.success), success)
        for model, id, output, success in judged
        if success is not None and (label := labels.get((id, output))) is not None and label.success is not None
    }
    table = np.zeros((2, 2), int)  # [label][verdict]
    for _, _, (said, scored) in {(id, output, both) for (_, id, output), both in known.items()}:
        table[int(said), int(scored)] += 1
    by_model: dict[str, int] = {}
    for model in ("base", "sft"):
        of_model = [said == scored for (whose, _, _), (said, scored) in known.items() if whose == model]
        by_model |= {f"{model}_n": len(of_model), f"{model}_agreed": sum(of_model)}
    kappa, interval = cohens_kappa(table)
    return Agreement(n=int(table.sum()), agreed=int(np.trace(table)), kappa=kappa, interval=interval, **by_model)


def trusted(found: Agreement | None, gate: Gate) -> bool:
    """Whether enough labels of both models' answers agree well enough to support the scores."""
    return (
        found is not None
        and found.n >= gate.min_labels
        and found.kappa is not None
        and found.kappa >= gate.min_kappa
        and not unsupported(found, gate)
    )


def unsupported(found: Agreement, gate: Gate) -> list[str]:
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


def cohens_kappa(table: "NDArray[np.int_]") -> tuple[float | None, tuple[float, float] | None]:
    """Kappa of a square table of counts with its 95 % interval; None where one side says one thing only."""
    import numpy as np
    from scipy.stats import norm
    from statsmodels.stats import inter_rater
    from statsmodels.stats.proportion import proportion_confint

    n, agreed = int(table.sum()), int(np.trace(table))
    if n == 0 or n in table.sum(axis=0) or n in table.sum(axis=1):
        return None, None
    with np.errstate(invalid="ignore"):  # its test statistic, which is not used, divides by a variance that may be 0
        result = inter_rater.cohens_kappa(table)
    kappa = float(result.kappa)
    if agreed in (0, n):
        chance = float(table.sum(axis=0) @ table.sum(axis=1)) / n**2
        low, high = ((share - chance) / (1 - chance) for share in proportion_confint(agreed, n, method="beta"))
    else:
        half = norm.ppf(0.975) * max(0.0, float(result.var_kappa)) ** 0.5  # rounding: -1e-17
        low, high = kappa - half, kappa + half
    return kappa, (max(-1.0, float(low)), min(1.0, float(high)))

"""Agreement of the scorers with human labels over the same outputs."""

from collections.abc import Iterable, Mapping

from sft_pipeline.artifacts import Agreement
from sft_pipeline.evaluation.labels import Label


def agreement(labels: Mapping[tuple[str, str], Label], judged: Iterable[tuple[str, str, bool | None]]) -> Agreement:
    """Cohen's kappa of labels and verdicts, with the 95 % interval by the large-sample variance of statsmodels.

    Cohen, A coefficient of agreement for nominal scales (1960); variance by Fleiss, Cohen and Everitt (1969). Where all
    agree that variance is 0 and the interval is a point, however few the labels: look at n as well.

    Args:
        labels: human labels by id and output (evaluation/labels.py); undecided ones are left out.
        judged: (id, output, success) of the scorers, of both models; an output that both gave counts once. A verdict
            that was made in pairs is none on an output: leave it out.
    """
    import numpy as np
    from scipy.stats import norm
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.zeros((2, 2), int)  # [label][verdict]
    for id, output, success in {row for row in judged if row[2] is not None}:
        label = labels.get((id, output))
        if label is not None and label.success is not None:
            table[int(label.success), int(success)] += 1
    n, agreed = int(table.sum()), int(np.trace(table))
    if n == 0 or n in (table[0, 0], table[1, 1]):
        return Agreement(n=n, agreed=agreed, kappa=None, interval=None)
    with np.errstate(invalid="ignore"):  # its test statistic, which is not used, divides by a variance that may be 0
        result = cohens_kappa(table)
    kappa, half = float(result.kappa), norm.ppf(0.975) * max(0.0, float(result.var_kappa)) ** 0.5  # rounding: -1e-17
    return Agreement(n=n, agreed=agreed, kappa=kappa, interval=(max(-1.0, kappa - half), min(1.0, kappa + half)))

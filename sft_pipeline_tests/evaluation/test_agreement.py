"""Cohen's kappa of labels and verdicts."""

from math import sqrt

import pytest

from sft_pipeline.evaluation.agreement import agreement
from sft_pipeline.evaluation.labels import Label


def sample(table: list[list[int]]):
    """Labels and verdicts with this table [label][verdict], False first."""
    labels, judged = {}, []
    for label in (False, True):
        for verdict in (False, True):
            for k in range(table[label][verdict]):
                id = f"{label}{verdict}{k}"
                labels[id, "text"] = Label(label, "")
                judged.append((id, "text", verdict))
    return labels, judged


def test_kappa_and_its_interval_are_those_of_the_formulas():
    # 50 applications read by two people: the usual worked example, kappa 0.40
    result = agreement(*sample([[15, 10], [5, 20]]))
    assert (result.n, result.agreed) == (50, 35)
    assert result.kappa == pytest.approx(0.4)
    # Fleiss, Cohen and Everitt 1969, equation 13
    p = [[0.3, 0.2], [0.1, 0.4]]
    rows, columns = [0.5, 0.5], [0.4, 0.6]
    observed, expected = 0.7, 0.5
    variance = (
        sum(p[i][i] * ((1 - expected) - (columns[i] + rows[i]) * (1 - observed)) ** 2 for i in (0, 1))
        + (1 - observed) ** 2 * (p[0][1] * (columns[0] + rows[1]) ** 2 + p[1][0] * (columns[1] + rows[0]) ** 2)
        - (observed * expected - 2 * expected + observed) ** 2
    ) / (50 * (1 - expected) ** 4)
    assert result.interval == pytest.approx((0.4 - 1.959964 * sqrt(variance), 0.4 + 1.959964 * sqrt(variance)))


def test_labels_join_by_id_and_text_and_what_is_undecided_is_left_out():
    labels = {("a", "x"): Label(True, ""), ("b", "x"): Label(False, ""), ("c", "x"): Label(None, "")}
    judged = [
        ("a", "x", True),
        ("a", "x", True),
        ("a", "y", False),
        ("b", "x", None),
        ("c", "x", True),
        ("d", "x", True),
    ]
    result = agreement(labels, judged)
    assert (result.n, result.agreed, result.kappa) == (1, 1, None)
    assert agreement(labels, []).n == 0


def test_one_and_the_same_label_on_both_sides_has_no_kappa():
    assert agreement(*sample([[0, 0], [0, 9]])).kappa is None
    assert agreement(*sample([[9, 0], [0, 0]])).interval is None
    constant = agreement(*sample([[0, 1], [0, 9]]))  # of the verdicts alone
    assert (constant.kappa, constant.interval) == (0.0, (0.0, 0.0))
    assert agreement(*sample([[4, 0], [0, 6]])).kappa == 1.0

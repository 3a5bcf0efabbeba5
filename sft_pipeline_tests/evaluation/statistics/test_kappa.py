"""Cohen's kappa of labels and verdicts."""

from math import sqrt

import pytest

from sft_pipeline.evaluation.inputs.human_labels import Label
from sft_pipeline.evaluation.statistics.kappa import agreement


def sample(table: list[list[int]]):
    """Labels and verdicts with this table [label][verdict], False first."""
    labels, judged = {}, []
    for label in (False, True):
        for verdict in (False, True):
            for k in range(table[label][verdict]):
                id = f"{label}{verdict}{k}"
                labels[id, "text"] = Label(label, "")
                judged.append(("base", id, "text", verdict))
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
        ("base", "a", "x", True),
        ("base", "a", "x", True),
        ("base", "a", "y", False),
        ("base", "b", "x", None),
        ("base", "c", "x", True),
        ("base", "d", "x", True),
    ]
    result = agreement(labels, judged)
    assert (result.n, result.agreed, result.kappa) == (1, 1, None)
    assert agreement(labels, []).n == 0


def test_verdicts_of_one_kind_on_either_side_have_no_kappa():
    for table in ([[0, 0], [0, 9]], [[9, 0], [0, 0]], [[0, 0], [1, 24]], [[0, 13], [0, 12]], [[0, 1], [0, 1]]):
        result = agreement(*sample(table))
        assert (result.kappa, result.interval) == (None, None), table
    assert (result.n, result.agreed) == (2, 1)


def test_where_all_agree_or_none_the_interval_is_no_point():
    """Its variance is 0, however few the labels: then the share that agrees has an exact interval."""
    few, many = agreement(*sample([[2, 0], [0, 2]])), agreement(*sample([[100, 0], [0, 100]]))
    assert few.kappa == many.kappa == 1.0
    # Clopper and Pearson: 0.025 ** (1 / n) at least, and half of the agreement is chance
    assert few.interval == pytest.approx((2 * 0.025 ** (1 / 4) - 1, 1.0))
    assert many.interval == pytest.approx((2 * 0.025 ** (1 / 200) - 1, 1.0))
    none = agreement(*sample([[0, 1], [1, 0]]))
    assert none.kappa == -1.0 and none.interval == pytest.approx((-1.0, 2 * (1 - 0.025 ** (1 / 2)) - 1))


def test_agreement_is_counted_by_model_and_a_text_of_both_is_of_both():
    labels = {("a", "x"): Label(True, ""), ("b", "x"): Label(False, ""), ("c", "x"): Label(True, "")}
    judged = [("base", "a", "x", True), ("sft", "a", "x", True), ("sft", "b", "x", False), ("sft", "c", "x", False)]
    result = agreement(labels, judged)
    assert (result.n, result.agreed) == (3, 2)
    assert (result.base_n, result.base_agreed, result.sft_n, result.sft_agreed) == (1, 1, 3, 2)

"""The paired test of scores: against scipy's permutation test, McNemar's exact test, and for whole clusters."""

import numpy as np
import pytest
from scipy.stats import permutation_test

from sft_pipeline.evaluation.statistics.paired import paired
from sft_pipeline.evaluation.statistics.scores import paired_scores


@pytest.mark.parametrize(("n", "tolerance"), [(9, 1e-12), (40, 0.02)])
def test_p_is_that_of_a_permutation_test_exact_for_few_items(n, tolerance):
    rng = np.random.default_rng(n)
    base, model = rng.integers(0, 11, n) / 10, rng.integers(1, 12, n) / 10
    found = paired_scores(base, model, [None] * n, 1000, 1)
    expected = permutation_test(
        (model, base), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True, rng=2
    )
    assert found.difference == pytest.approx((model - base).mean())
    assert found.p == pytest.approx(expected.pvalue, abs=tolerance)
    assert found.interval[0] < found.difference < found.interval[1]


def test_outcomes_of_0_and_1_give_mcnemars_exact_p():
    base, model = [1, 0, 0, 0, 0, 0, 1, 0], [0, 1, 1, 1, 1, 1, 1, 0]
    found = paired_scores(base, model, [None] * 8, 100, 1)
    assert found.p == pytest.approx(paired("", list(map(bool, base)), list(map(bool, model))).p_exact)


def test_items_of_one_cluster_are_one_observation_in_any_order():
    base, model = [0.1, 0.2, 0.3] * 20, [0.4, 0.4, 0.6] * 20
    clusters = ["a", "b", "c"] * 20
    found = paired_scores(base, model, clusters, 200, 1)
    assert (found.clusters, found.p) == (3, 2 / 2**3)
    assert paired_scores(base[::-1], model[::-1], clusters[::-1], 200, 1) == found
    alone = paired_scores(base, model, ["a"] * 60, 200, 1)
    assert (alone.p, alone.interval) == (1.0, (float("-inf"), float("inf")))

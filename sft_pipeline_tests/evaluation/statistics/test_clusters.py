"""The bootstrap by cluster: against scipy's on the clusters, mirrored by a swap, and honest where nothing varies."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.evaluation.statistics.clusters import cluster_interval, cluster_p, with_clusters
from sft_pipeline.evaluation.statistics.paired import mcnemar, paired, tango
from sft_pipeline.experiment import Gate

GATE = Gate(bootstrap_samples=2000, bootstrap_seed=1)

items = st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from(["a", "b", "c", "d", "e", None])), max_size=40)


def clustered(seed: int, clusters: int, size: int):
    """Outcomes of both models and clusters; all items of a cluster are decided together in three of four clusters."""
    import numpy as np

    rng = np.random.default_rng(seed)
    shared = rng.random((clusters, 2)) < (0.4, 0.6)
    alone = rng.random((clusters, size, 2)) < (0.4, 0.6)
    outcomes = np.where((rng.random(clusters) < 0.75)[:, None, None], shared[:, None, :], alone)
    base, sft = outcomes.reshape(-1, 2).T.tolist()
    return base, sft, [f"text {k}" for k in range(clusters) for _ in range(size)]


def test_the_interval_is_that_of_scipys_bootstrap_over_the_clusters():
    import numpy as np
    from scipy.stats import bootstrap

    base, sft, clusters = clustered(1, clusters=40, size=4)
    base, sft, clusters = base[:-7], sft[:-7], clusters[:-7]  # clusters of different size
    sizes, lifts = np.zeros(40), np.zeros(40)
    for b, s, name in zip(base, sft, clusters, strict=True):
        sizes[int(name.split()[1])] += 1
        lifts[int(name.split()[1])] += int(s) - int(b)
    kept = np.flatnonzero(sizes)

    def lift(drawn, axis):
        return lifts[drawn].sum(axis) / sizes[drawn].sum(axis)

    oracle = bootstrap((kept,), lift, n_resamples=40_000, method="percentile", rng=5).confidence_interval
    assert cluster_interval(base, sft, clusters, 40_000, 3) == pytest.approx(tuple(oracle), abs=0.006)


def test_items_that_stand_together_give_a_wider_interval_than_tangos():
    base, sft, clusters = clustered(2, clusters=60, size=10)
    result = with_clusters(paired("x", base, sft), base, sft, clusters, GATE)
    (low, high), (tango_low, tango_high) = result.cluster_interval, result.lift_interval
    assert result.clusters == 60
    assert high - low > 2 * (tango_high - tango_low)


def test_a_result_without_shared_clusters_stays_as_it_is():
    base, sft = [True, False, True], [True, True, True]
    result = paired("x", base, sft)
    assert with_clusters(result, base, sft, [None, "a", None], GATE) == result
    assert with_clusters(result, base, sft, ["b", "a", "c"], GATE) == result


@given(rows=items, seed=st.integers(0, 5))
@settings(max_examples=150)
def test_swapping_the_models_mirrors_the_interval_and_it_contains_the_estimate(rows, seed):
    base, sft, clusters = ([row[k] for row in rows] for k in range(3))
    low, high = cluster_interval(base, sft, clusters, 500, seed)
    assert cluster_interval(sft, base, clusters, 500, seed) == (-high, -low)
    assert -1 <= low <= paired("x", base, sft).lift <= high <= 1


def test_the_order_of_the_items_does_not_matter():
    base, sft, clusters = clustered(3, clusters=15, size=3)
    there = cluster_interval(base[::-1], sft[::-1], clusters[::-1], 500, 4)
    assert cluster_interval(base, sft, clusters, 500, 4) == there
    assert cluster_interval(base, sft, clusters, 500, 5) != there


def test_no_items_one_cluster_and_clusters_all_alike_give_no_false_certainty():
    assert cluster_interval([], [], [], 500, 1) == (-1, 1)
    assert cluster_interval([False, True, True], [True, True, True], ["a"] * 3, 500, 1) == (-1, 1)
    twenty = [name for name in "abcdefghijklmnopqrst" for _ in range(3)]
    for base, sft, lost, won in ((False, False, 0, 0), (False, True, 0, 20), (True, False, 20, 0)):
        assert cluster_interval([base] * 60, [sft] * 60, twenty, 500, 1) == tango(lost, won, 20)


def test_sequences_of_different_length_are_an_error():
    with pytest.raises(ValueError, match="2 clusters"):
        cluster_interval([True], [True], ["a", "b"], 500, 1)


@given(outcomes=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_with_a_cluster_for_each_item_the_sign_flips_are_mcnemars_exact_test(outcomes):
    base, sft = zip(*outcomes, strict=True)
    lost, won = sum(b and not s for b, s in outcomes), sum(s and not b for b, s in outcomes)
    assert cluster_p(base, sft, [None] * len(base)) == pytest.approx(mcnemar(lost, won).exact, abs=1e-12)


@given(
    rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcdefgh")), min_size=1, max_size=40),
)
def test_the_p_of_clusters_is_the_share_of_all_sign_flips(rows):
    base, sft, names = zip(*rows, strict=True)
    sums = {name: sum(s - b for b, s, n in rows if n == name) for name in set(names)}
    totals = [
        sum(sign * x for sign, x in zip(signs, sums.values(), strict=True))
        for signs in product((-1, 1), repeat=len(sums))
    ]
    expected = sum(abs(total) >= abs(sum(sums.values())) for total in totals) / len(totals)
    assert cluster_p(base, sft, names) == pytest.approx(expected, abs=1e-12)
    assert cluster_p(sft, base, names) == pytest.approx(expected, abs=1e-12)

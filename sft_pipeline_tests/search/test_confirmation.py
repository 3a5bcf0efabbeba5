"""The statistics that decide whether a search has found anything."""

import random

import pytest

from sft_pipeline.search.confirmation import compare, decidable
from sft_pipeline_tests.search.simulated import simulated


def arm(seeds):
    return [{f"i{k}": (float(value), 1.0) for k, value in enumerate(values)} for values in seeds]


def alone(count):
    return {f"i{k}": None for k in range(count)}


@pytest.mark.slow
def test_the_search_of_seed_document_3_shows_nothing():
    """Its best of several trials had 6 of 200 items right. Most in its favour, all others and the default had none."""
    best, none = [True] * 6 + [False] * 194, [False] * 200
    found = compare(arm([none]), [arm([best]), arm([none]), arm([none])], alone(200), 0.05, 11)
    assert found[0].p_rows == pytest.approx(2 / 2**6, abs=0.005)
    assert [f.better for f in found] == [False] * 3 and found[0].p_adjusted > 0.05
    # Against its base as it was measured on all items (2.84 %, so some six of 200), nothing at all is left.
    base = [False] * 194 + [True] * 6
    same = compare(arm([base]), [arm([best])], alone(200), 0.05, 11)[0]
    assert (same.gain, same.p, same.better) == (0.0, 1.0, False)


@pytest.mark.slow
def test_a_true_gain_is_found_whatever_the_order_of_the_rows():
    rng = random.Random(5)
    default = arm([[rng.random() < 0.3 for _ in range(200)] for _ in range(3)])
    better = arm([[rng.random() < 0.5 for _ in range(200)] for _ in range(3)])
    found = compare(default, [better, default], alone(200), 0.05, 11)
    assert found[0].better and found[0].gain == pytest.approx(0.2, abs=0.06) and not found[1].better
    turned = compare(default, [better, default], dict(reversed(alone(200).items())), 0.05, 11)
    assert [f.p for f in turned] == [f.p for f in found]


def test_what_one_seed_in_three_brings_is_not_shown():
    """Every row of one lucky training succeeds: the rows are certain, and the seeds say that it may be luck."""
    lucky = arm([[True] * 100, [False] * 100, [False] * 100])
    found = compare(arm([[False] * 100] * 3), [lucky], alone(100), 0.05, 11)[0]
    assert found.p_rows < 0.001 and found.p_seeds == pytest.approx(0.374, abs=0.01) and not found.better


def test_rows_of_one_cluster_count_once():
    default, better = arm([[False] * 60] * 2), arm([[True] * 60] * 2)
    together = {f"i{k}": f"g{k % 3}" for k in range(60)}
    assert compare(default, [better], alone(60), 0.05, 11)[0].better
    assert not compare(default, [better], together, 0.05, 11)[0].better
    assert decidable(7, 0.05, 3) and not decidable(6, 0.05, 3)


@pytest.mark.slow
def test_no_number_of_rows_shows_a_gain_below_the_smallest_p():
    default, better = arm([[False] * 200]), arm([[True] * 200])
    for alpha, shown in ((0.001, True), (0.0002, False)):
        assert compare(default, [better, default, default], alone(200), alpha, 11)[0].better == shown
        assert decidable(200, alpha, 3) == shown


def test_a_loss_counts_by_tokens():
    """A row of nine tokens and one of one: the figure is the loss per token, and so is the gain."""
    default = [{"long": (-1.0, 9.0), "short": (-3.0, 1.0)}]
    better = [{"long": (-0.5, 9.0), "short": (-3.0, 1.0)}]
    assert compare(default, [better], {"long": None, "short": None}, 0.05, 11)[0].gain == pytest.approx(0.45)


@pytest.mark.slow
def test_a_search_over_noise_finds_nothing():
    """benchmarks/search.py does the same a hundred times."""
    assert sum(simulated(seed) for seed in range(20)) <= 1

"""Power against published figures, simulation and brute force; which margins n items can decide."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.evaluation.statistics.paired import from_counts, mcnemar, tango, wilson
from sft_pipeline.evaluation.statistics.power import (
    best_lower_bound,
    items_needed,
    items_to_decide,
    largest_tolerable_loss,
    minimum_detectable_effect,
    power,
    with_power,
)
from sft_pipeline.experiment import Gate


def test_power_of_300_items_at_the_gates_level():
    assert power(300, 0.05, 0.2, 0.01, "exact") == pytest.approx(0.22, abs=5e-3)
    assert power(300, 0.05, 0.2, 0.01, "midp") == pytest.approx(0.26, abs=5e-3)


def test_power_of_the_exact_test_as_published_by_exact2x2():
    assert power(100, 0.5 - 0.3, 0.5 + 0.3, 0.05, "exact") == pytest.approx(0.569, abs=5e-4)


@pytest.mark.parametrize(("n", "points"), [(300, 8.7), (800, 5.4), (1200, 4.4)])
def test_minimum_detectable_effects(n, points):
    assert round(100 * minimum_detectable_effect(n, 0.2, 0.01, 0.8, "midp"), 1) == points


@pytest.mark.parametrize("test", ["exact", "midp", "corrected"])
def test_power_is_the_sum_over_all_outcomes_of_the_tests_own_decision(test):
    from scipy.stats import multinomial

    n, lift, discordance, alpha = 24, 0.3, 0.5, 0.05
    won, lost = (discordance + lift) / 2, (discordance - lift) / 2
    expected = sum(
        multinomial.pmf([b, c, n - b - c], n, [lost, won, 1 - discordance])
        for b in range(n + 1)
        for c in range(b + 1, n + 1 - b)
        if getattr(mcnemar(b, c), test) <= alpha
    )
    assert power(n, lift, discordance, alpha, test) == pytest.approx(expected, abs=1e-12)


@given(n=st.integers(1, 400), discordance=st.floats(0.02, 1), alpha=st.sampled_from([0.001, 0.01, 0.05]))
@settings(max_examples=60)
def test_without_an_effect_power_is_at_most_half_the_level_for_the_exact_test(n, discordance, alpha):
    assert power(n, 0.0, discordance, alpha, "exact") <= alpha / 2 + 1e-12


def test_detectable_effect_and_items_needed_are_inverse_to_power():
    effect = minimum_detectable_effect(300, 0.2, 0.01, 0.8, "exact")
    assert power(300, effect, 0.2, 0.01, "exact") == pytest.approx(0.8, abs=1e-4)
    n = items_needed(0.10, 0.2, 0.01, 0.8, "exact")
    assert power(n, 0.10, 0.2, 0.01, "exact") >= 0.8 > power(n - 1, 0.10, 0.2, 0.01, "exact")


def test_what_cannot_be_found_is_none():
    assert minimum_detectable_effect(5, 0.2, 0.01) is None
    assert items_needed(0.001, 0.5, 0.01, most=10_000) is None
    with pytest.raises(ValueError, match="discordant"):
        power(100, 0.3, 0.2, 0.01)


def test_a_result_tells_the_power_that_its_items_had():
    result = with_power(from_counts("x", 150, 30, 30, 90), Gate(planned_lift=0.05, test="midp"))
    assert result.power == pytest.approx(0.26, abs=5e-3)
    assert round(100 * result.detectable, 1) == 8.7


@given(both=st.integers(0, 60), lost=st.integers(0, 60), won=st.integers(0, 60), min_power=st.sampled_from([0, 0.8, 1]))
@settings(max_examples=60)
def test_power_of_a_result_is_a_probability_whatever_the_table(both, lost, won, min_power):
    gate = Gate(min_power=min_power)
    result = with_power(from_counts("x", both, lost, won, 0), gate)
    assert 0 <= result.power <= 1
    assert result.detectable is None or 0 <= result.detectable <= 1


def test_more_items_detect_less_and_concordant_ones_hide_no_lift():
    results = [with_power(from_counts("x", n, 0, 0, n), Gate()) for n in (2, 50, 500)]
    assert [result.detectable is None for result in results] == [True, False, False]
    assert results[1].detectable > results[2].detectable > 0
    # Found at that lift with all discordant pairs won, and not at a slightly smaller one.
    lift = results[1].detectable
    assert power(100, lift, lift, 0.01) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("n", [1, 14, 20, 60, 300])
def test_best_lower_bound_is_that_of_an_unchanged_result(n):
    z2 = 1.959963984540054**2
    assert best_lower_bound(n) == pytest.approx(-z2 / (n + z2))


@given(n=st.integers(1, 250), margin=st.floats(0.01, 0.6))
@settings(max_examples=100)
def test_largest_tolerable_loss_is_the_last_that_holds(n, margin):
    lost = largest_tolerable_loss(n, margin)
    assert lost == -1 or tango(lost, 0, n)[0] > -margin
    assert tango(lost + 1, 0, n)[0] <= -margin


def test_a_margin_that_no_result_could_meet_is_reported():
    assert largest_tolerable_loss(18, 0.15) == -1
    assert largest_tolerable_loss(22, 0.15) == 0
    assert largest_tolerable_loss(0, 0.15) == -1


@pytest.mark.parametrize(("n", "passes"), [(30, 0.97), (120, 0.73)])
def test_overlapping_intervals_let_a_true_fall_of_ten_points_pass_and_the_lower_tango_bound_does_not(n, passes):
    """True rates 90 % and 80 %, models independent, summed over all outcomes."""
    import numpy as np
    from scipy.stats import binom

    intervals = [wilson(k, n) for k in range(n + 1)]
    weight_base, weight_sft = (binom.pmf(np.arange(n + 1), n, p) for p in (0.9, 0.8))
    overlap = sum(
        weight_base[i] * weight_sft[j] for i in range(n + 1) for j in range(n + 1) if intervals[j][1] >= intervals[i][0]
    )
    assert overlap == pytest.approx(passes, abs=0.01)

    # A margin of ten points is exactly the true fall: "held" must come out in about 2.5 % of the cases at most.
    lost, won = 0.9 * 0.2, 0.1 * 0.8
    held = 0.0
    for b in range(n + 1):
        row = binom.pmf(b, n, lost)
        if row < 1e-7:
            continue
        for c in range(n + 1 - b):
            mass = row * binom.pmf(c, n - b, won / (1 - lost))
            if mass > 1e-7 and tango(b, c, n)[0] > -0.10:
                held += mass
    assert held <= 0.035


@given(n=st.integers(20, 400), lift=st.floats(0.01, 0.19), more=st.floats(0.001, 0.05))
@settings(max_examples=40)
def test_power_rises_with_the_lift_and_the_mid_p_test_has_no_less_than_the_exact_one(n, lift, more):
    exact, midp = (power(n, lift, 0.25, 0.01, test) for test in ("exact", "midp"))
    assert exact <= midp + 1e-12
    assert power(n, min(lift + more, 0.25), 0.25, 0.01, "exact") >= exact - 1e-12


@given(margin=st.floats(0.01, 0.5), lost=st.integers(0, 4))
@settings(max_examples=50)
def test_items_to_decide_are_the_fewest_that_tolerate_so_many_lost(margin, lost):
    n = items_to_decide(margin, lost)
    assert largest_tolerable_loss(n, margin) >= lost
    assert n == lost + 1 or largest_tolerable_loss(n - 1, margin) < lost


def test_a_margin_of_five_points_takes_73_items():
    assert items_to_decide(0.05) == 73  # z^2 / (n + z^2) < 0.05

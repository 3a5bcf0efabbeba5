"""The statistics against figures that others published, and what must hold for every table."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.evaluation.statistics.paired import (
    benjamini_hochberg,
    cohens_h,
    deciding_p,
    from_counts,
    holm,
    mcnemar,
    odds_ratio,
    paired,
    tango,
    wilson,
)

counts = st.integers(0, 200)


@pytest.mark.parametrize(
    ("b", "c", "asymptotic", "corrected", "exact", "midp"),
    [
        (6, 16, 0.033006, 0.055009, 0.052479, 0.034690),  # Fagerland, Lydersen, Laake 2013
        (1, 7, 0.0339, 0.0771, 0.0703, 0.0391),  # the same, second table
        (2, 9, 0.0348, 0.0704, 0.0654, None),  # vignette of R's exact2x2
    ],
)
def test_mcnemar_reproduces_published_p_values(b, c, asymptotic, corrected, exact, midp):
    test = mcnemar(b, c)
    digits = 6 if b == 6 else 4
    assert round(test.asymptotic, digits) == asymptotic
    assert round(test.corrected, digits) == corrected
    assert round(test.exact, digits) == exact
    assert midp is None or round(test.midp, digits) == midp


def test_corrected_mcnemar_reproduces_the_figures_of_statsmodels_own_tests():
    test = mcnemar(121, 59)
    assert test.chi2_corrected == pytest.approx(20.67222, abs=5e-6)
    assert test.corrected == pytest.approx(5.450095e-06, rel=1e-6)


@pytest.mark.parametrize(("b", "c"), [(6, 16), (121, 59), (0, 3), (30, 29), (4, 4)])
def test_mcnemar_agrees_with_statsmodels(b, c):
    from statsmodels.stats.contingency_tables import mcnemar as oracle

    table = [[5, b], [c, 7]]
    assert mcnemar(b, c).exact == pytest.approx(oracle(table, exact=True).pvalue)
    assert mcnemar(b, c).asymptotic == pytest.approx(oracle(table, exact=False, correction=False).pvalue)
    if b != c:  # there statsmodels' correction turns 0 into (0 - 1)^2
        assert mcnemar(b, c).corrected == pytest.approx(oracle(table, exact=False, correction=True).pvalue)


@pytest.mark.parametrize(
    ("b", "c", "n", "low", "high"),
    # Published as lost minus won or for tables of the other orientation; here won minus lost.
    [(16, 6, 161, -0.1240, -0.0054), (7, 1, 21, -0.5172, -0.0260), (20, 40, 160, 0.0309, 0.2181)],
)
def test_tango_reproduces_published_intervals(b, c, n, low, high):
    assert tuple(round(bound, 4) for bound in tango(b, c, n)) == (low, high)


def test_the_paired_difference_of_fagerland_lydersen_and_laake_reproduces():
    assert from_counts("x", both=59, lost=16, won=6, neither=80).lift == pytest.approx(-0.0621, abs=5e-5)


@pytest.mark.parametrize(("b", "c", "n"), [(16, 6, 161), (0, 5, 12), (40, 20, 160), (0, 0, 20), (9, 0, 9)])
def test_tango_bounds_solve_the_score_equation(b, c, n):
    """The statistic, with the restricted estimate found by maximising the likelihood on a grid, is the quantile."""
    import numpy as np

    for bound in tango(b, c, n):
        if abs(bound) == 1:
            continue
        q = np.linspace(max(0.0, -bound), (1 - bound) / 2, 2_000_001)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = [(b, q), (c, q + bound), (n - b - c, 1 - 2 * q - bound)]
            log_likelihood = sum(k * np.log(p) for k, p in terms if k)
        best = q[np.nanargmax(log_likelihood)]
        statistic = (c - b - n * bound) / math.sqrt(n * (2 * best + bound * (1 - bound)))
        assert abs(statistic) == pytest.approx(1.959964, abs=2e-3)


def test_wilson_reproduces_the_figures_of_statsmodels_own_tests():
    assert wilson(18, 20) == pytest.approx((0.698966, 0.972134), abs=1e-6)


def test_the_odds_ratio_reproduces_the_vignette_of_exact2x2():
    ratio, interval = odds_ratio(9, 2)  # there 2 against 9, with central confidence limits
    assert ratio == pytest.approx(0.2222222, abs=5e-8)
    assert interval == pytest.approx((0.02336464, 1.07363844), abs=5e-9)


@pytest.mark.parametrize(("b", "c"), [(9, 2), (0, 4), (4, 0), (57, 2), (300, 280)])
def test_the_interval_of_the_odds_ratio_is_scipys_exact_interval_of_the_share_of_won_pairs(b, c):
    from scipy.stats import binomtest

    low, high = binomtest(c, b + c).proportion_ci(method="exact")
    interval = odds_ratio(b, c)[1]
    assert interval[0] == pytest.approx(low / (1 - low))
    assert interval[1] == (pytest.approx(high / (1 - high)) if b else None)


@given(lost=counts, won=counts)
def test_the_interval_of_the_odds_ratio_excludes_one_exactly_where_the_exact_test_rejects(lost, won):
    """Both are the binomial distribution at one half, the interval with half the error on each side."""
    _, (low, high) = odds_ratio(lost, won)
    if abs(mcnemar(lost, won).exact - 0.05) > 1e-9:
        assert (low > 1 or (high is not None and high < 1)) == (mcnemar(lost, won).exact < 0.05)


STAGE_1_TYPES = [  # name, n, base %, SFT %, corrected p, Cohen's h
    ("template", 164, 68.3, 98.8, 2.59e-11, 0.97),
    ("creative", 20, 100.0, 100.0, 1, None),
    ("factual", 28, 96.4, 100.0, 1, None),
    ("instruction-following", 31, 100.0, 100.0, 1, None),
    ("list", 37, 97.3, 100.0, 1, None),
    ("explanation", 20, 85.0, 100.0, 0.248, 0.80),
]


def test_the_stage_1_record_reproduces():
    result = from_counts("stage 1", both=241, lost=2, won=57, neither=0)
    assert (result.n, result.base_successes, result.sft_successes) == (300, 243, 298)
    assert result.base_interval == pytest.approx((0.762, 0.850), abs=5e-4)
    assert result.sft_interval == pytest.approx((0.976, 0.998), abs=5e-4)
    assert result.lift == pytest.approx(0.183, abs=5e-4)
    assert mcnemar(2, 57).chi2_corrected == pytest.approx(49.42, abs=5e-3)
    assert result.p_corrected == pytest.approx(2.06e-12, rel=5e-3)
    assert result.cohens_h == pytest.approx(0.74, abs=5e-3)


def test_the_stage_1_table_of_types_reproduces_and_only_template_survives_benjamini_hochberg():
    p_values = []
    for name, n, base, sft, p, h in STAGE_1_TYPES:
        base_right, sft_right = round(base * n / 100), round(sft * n / 100)
        # Of the template items two were lost; nothing was lost elsewhere.
        lost = n - sft_right
        group = from_counts(name, base_right - lost, lost, sft_right - base_right + lost, 0)
        assert (round(100 * group.base_rate, 1), round(100 * group.sft_rate, 1)) == (base, sft)
        assert group.p_corrected == pytest.approx(p, rel=5e-3)
        assert h is None or group.cohens_h == pytest.approx(h, abs=5e-3)
        p_values.append(group.p_corrected)
    adjusted = benjamini_hochberg(p_values)
    assert [row[0] for row, q in zip(STAGE_1_TYPES, adjusted, strict=True) if q <= 0.10] == ["template"]


@pytest.mark.real_data
def test_judged_gsm8k_solutions_reproduce(real_data: Path):
    lines = (real_data / "gsm8k" / "example_model_solutions.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    correct = {
        model: [row[model]["is_correct"] for row in rows]
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    }
    assert {model: sum(marks) for model, marks in correct.items()} == {
        "6b_finetuning": 286,
        "6b_verification": 515,
        "175b_finetuning": 458,
        "175b_verification": 742,
    }
    better = paired("6B", correct["6b_finetuning"], correct["6b_verification"])
    assert (better.n, better.lost, better.won) == (1319, 64, 293)
    assert better.p_exact == pytest.approx(3.93e-36, rel=2e-3)
    worse = paired("6B to 175B", correct["6b_verification"], correct["175b_finetuning"])
    assert (worse.lost, worse.won) == (209, 152)
    assert worse.p_exact == pytest.approx(0.00315, rel=2e-3)
    assert worse.lift_interval[1] < 0


@pytest.mark.slow
@given(both=counts, lost=counts, won=counts, neither=counts)
@settings(max_examples=300)
def test_swapping_the_models_mirrors_everything(both, lost, won, neither):
    here, there = from_counts("x", both, lost, won, neither), from_counts("x", both, won, lost, neither)
    assert (here.base_rate, here.base_interval) == (there.sft_rate, there.sft_interval)
    assert here.lift == -there.lift
    assert here.lift_interval == (-there.lift_interval[1], -there.lift_interval[0])
    assert here.cohens_h == pytest.approx(-there.cohens_h)
    for p in ("p_exact", "p_midp", "p_corrected"):
        assert getattr(here, p) == pytest.approx(getattr(there, p), rel=1e-12)
    if lost and won:
        assert here.odds_ratio == pytest.approx(1 / there.odds_ratio)
    low, high = there.odds_ratio_interval
    assert here.odds_ratio_interval[0] == pytest.approx(1 / high if high is not None else 0)
    assert here.odds_ratio_interval[1] == (pytest.approx(1 / low) if low else None)


@pytest.mark.slow
@given(both=counts, lost=counts, won=counts, neither=counts)
@settings(max_examples=300)
def test_intervals_contain_the_estimate_and_stay_in_range(both, lost, won, neither):
    result = from_counts("x", both, lost, won, neither)
    for value, (low, high), least in (
        (result.base_rate, result.base_interval, 0),
        (result.sft_rate, result.sft_interval, 0),
        (result.lift, result.lift_interval, -1),
    ):
        assert least <= low <= value <= high <= 1
        assert low < high
    low, high = result.odds_ratio_interval
    assert result.odds_ratio is None or low <= result.odds_ratio <= high


@given(both=counts, lost=counts, won=counts, neither=st.integers(1, 200))
def test_one_item_more_that_is_won_speaks_for_the_fine_tuned_model(both, lost, won, neither):
    here, there = from_counts("x", both, lost, won, neither), from_counts("x", both, lost, won + 1, neither - 1)
    assert there.lift > here.lift and there.cohens_h > here.cohens_h
    assert all(there.lift_interval[k] >= here.lift_interval[k] for k in (0, 1))
    assert all(there.sft_interval[k] >= here.sft_interval[k] for k in (0, 1))
    assert there.odds_ratio_interval[0] >= here.odds_ratio_interval[0]
    if won >= lost:
        assert there.p_exact <= here.p_exact and there.p_midp <= here.p_midp and there.p_corrected <= here.p_corrected


@given(lost=counts, won=counts, some=counts, more=counts)
def test_p_does_not_depend_on_concordant_pairs(lost, won, some, more):
    here, there = from_counts("x", some, lost, won, more), from_counts("x", more, lost, won, 7 * some)
    assert [here.p_exact, here.p_midp, here.p_corrected] == [there.p_exact, there.p_midp, there.p_corrected]


@given(lost=counts, won=counts)
def test_p_values_are_ordered_and_in_range(lost, won):
    test = mcnemar(lost, won)
    assert 0 <= test.midp <= test.exact <= 1
    assert 0 <= test.asymptotic <= test.corrected <= 1


@pytest.mark.parametrize(
    "table",
    [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (30, 0, 0, 0), (0, 50, 0, 0), (9, 0, 0, 9)],
)
def test_degenerate_tables_give_finite_figures(table):
    result = from_counts("x", *table)
    figures = [result.p_exact, result.p_midp, result.p_corrected, result.cohens_h, result.lift, *result.lift_interval]
    assert all(math.isfinite(figure) for figure in figures)
    assert (result.odds_ratio is None) == (result.lost == 0)
    if result.lost == result.won == 0:
        assert result.odds_ratio_interval == (0, None)
        assert (result.p_exact, result.p_midp, result.p_corrected) == (1, 1, 1)


def test_tango_covers_the_true_difference_as_often_as_it_says():
    """Exact coverage by summing over all outcomes: 40 items, lost 10 %, won 25 %."""
    from scipy.stats import multinomial

    n, lost, won = 40, 0.10, 0.25
    covered = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            mass = multinomial.pmf([b, c, n - b - c], n, [lost, won, 1 - lost - won])
            if mass > 1e-9:
                low, high = tango(b, c, n)
                covered += mass * (low <= won - lost <= high)
    assert 0.94 <= covered <= 0.97


@pytest.mark.slow
def test_the_exact_test_keeps_its_level():
    """No true effect, n = 300, alpha = 0.01: at most 1.2 % of 200,000 simulated gates find anything."""
    import numpy as np

    rng = np.random.default_rng(5)
    discordant = rng.binomial(300, 0.2, 200_000)
    lost = rng.binomial(discordant, 0.5)
    pairs, frequency = np.unique(np.stack([lost, discordant - lost]), axis=1, return_counts=True)
    found = sum(f for b, c, f in zip(*pairs, frequency, strict=True) if mcnemar(int(b), int(c)).exact < 0.01)
    assert found / 200_000 <= 0.012


def test_benjamini_hochberg_is_the_step_up_procedure():
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert benjamini_hochberg([]) == []


def test_holm_is_the_step_down_procedure():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_the_specified_test_decides():
    result = from_counts("x", 5, 6, 16, 7)
    assert [deciding_p(result, test) for test in ("exact", "midp", "corrected")] == [
        result.p_exact,
        result.p_midp,
        result.p_corrected,
    ]


def test_pairs_of_different_number_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        paired("x", [True, False], [True])


def test_cohens_h_is_the_difference_of_arcsine_transforms():
    assert cohens_h(0.0, 1.0) == pytest.approx(math.pi)
    assert cohens_h(0.5, 0.5) == 0

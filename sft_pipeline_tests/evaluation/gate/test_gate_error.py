"""Small versions of benchmarks/gate_error.py: the whole decision on simulated outcomes."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "gate_error.py"


@pytest.fixture(scope="module")
def simulation():
    """The benchmark as a module."""
    found = importlib.util.spec_from_file_location("gate_error", BENCHMARK)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("test", ["exact", "midp"])
def test_without_an_effect_the_whole_decision_passes_in_at_most_1_2_percent(simulation, test):
    made = simulation.level(test, discordance=0.03, lift=0.0, runs=10_000)
    assert 0 < made["passes"]["rate"] <= 0.012
    assert made["passes"]["rate"] < made["significant"]["rate"] <= 0.012


@pytest.mark.slow
def test_with_an_effect_the_simulated_gate_passes_as_often_as_its_power_says(simulation):
    from sft_pipeline.evaluation.statistics.power import power

    made = simulation.level("exact", discordance=0.05, lift=0.04, runs=1500)
    expected = power(300, 0.04, 0.05, 0.01, "exact")
    assert made["passes"]["rate"] == pytest.approx(expected, abs=4 * made["passes"]["error"] + 1e-3)


@pytest.mark.slow
def test_a_fall_of_ten_points_passes_the_rule_of_the_intervals_and_not_the_guarantee(simulation):
    made = simulation.protected(30, runs=800)
    assert made["overlap"]["rate"] == pytest.approx(0.97, abs=0.02)
    assert made["margin_5"]["rate"] <= made["margin_10"]["rate"] <= 0.035


@pytest.mark.slow
def test_clusters_do_not_let_chance_pass(simulation):
    made = simulation.clusters(60, 5, together=1.0, runs=30)
    assert made["significant"]["rate"] > 0.1  # McNemar takes the items as independent
    assert made["passes"]["rate"] < made["significant"]["rate"]
    assert made["cluster"]["rate"] > made["tango"]["rate"] + 0.1


@pytest.mark.slow
def test_a_lift_of_the_heuristics_alone_is_mostly_refused_and_a_common_one_mostly_not(simulation):
    common, alone = (simulation.support(lift, runs)["refused"] for lift, runs in ((0.1, 80), (0.0, 200)))
    assert common["rate"] < 0.2 and alone["rate"] > 0.5

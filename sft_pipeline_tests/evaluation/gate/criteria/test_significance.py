"""Chance, clusters and power."""

from dataclasses import replace


def test_a_lift_that_is_chance_once_clusters_are_counted_fails(pairs, decided, reason):
    # 40 items won, 10 lost; but they are three texts.
    table = pairs(100, 10, 40, 150)
    assert decided(table).verdict == "pass"
    clustered = [
        replace(p, cluster=f"text {(p.base.success, p.sft.success)}" if p.base.success != p.sft.success else p.id)
        for p in table
    ]
    decision = decided(clustered)
    assert (reason(decision, "clusters").outcome, decision.verdict) == ("fail", "fail")
    assert decision.overall.clusters == 252


def test_many_small_clusters_do_no_harm(pairs, decided, reason):
    table = [replace(p, cluster=str(k // 2)) for k, p in enumerate(pairs(20, 5, 100, 175))]
    decision = decided(table)
    assert (reason(decision, "clusters").outcome, decision.verdict) == ("pass", "pass")
    assert reason(decided(pairs(20, 5, 100, 175)), "clusters") is None


def test_a_p_over_clusters_that_is_too_small_to_be_known_is_said_to_be_smaller(pairs, decided, reason):
    # McNemar's is 3e-55; the convolution cannot tell anything below 1e-15.
    table = [replace(p, cluster=str(k // 2)) for k, p in enumerate(pairs(20, 5, 200, 75))]
    assert "p ≤ 1e-15, alpha" in reason(decided(table), "clusters").detail
    few = [replace(p, cluster=str(k // 2)) for k, p in enumerate(pairs(20, 5, 60, 215))]
    assert "whole clusters p = " in reason(decided(few), "clusters").detail


def test_too_few_discordant_pairs_are_named(pairs, decided, reason):
    decision = decided(pairs(200, 0, 6, 94))
    assert decision.verdict == "fail"
    assert "no outcome of 6 discordant pairs could show more" in reason(decision, "significance").detail


def test_the_power_achieved_is_reported(pairs, decided, reason):
    decision = decided(pairs(20, 5, 55, 220))
    assert "the planned lift of 10.0 points is found with probability" in reason(decision, "power achieved").detail
    assert 0 < decision.overall.power <= 1

"""Answers that say nothing."""

from dataclasses import replace

import pytest


def silent(table, **fields):
    return [replace(p, **fields) for p in table]


@pytest.mark.parametrize("judge", [{}, {"verified": True}, {"verified": False}])
def test_a_lift_of_empty_answers_is_refused_whoever_judged(pairs, decided, reason, judge):
    table = pairs(50, 50, 50, 30) + silent(pairs(48, 0, 72, type="e", **judge), sft_length=0)
    decision = decided(table)
    assert decision.overall.p_exact < 0.01
    assert (reason(decision, "empty answers").outcome, decision.verdict) == ("refused", "refused")
    assert "in 72 of 122 won pairs" in reason(decision, "empty answers").detail


def test_a_lift_that_stands_without_the_empty_answers_passes_and_tells_of_them(pairs, decided, reason):
    decision = decided(pairs(20, 5, 100, 175) + silent(pairs(won=3, type="e"), sft_length=0))
    assert (reason(decision, "empty answers").outcome, decision.verdict) == ("info", "pass")
    failed = decided(pairs(20, 5, 100, 135) + silent(pairs(neither=40, type="e"), sft_length=0))
    assert (reason(failed, "empty answers"), failed.verdict) == (None, "pass")


def test_a_base_that_is_mostly_silent_is_pointed_out(pairs, decided, reason):
    """It may be what a small base does, so that it decides nothing."""
    decision = decided(pairs(40, 5, 60, 15) + silent(pairs(won=40, neither=140, type="e"), base_length=0))
    found = reason(decision, "empty answers of the base")
    assert (found.outcome, decision.verdict) == ("info", "pass")
    assert "60.0 % of the base's answers are empty (180 of 300); make sure that the base was asked" in found.detail
    assert reason(decided(pairs(20, 5, 100, 175)), "empty answers of the base") is None

"""Guarantees that say less than they seem to."""

import pytest

from sft_pipeline.experiment import Protected


def guarantee(*types):
    return (Protected(name="safety", types=types, margin=0.10),)


def test_a_guarantee_where_the_base_had_nothing_to_lose_says_so(pairs, decided, reason):
    decision = decided(pairs(0, 0, 100, 100) + pairs(neither=80, type="refuse"), protected=guarantee("refuse"))
    assert (decision.protected[0].verdict, decision.verdict) == ("held", "pass")
    assert "the base succeeds at none of its 80 items of refuse: there was nothing to lose" in (
        reason(decision, "protected: safety").detail
    )
    able = decided(pairs(0, 0, 100, 100) + pairs(1, neither=79, type="refuse"), protected=guarantee("refuse"))
    assert "nothing to lose" not in reason(able, "protected: safety").detail


def test_one_of_several_types_with_nothing_to_lose_is_named(pairs, decided, reason):
    table = pairs(0, 0, 100, 100) + pairs(80, type="refuse") + pairs(0, 0, 20, 20, type="law")
    decision = decided(table, protected=guarantee("refuse", "law"))
    assert "at none of its 40 items of law:" in reason(decision, "protected: safety").detail


@pytest.mark.parametrize(("undecided", "expected"), [("fails", "fail"), ("passes", "pass")])
def test_a_type_without_items_is_named_and_leaves_the_guarantee_undecided(pairs, decided, reason, undecided, expected):
    table = pairs(0, 0, 100, 100) + pairs(80, type="refuse")
    decision = decided(table, protected=guarantee("refuse", "jail_break"), undecided=undecided)
    assert (decision.protected[0].verdict, decision.verdict) == ("undecided", expected)
    assert "there is no item of jail_break" in reason(decision, "protected: safety").detail
    lost = decided(pairs(0, 0, 100, 100) + pairs(0, 80, type="refuse"), protected=guarantee("refuse", "jail_break"))
    assert lost.protected[0].verdict == "violated"

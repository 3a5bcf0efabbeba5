"""The lift among verified items: where it is absent, the lift rests on heuristics."""

import pytest

from sft_pipeline.artifacts import Agreement

AGREE = Agreement(n=100, agreed=95, kappa=0.9, interval=(0.8, 1.0), base_n=50, base_agreed=48, sft_n=50, sft_agreed=47)


def test_a_lift_wholly_from_a_type_that_a_heuristic_judges_is_refused(pairs, decided, reason):
    table = pairs(100, 10, 10, 80, verified=True) + pairs(20, 0, 60, 20, type="refuse", verified=False)
    decision = decided(table)
    assert decision.overall.p_exact < 1e-6 and decision.verdict == "refused"
    assert [r.criterion for r in decision.reasons if r.outcome == "refused"] == ["verified items"]
    after = reason(decision, "verified items").after
    assert (after.n, after.won) == (200, 10)


def test_human_labels_that_agree_support_such_a_lift(pairs, decided, reason):
    table = pairs(100, 10, 10, 80, verified=True) + pairs(20, 0, 60, 20, type="refuse", verified=False)
    decision = decided(table, agreement=AGREE)
    assert (decision.verdict, reason(decision, "verified items").outcome) == ("pass", "info")


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [((20, 2, 80, 98), "pass"), ((5, 1, 6, 8), "info")],
)
def test_a_lift_that_survives_passes_and_few_verified_items_do_not_tell(pairs, decided, reason, counts, outcome):
    table = pairs(*counts, verified=True) + pairs(20, 0, 60, 20, type="refuse", verified=False)
    decision = decided(table)
    assert (decision.verdict, reason(decision, "verified items").outcome) == ("pass", outcome)


@pytest.mark.parametrize(
    ("known", "outcome", "says"),
    [(True, "pass", "all items"), (None, "info", "not known here")],
)
def test_one_way_of_judging_is_named(pairs, decided, reason, known, outcome, says):
    decision = decided(pairs(20, 5, 100, 175, verified=known))
    assert reason(decision, "verified items").outcome == outcome
    assert says in reason(decision, "verified items").detail
    assert (reason(decision, "verified items").after, decision.verdict) == (None, "pass")


def test_heuristics_alone_are_no_evidence_and_a_judge_of_pairs_or_human_labels_are(pairs, decided, reason):
    table = pairs(20, 5, 100, 175, verified=False)
    assert reason(decided(table), "verified items").outcome == "refused"
    assert decided(table, agreement=AGREE).verdict == "pass"
    assert decided(pairs(20, 5, 100, 175, verified=False, compared=True)).verdict == "pass"


@pytest.mark.parametrize("known", [{"verified": True}, {"verified": None}, {"verified": False, "compared": True}])
def test_a_few_items_of_another_kind_do_not_make_evidence_of_heuristics(pairs, decided, reason, known):
    heuristics = pairs(100, 5, 90, 105, type="refuse", verified=False)
    for few in [(0, 0, 1, 0), (10, 0, 0, 10), (10, 2, 4, 10), (10, 8, 1, 10)]:
        decision = decided(heuristics + pairs(*few, **known))
        assert reason(decision, "verified items").outcome == "refused"
        assert "items that were not judged by a heuristic alone" in reason(decision, "verified items").detail
    assert decided(heuristics + pairs(0, 0, 1, 0, **known), agreement=AGREE).verdict == "pass"


def test_verified_items_that_are_too_few_to_be_significant_support_a_lift(pairs, decided):
    table = pairs(30, 6, 16, 48, verified=True)
    assert decided(table).overall.p_exact > 0.01
    decision = decided(table + pairs(30, 5, 15, 50, type="refuse", verified=False))
    assert decision.overall.p_exact < 0.01 and decision.verdict == "pass"

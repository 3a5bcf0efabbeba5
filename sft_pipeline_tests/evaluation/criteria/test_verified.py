"""The lift among verified items: where it is absent, the lift rests on heuristics."""

import pytest

from sft_pipeline.artifacts import Agreement


def test_a_lift_wholly_from_a_type_that_a_heuristic_judges_is_refused(pairs, decided, reason):
    table = pairs(100, 10, 10, 80, verified=True) + pairs(20, 0, 60, 20, type="refuse", verified=False)
    decision = decided(table)
    assert decision.overall.p_exact < 1e-6 and decision.verdict == "refused"
    assert [r.criterion for r in decision.reasons if r.outcome == "refused"] == ["verified items"]
    assert (decision.verified.n, decision.verified.won) == (200, 10)


def test_human_labels_that_agree_support_such_a_lift(pairs, decided, reason):
    table = pairs(100, 10, 10, 80, verified=True) + pairs(20, 0, 60, 20, type="refuse", verified=False)
    decision = decided(table, agreement=Agreement(n=100, agreed=95, kappa=0.9, interval=(0.8, 1.0)))
    assert (decision.verdict, reason(decision, "verified items").outcome) == ("pass", "info")


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [((20, 2, 80, 98), "pass"), ((5, 0, 1, 4), "info")],
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
    assert (decision.verified, decision.verdict) == (None, "pass")


def test_heuristics_alone_are_no_evidence_and_a_judge_of_pairs_or_human_labels_are(pairs, decided, reason):
    table = pairs(20, 5, 100, 175, verified=False)
    assert reason(decided(table), "verified items").outcome == "refused"
    assert decided(table, agreement=Agreement(n=100, agreed=95, kappa=0.9, interval=(0.8, 1.0))).verdict == "pass"
    assert decided(pairs(20, 5, 100, 175, verified=False, compared=True)).verdict == "pass"

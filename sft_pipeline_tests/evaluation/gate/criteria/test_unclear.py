"""Answers that name several choices: held against the lift, unless people have read them."""

from sft_pipeline.artifacts import Agreement
from sft_pipeline.evaluation.scorers.choice import SEVERAL


def test_a_lift_that_depends_on_answers_that_name_several_choices_is_refused(pairs, decided, reason):
    for unclear in ({"base_labels": (SEVERAL,)}, {"sft_labels": (SEVERAL,)}):
        table = pairs(50, 10, 20, 140) + pairs(won=80, type="u", **unclear)
        assert reason(decided(table), "several choices").outcome == "refused"
        agree = {"n": 40, "agreed": 39, "kappa": 0.95, "interval": (0.85, 1.0)}
        both = Agreement(**agree, base_n=20, base_agreed=19, sft_n=20, sft_agreed=20)
        assert reason(decided(table, agreement=both), "several choices").outcome == "info"


def test_a_lift_that_is_there_without_them_stands_and_a_missing_one_is_reported(pairs, decided, reason):
    decision = decided(pairs(50, 10, 70, 140) + pairs(won=30, type="u", base_labels=(SEVERAL,)))
    assert (reason(decision, "several choices").outcome, decision.verdict) == ("info", "pass")
    lost = decided(pairs(150, 20, 20, 50) + pairs(lost=60, type="u", sft_labels=(SEVERAL,)))
    assert (reason(lost, "several choices").outcome, lost.verdict) == ("info", "fail")
    assert reason(decided(pairs(50, 10, 70, 140)), "several choices") is None

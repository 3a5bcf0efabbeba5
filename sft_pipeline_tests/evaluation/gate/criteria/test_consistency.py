"""One text, two judgements."""


def test_a_lift_from_the_same_texts_judged_differently_is_refused(pairs, decided, reason):
    decision = decided(pairs(100, 0, 0, 180) + pairs(0, 1, 14, type="u", same_text=True))
    assert decision.overall.p_exact < 0.01 and decision.verdict == "refused"
    assert "in 15 pairs" in reason(decision, "same answer, same judgement").detail


def test_a_few_of_them_beside_a_real_lift_are_reported(pairs, decided, reason):
    decision = decided(pairs(100, 0, 60, 120) + pairs(0, 1, 2, type="u", same_text=True))
    assert (reason(decision, "same answer, same judgement").outcome, decision.verdict) == ("info", "pass")
    assert reason(decided(pairs(100, 0, 60, 120)), "same answer, same judgement") is None

"""Answers stopped at the limit of new tokens."""


def test_a_lift_only_where_answers_were_cut_is_refused(pairs, decided, reason):
    decision = decided(pairs(67, 52, 40, 11) + pairs(won=71, neither=59, type="c", base_cut=True))
    assert decision.overall.p_exact < 0.01
    assert (reason(decision, "uncut answers").outcome, decision.verdict) == ("refused", "refused")
    assert "the lift is −7.1 points" in reason(decision, "uncut answers").detail


def test_two_models_that_are_alike_where_nothing_was_cut_are_refused(pairs, decided, reason):
    decision = decided(pairs(100, 0, 0, 100) + pairs(won=60, neither=40, type="c", base_cut=True))
    assert reason(decision, "uncut answers").outcome == "refused"


def test_a_lift_that_is_there_among_uncut_answers_passes(pairs, decided, reason):
    decision = decided(pairs(20, 10, 40, 100, base_cut=False) + pairs(won=71, neither=59, type="c", base_cut=True))
    assert (reason(decision, "uncut answers").outcome, decision.verdict) == ("pass", "pass")


def test_too_few_uncut_answers_decide_nothing(pairs, decided, reason):
    decision = decided(
        pairs(2, 2, 1, 3) + pairs(20, 5, 100, 175, type="c", base_cut=True), max_base_truncated_share=1.0
    )
    assert (reason(decision, "uncut answers").outcome, decision.verdict) == ("info", "pass")
    assert decided(pairs(20, 5, 100, 175, base_cut=True), max_base_truncated_share=1.0).verdict == "pass"


def test_a_base_that_repeats_itself_is_not_stopped_by_the_limit(pairs, decided, reason):
    loops = pairs(won=71, neither=59, type="c", base_cut=True, base_repetitive=True)
    decision = decided(pairs(67, 20, 18, 65, base_cut=False) + loops)
    assert (reason(decision, "uncut answers"), decision.verdict) == (None, "pass")

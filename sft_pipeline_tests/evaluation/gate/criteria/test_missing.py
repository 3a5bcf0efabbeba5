"""Judgements that are missing, and ties."""

from dataclasses import replace


def without(table, number, **fields):
    """The table of which the last pairs are changed."""

    def changed(p):
        return replace(p, **{m: replace(getattr(p, m), success=value) for m, value in fields.items()})

    return table[:-number] + [changed(p) for p in table[-number:]]


def test_missing_pairs_are_left_out_and_counted(pairs, decided, reason):
    decision = decided(without(pairs(20, 5, 100, 175), 9, sft=None))
    assert (decision.overall.n, decision.missing, decision.verdict) == (291, 9, "pass")
    assert reason(decision, "missing judgements").outcome == "info"
    assert {t.name for t in decision.sensitivity} > {"missing pairs left out"}


def test_too_many_are_refused(pairs, decided, reason):
    decision = decided(without(pairs(20, 5, 100, 175), 16, base=None))
    assert (reason(decision, "missing judgements").outcome, decision.verdict) == ("refused", "refused")
    assert "16 answers of the base and 0 of the fine-tuned" in reason(decision, "missing judgements").detail
    assert decided(without(pairs(20, 5, 100, 175), 16, base=None), max_missing_share=0.1).verdict == "pass"


def test_a_verdict_that_depends_on_them_is_refused(pairs, decided, reason):
    # 14 won, 1 lost: p = 0.001; were the ten missing ones all lost, there would be hardly a lift.
    table = pairs(20, 1, 14, 265)
    assert decided(table).verdict == "pass"
    decision = decided(without(table, 10, base=None, sft=None))
    assert decision.verdict == "refused"
    assert "At worst: the lift is +1.0 points" in reason(decision, "missing judgements").detail


def test_the_smallest_lift_must_stand_at_worst(pairs, decided, reason):
    table = without(pairs(100, 0, 33, 167), 12, base=None, sft=None)
    assert decided(table).verdict == "pass"
    decision = decided(table, min_lift=0.1)
    assert (decision.overall.lift, decision.verdict) == (33 / 288, "refused")
    assert "At worst: the lift is +7.0 points" in reason(decision, "missing judgements").detail
    assert decided(table, min_lift=0.06).verdict == "pass"


def test_clusters_must_stand_at_worst(pairs, decided, reason):
    # 45 won items, 12 missing ones: shown at worst, but not where the won items are nine texts of five.
    table = without(pairs(88, 0, 45, 167), 12, base=None, sft=None)
    assert decided(table).verdict == "pass"
    decision = decided(
        [
            replace(p, cluster=f"text {k // 5}") if p.sft.success and not p.base.success else p
            for k, p in enumerate(table, start=-88)
        ]
    )
    assert (reason(decision, "clusters").outcome, decision.verdict) == ("pass", "refused")
    assert reason(decision, "missing judgements").after.p > 0.01


def test_a_failure_that_stands_is_no_reason_to_judge_them(pairs, decided, reason):
    decision = decided(without(pairs(20, 1, 14, 265), 10, base=None, sft=None), min_lift=0.1)
    assert (reason(decision, "missing judgements").outcome, decision.verdict) == ("info", "fail")


def test_where_nothing_could_be_judged_the_gate_refuses(pairs, decided):
    decision = decided(without(pairs(0, 0, 0, 30), 30, base=None))
    assert (decision.verdict, decision.overall.n, decision.length) == ("refused", 0, None)


def test_ties_are_reported(pairs, decided, reason):
    decision = decided(pairs(20, 5, 100, 135) + pairs(neither=40, type="tied", tied=True))
    assert (reason(decision, "ties").outcome, decision.verdict) == ("info", "pass")
    assert "40 pairs are ties" in reason(decision, "ties").detail

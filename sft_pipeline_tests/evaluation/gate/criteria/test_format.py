"""Form or substance: where human labels say that the base's answers are wrong, whatever they hold."""

from sft_pipeline.artifacts import Agreement


def test_labels_that_agree_with_the_scores_waive_what_failed_outputs_hold(pairs, decided, reason):
    holding = {"base_has_answer": True, "sft_has_answer": True, "verified": True, "length_free": True}
    table = pairs(50, 10, 100, 140, **holding)
    assert reason(decided(table), "answer in the output").outcome == "refused"
    agree = {"n": 40, "agreed": 39, "kappa": 0.95, "interval": (0.85, 1.0)}
    both = Agreement(**agree, base_n=20, base_agreed=19, sft_n=20, sft_agreed=20)
    assert reason(decided(table, agreement=both), "answer in the output").outcome == "info"
    base_alone = Agreement(**agree, base_n=40, base_agreed=39)
    assert reason(decided(table, agreement=base_alone), "answer in the output").outcome == "refused"

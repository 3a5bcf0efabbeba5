"""The registry: one form for every criterion."""

from sft_pipeline.evaluation.gate.criteria.registry import CRITERIA, KINDS
from sft_pipeline.experiment import Gate


def test_every_criterion_has_a_stable_id_a_kind_settings_of_the_specification_and_a_remedy():
    assert len({c.id for c in CRITERIA}) == len({c.title for c in CRITERIA}) == len(CRITERIA)
    assert {c.kind for c in CRITERIA} == set(KINDS)
    assert all(c.check for c in CRITERIA if c.texts or c.waived)
    for criterion in CRITERIA:
        assert set(criterion.thresholds) <= set(Gate.model_fields)
        assert criterion.remedy or criterion.kind == "information" or criterion.id == "truncation"
        assert criterion.asks.format(**Gate().model_dump()).endswith(".")


def test_a_reason_carries_the_figures_before_and_after_its_threshold_and_its_remedy(pairs, decided, reason):
    found = reason(
        decided(pairs(20, 5, 6, 169) + pairs(won=100, type="u", base_has_answer=True)), "answer in the output"
    )
    assert (found.id, found.kind, found.outcome) == ("contained", "relabelling", "refused")
    assert (found.before.won, found.after.won, found.thresholds["expected_words"]) == (106, 6, 8)
    assert found.before.p < 0.01 < found.after.p
    assert "same stop strings" in found.remedy

"""What people prefer, as a criterion: at the limits, about other answers, and without ratings."""

import json

import pytest

from sft_pipeline.artifacts import Estimate, Preference
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.lineage_gate import preferred
from sft_pipeline.experiment import Evaluation
from sft_pipeline.provenance.hashing import hash_value


def people(table, net, low, p, **changed):
    known = {"n": 9, "won": 6, "lost": 2, "tied": 1, "p_unweighted": p}
    answers = {pair.id: hash_value([pair.base.output, pair.sft.output]) for pair in table[:9]}
    return Preference(**known, net=Estimate(value=net, interval=(low, 0.9), n=9), p=p, answers=answers | changed)


@pytest.mark.parametrize(
    ("asked", "net", "low", "p", "outcome"),
    [
        (None, -0.5, -0.9, 0.001, "info"),
        ("prefer", 0.3, 0.1, 0.01, "pass"),
        ("prefer", 0.3, 0.1, 0.0101, "fail"),
        ("prefer", -0.3, -0.5, 0.001, "fail"),
        ("not_worse", -0.02, -0.0999, 0.9, "pass"),
        ("not_worse", -0.02, -0.10, 0.9, "fail"),
    ],
)
def test_the_declared_claim_decides(pairs, decided, reason, asked, net, low, p, outcome):
    table = pairs(20, 5, 100, 175)
    decision = decided(table, preference=people(table, net, low, p), people=asked)
    assert reason(decision, "people's preference").outcome == outcome
    assert decision.verdict == ("fail" if outcome == "fail" else "pass")


def test_alone_it_passes_nothing(pairs, decided):
    table = pairs(20, 50, 50, 175)
    assert decided(table, preference=people(table, 0.9, 0.8, 1e-4), people="prefer").verdict == "fail"


def test_without_ratings_of_these_answers_it_is_refused(pairs, decided, reason):
    table = pairs(20, 5, 100, 175)
    assert decided(table).verdict == "pass"
    missing = decided(table, people="prefer")
    assert missing.verdict == "refused" and "no rating was returned" in reason(missing, "people's preference").detail
    for changed in ({table[0].id: "another"}, {"no such item": "x"}):
        other = decided(table, preference=people(table, 0.3, 0.1, 1e-4, **changed), people="prefer")
        assert other.verdict == "refused" and "judged other answers" in reason(other, "people's preference").detail
        assert decided(table, preference=people(table, 0.3, 0.1, 1e-4, **changed)).verdict == "pass"


def test_a_file_that_is_no_review_says_so(tmp_path):
    path = tmp_path / "review.json"
    evaluation = Evaluation(scorers={}, human_preference="review.json")
    for content in ("{", "[]", "{}", json.dumps({"preference": {"n": 3}})):
        path.write_text(content)
        with pytest.raises(DataError, match="is no review.json"):
            preferred(evaluation, tmp_path)
    path.write_text(json.dumps({"preference": None}))
    assert preferred(evaluation, tmp_path) is None

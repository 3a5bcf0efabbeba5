"""What people say: labels and preference, when they refuse, when they support, and when they are too few."""

import json

import pytest

from sft_pipeline.artifacts import Agreement, Estimate, Preference
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate.lineage_gate import preferred
from sft_pipeline.evaluation.statistics.kappa import trusted
from sft_pipeline.experiment import Evaluation, Gate


def labels(n, agreed, kappa, interval):
    half, right = n // 2, agreed // 2
    by_model = {"base_n": half, "base_agreed": right, "sft_n": n - half, "sft_agreed": agreed - right}
    return Agreement(n=n, agreed=agreed, kappa=kappa, interval=interval, **by_model)


@pytest.mark.parametrize(
    ("found", "outcome", "says"),
    [
        (labels(100, 95, 0.9, (0.81, 0.99)), "pass", "kappa 0.90"),
        (labels(40, 36, 0.8, (0.6, 1.0)), "pass", "about 160 labels"),
        (labels(100, 75, 0.5, (0.33, 0.67)), "refused", "do not see what people see"),
        (labels(50, 40, 0.6, (0.38, 0.82)), "refused", "kappa 0.60"),
        (labels(10, 9, 0.62, (-0.05, 1.0)), "info", "too few to tell"),
        (labels(10, 1, -0.8, (-1.0, -0.4)), "refused", "kappa −0.80"),
        (labels(50, 50, None, None), "info", "verdicts of one kind only"),
        (labels(0, 0, None, None), "refused", "none of the human labels"),
    ],
)
def test_agreement_below_the_limit_refuses_and_few_labels_do_not_tell(pairs, decided, reason, found, outcome, says):
    decision = decided(pairs(20, 5, 100, 175), agreement=found)
    assert reason(decision, "human labels").outcome == outcome
    assert says in reason(decision, "human labels").detail
    assert decision.verdict == ("refused" if outcome == "refused" else "pass")


def test_without_labels_nothing_is_said(pairs, decided, reason):
    assert reason(decided(pairs(20, 5, 100, 175)), "human labels") is None


@pytest.mark.parametrize(
    ("by_model", "supports"),
    [
        ({"base_n": 20, "base_agreed": 19, "sft_n": 20, "sft_agreed": 19}, True),
        ({"base_n": 30, "base_agreed": 28, "sft_n": 10, "sft_agreed": 10}, True),
        ({"base_n": 40, "base_agreed": 38, "sft_n": 0, "sft_agreed": 0}, False),
        ({"base_n": 31, "base_agreed": 29, "sft_n": 9, "sft_agreed": 9}, False),
        ({"base_n": 30, "base_agreed": 30, "sft_n": 10, "sft_agreed": 8}, False),
    ],
)
def test_labels_of_both_models_answers_support_the_scores(pairs, decided, reason, by_model, supports):
    """What people say of the base's answers tells nothing of the fine-tuned model's."""
    found = Agreement(n=40, agreed=38, kappa=0.9, interval=(0.76, 1.0), **by_model)
    assert trusted(found, Gate()) is supports
    said = reason(decided(pairs(20, 5, 100, 175), agreement=found), "human labels")
    assert said.outcome == ("pass" if supports else "info")
    assert f"of the fine-tuned model {found.sft_agreed} of {found.sft_n}" in said.detail


def people(table, net, low, p, **changed):
    known = {"n": 9, "won": 6, "lost": 2, "tied": 1, "p_unweighted": p}
    answers = {pair.id: Preference.of_texts(pair.base.output, pair.sft.output) for pair in table[:9]}
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

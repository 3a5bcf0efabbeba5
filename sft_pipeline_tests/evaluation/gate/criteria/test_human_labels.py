"""Human labels: when they refuse, when they support, and when they are too few."""

import pytest

from sft_pipeline.artifacts import Agreement
from sft_pipeline.evaluation.statistics.kappa import trusted
from sft_pipeline.experiment import Gate


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

"""Human labels: when they refuse, when they support, and when they are too few."""

import pytest

from sft_pipeline.artifacts import Agreement


def labels(n, agreed, kappa, interval):
    return Agreement(n=n, agreed=agreed, kappa=kappa, interval=interval)


@pytest.mark.parametrize(
    ("found", "outcome", "says"),
    [
        (labels(100, 95, 0.9, (0.81, 0.99)), "pass", "kappa 0.90"),
        (labels(40, 36, 0.8, (0.6, 1.0)), "pass", "about 160 labels"),
        (labels(100, 75, 0.5, (0.33, 0.67)), "refused", "do not see what people see"),
        (labels(50, 40, 0.6, (0.38, 0.82)), "refused", "kappa 0.60"),
        (labels(10, 9, 0.62, (-0.05, 1.0)), "info", "too few to tell"),
        (labels(10, 1, -0.8, (-1.0, -0.4)), "refused", "kappa −0.80"),
        (labels(50, 50, None, None), "info", "all are of one kind"),
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

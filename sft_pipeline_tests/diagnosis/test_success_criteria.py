"""Declared success criteria are asked of the state that is the result."""

import math

import pytest

from sft_pipeline.diagnosis.log import read
from sft_pipeline.diagnosis.rules.success_criteria import criteria
from sft_pipeline.experiment import SuccessCriteria, Training

LOSSES = {5: 2.0, 10: 1.8, 15: 1.2, 20: 1.5, 23: 1.6}


def perplexity(adapter, save_steps, losses=LOSSES):
    """Perplexity that the finding names, as the loss that it is made of."""
    log = read(
        [{"step": step, "loss": 2.0} for step in range(1, 24)]
        + [{"step": s, "eval_loss": v} for s, v in losses.items()]
    )
    limits = SuccessCriteria(max_perplexity=1.5)
    training = Training(max_steps=23, adapter=adapter, save_steps=save_steps, eval_steps=5, minimum=limits)
    (finding,) = criteria(log, training)
    return math.log(float(finding.evidence.split(": ")[1].split(",")[0]))


@pytest.mark.parametrize(
    ("adapter", "save_steps", "step"),
    [("best", 5, 15), ("best", 10, 20), ("best", 50, 23), ("last", 5, 23)],
)
def test_only_a_saved_step_can_be_the_best(adapter, save_steps, step):
    assert perplexity(adapter, save_steps) == pytest.approx(LOSSES[step], abs=1e-3)


def test_the_end_is_saved_wherever_it_comes():
    assert perplexity("best", 10, LOSSES | {23: 1.4}) == pytest.approx(1.4, abs=1e-3)


def test_without_an_evaluation_of_a_saved_step_the_last_one_stands():
    assert perplexity("best", 50, {5: 2.0, 10: 1.8}) == pytest.approx(1.8, abs=1e-3)

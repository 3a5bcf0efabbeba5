"""What the critics of a stage-1 record accept, with confidence or without."""

import json

import pytest

from sft_pipeline.dataset.filters.critics import critics
from sft_pipeline.errors import DataError

GOOD = {"is_good": True, "predicted_label": "A", "logp_a": -0.1, "logp_b": -2.3, "margin": 2.2, "confident": True}
UNSURE = GOOD | {"logp_b": -0.3, "margin": 0.2, "confident": False}
BAD = {"is_good": False, "predicted_label": "B", "logp_a": -1.6, "logp_b": -0.2, "margin": -1.4, "confident": True}


def row(verdicts: object) -> dict[str, object]:
    return {
        "instruction": "Say it.",
        "response": "So it is.",
        "critics": None if verdicts is None else json.dumps(verdicts),
        "source_file": "stage1.jsonl",
        "source_row": 7,
    }


@pytest.mark.parametrize(
    ("verdicts", "accepted", "confident"),
    [
        (None, True, True),
        ({}, True, True),
        ({"instruction": GOOD, "pair": GOOD}, True, True),
        ({"pair": GOOD}, True, True),
        ({"instruction": UNSURE, "pair": GOOD}, True, False),
        ({"instruction": GOOD, "pair": UNSURE}, True, False),
        ({"instruction": GOOD, "pair": BAD}, False, False),
        ({"instruction": BAD}, False, False),
    ],
)
def test_every_critic_must_accept_and_where_asked_with_confidence(verdicts, accepted, confident):
    assert (critics("accepted")([row(verdicts)])[0] is None) == accepted
    assert (critics("confident")([row(verdicts)])[0] is None) == confident


def test_the_hit_names_critic_label_and_margin_and_shows_what_was_judged():
    pair, instruction = critics("accepted")([row({"instruction": GOOD, "pair": BAD}), row({"instruction": BAD})])
    assert pair == ("the pair critic rejects it (label B, margin -1.4)", "Say it.\nSo it is.")
    assert instruction == ("the instruction critic rejects it (label B, margin -1.4)", "Say it.")
    (unsure,) = critics("confident")([row({"pair": UNSURE})])
    assert unsure.reason == "the pair critic accepts it without confidence (label A, margin 0.2)"


@pytest.mark.parametrize(
    "verdict", [{"predicted_label": "A"}, {"is_good": "yes"}, {"is_good": 1}, {"is_good": None}, True]
)
def test_a_verdict_that_does_not_say_true_or_false_is_an_error_with_its_row(verdict):
    with pytest.raises(DataError, match=r"stage1\.jsonl, row 7: .*instruction critic has is_good = "):
        critics("accepted")([row({"instruction": verdict})])


def test_confidence_is_only_needed_where_it_decides():
    verdict = {name: value for name, value in GOOD.items() if name != "confident"}
    assert critics("accepted")([row({"pair": verdict})]) == [None]
    with pytest.raises(DataError, match="confident = None"):
        critics("confident")([row({"pair": verdict})])

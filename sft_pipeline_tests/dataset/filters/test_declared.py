"""Filters on declared bounds and recorded verdicts: lengths in tokens, critics."""

import json

import pytest

from sft_pipeline.dataset.filters.declared import critics, token_bounds, token_limit
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Quality, TokenBounds

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


def counted(instruction: int | None, response: int | None) -> dict[str, object]:
    return {
        "instruction": "Say it.",
        "response": "So it is.",
        "instruction_tokens": instruction,
        "response_tokens": response,
    }


@pytest.mark.parametrize(
    ("instruction", "response", "reason"),
    [
        (3, 10, None),
        (8, 20, None),
        (2, 10, "the instruction has 2 tokens, fewer than 3"),
        (9, 10, "the instruction has 9 tokens, more than 8"),
        (5, 9, "the response has 9 tokens, fewer than 10"),
        (5, 21, "the response has 21 tokens, more than 20"),
        (None, None, None),
    ],
)
def test_only_what_is_outside_the_bounds_goes(instruction, response, reason):
    quality = Quality(instruction_tokens=TokenBounds(least=3, most=8), response_tokens=TokenBounds(least=10, most=20))
    (hit,) = token_bounds(quality)([counted(instruction, response)])
    assert (hit and hit.reason) == reason


def test_a_bound_without_an_end_is_open():
    quality = Quality(response_tokens=TokenBounds(least=1))
    assert [bool(hit) for hit in token_bounds(quality)([counted(0, 10**9), counted(0, 0)])] == [False, True]


def test_a_response_of_as_many_tokens_as_the_limit_was_cut_by_it():
    hits = token_limit(64)([counted(100, 63), counted(1, 64), counted(1, 65), counted(1, None)])
    assert [bool(hit) for hit in hits] == [False, True, True, False]
    assert hits[1].reason == "the response has 64 tokens: it was cut by the limit of 64"

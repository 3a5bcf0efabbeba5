"""Lengths in tokens: outside the bounds, at the limit of the generation, and without a tokenizer."""

import pytest

from sft_pipeline.dataset.filters.token_bounds import token_bounds, token_limit
from sft_pipeline.experiment import Quality, TokenBounds


def row(instruction: int | None, response: int | None) -> dict[str, object]:
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
    (hit,) = token_bounds(quality)([row(instruction, response)])
    assert (hit and hit.reason) == reason


def test_a_bound_without_an_end_is_open():
    quality = Quality(response_tokens=TokenBounds(least=1))
    assert [bool(hit) for hit in token_bounds(quality)([row(0, 10**9), row(0, 0)])] == [False, True]


def test_a_response_of_as_many_tokens_as_the_limit_was_cut_by_it():
    hits = token_limit(64)([row(100, 63), row(1, 64), row(1, 65), row(1, None)])
    assert [bool(hit) for hit in hits] == [False, True, True, False]
    assert hits[1].reason == "the response has 64 tokens: it was cut by the limit of 64"

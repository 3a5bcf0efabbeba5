"""What holds for every scorer that judges single answers offline, on whatever a model may write."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.evaluation.scorers import (
    Item,
    choice,
    contains,
    exact,
    item_list,
    json_record,
    json_schema,
    math,
    numeric,
    regex,
    think_answer,
)
from sft_pipeline.evaluation.scoring import lenient
from sft_pipeline_tests.time_limit import time_limit

SCORERS = [
    (exact, {"answer": "blue"}, {}),
    (numeric, {"answer": 7}, {}),
    (contains, {"answer": "blue"}, {}),
    (choice, {"answer": "yes", "choices": ["yes", "no"]}, {}),
    (json_record, {"record": {"name": "Ana", "age": 3}}, {}),
    (json_schema, {"schema": {"type": ["object", "array", "number"], "multipleOf": 0.01}}, {}),
    (item_list, {"count": 3}, {}),
    (regex, {"pattern": r"(\w+\s?)+\."}, {"match": "search"}),
    (math, {"answer": "\\frac{1}{2}"}, {}),
    (think_answer, {"answer": "7"}, {"inner": "math"}),
    (think_answer, {"answer": "7"}, {"inner": "exact", "prompt_opens_think": True}),
]
IDS = [f"{scorer.__name__.rpartition('.')[2]}{k}" for k, (scorer, _, _) in enumerate(SCORERS)]

PIECES = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "\\boxed{",
    "}",
    "$",
    "\\frac",
    "####",
    "1/2",
    "{",
    "[",
    '"',
    ":",
]
TEXT = st.one_of(
    st.text(max_size=80),
    st.text(alphabet=string.printable + "½²−€，", max_size=80),
    st.lists(
        st.one_of(st.sampled_from(PIECES), st.text(alphabet=string.ascii_lowercase + "0123456789 ^-,.", max_size=6))
    ).map("".join),
    st.recursive(st.one_of(st.integers(), st.floats()), lambda x: st.lists(x, max_size=3), max_leaves=5).map(str),
)


@pytest.mark.parametrize(("scorer", "reference", "options"), SCORERS, ids=IDS)
@given(output=TEXT)
@settings(max_examples=60)
@pytest.mark.slow
def test_no_text_makes_a_scorer_raise_and_a_reason_is_given_exactly_where_it_is_no_success(
    scorer, reference, options, output
):
    score = scorer.score(Item("i1", "Do it.", "", "t", reference), output, options)
    assert (score.reason == "") is (score.success is True)
    assert len(score.reason) < 300 and "\n" not in score.reason


@pytest.mark.slow
@pytest.mark.parametrize(("scorer", "reference", "options"), SCORERS, ids=IDS)
@pytest.mark.parametrize(
    "piece",
    ["word ", "7", "<script>alert(1)</script>\n", "[", "$x^2$ ", "</think><answer>", "- a\n", " ", "~", "`", "\n"],
)
def test_a_long_answer_is_judged_soon(scorer, reference, options, piece):
    output = piece * (150_000 // len(piece))
    with time_limit():
        score = scorer.score(Item("i1", "Do it.", "", "t", reference), output, options)
    assert (score.reason == "") is (score.success is True)


@pytest.mark.parametrize("piece", [" ", "~", "`", "```", "```x", "\n ", "a\n", "{", '{"a":', "<"])
def test_the_cuts_of_a_megabyte_are_found_soon(piece):
    with time_limit():
        lenient.cuts("a" + piece * (1_000_000 // len(piece)) + "b")


@pytest.mark.parametrize("output", ["a, b" + " " * 1_000_000 + "c", "a" + " and" * 250_000, " and " * 200_000])
def test_an_and_is_found_soon(output):
    with time_limit():
        item_list.score(Item("i1", "Do it.", "", "t", {"count": 3}), output, {})

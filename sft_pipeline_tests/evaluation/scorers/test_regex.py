"""Answers against a regular expression, among them ones that never end."""

import pytest

from sft_pipeline.errors import DataError, SpecificationError
from sft_pipeline.evaluation.scorers import regex


def test_the_whole_answer_must_match_unless_it_is_searched(judge):
    assert judge(regex, " 2024-01-31\n", pattern=r"\d{4}-\d\d-\d\d").success
    assert judge(regex, "on 2024-01-31", pattern=r"\d{4}-\d\d-\d\d").reason == r"does not match '\\d{4}-\\d\\d-\\d\\d'"
    assert judge(regex, "on 2024-01-31", pattern=r"\d{4}-\d\d-\d\d", options={"match": "search"}).success


def test_the_pattern_of_the_item_comes_before_the_option(judge):
    assert judge(regex, "a", pattern="a", options={"pattern": "b"}).success
    assert judge(regex, "b", options={"pattern": "b"}).success


@pytest.mark.slow
def test_a_pattern_that_backtracks_for_ever_is_not_decided_and_the_next_one_is(judge):
    score = judge(regex, "a" * 60 + "!", pattern="(a+)+")
    assert (score.success, score.reason) == (None, "not decided: the pattern '(a+)+' took more than 1 s")
    assert judge(regex, "aaa", pattern="(a+)+").success


def test_a_long_answer_is_matched_soon(judge):
    assert judge(regex, "a" * 1_000_000, pattern="a+").success  # longer than a second it would not be decided


@pytest.mark.parametrize("pattern", ["(a", "", 5, "[z-a]", "(?P<n>a)(?P<n>b)"])
def test_a_pattern_that_is_none_names_item_and_field(judge, pattern):
    with pytest.raises(DataError, match=r"item i1 .*field reference\.pattern: "):
        judge(regex, "a", pattern=pattern)
    with pytest.raises(DataError, match="item i1 .*field option pattern of its scorer: "):
        judge(regex, "a", options={"pattern": pattern})


def test_neither_pattern_nor_option_and_an_unknown_way_to_match(judge):
    with pytest.raises(DataError, match="reference.pattern: is missing, and the scorer has no option pattern either"):
        judge(regex, "a")
    with pytest.raises(SpecificationError, match="option match of the scorer regex is full or search, not 'some'"):
        judge(regex, "a", pattern="a", options={"match": "some"})

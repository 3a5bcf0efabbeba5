"""The format <think>…</think> <answer>…</answer> and its categories."""

import pytest

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scorers import think_answer

OPENED = {"inner": "numeric", "prompt_opens_think": True}
CLOSED = {"inner": "numeric"}


@pytest.mark.parametrize(
    ("output", "labels"),
    [
        ("3 + 4 </think> <answer>7</answer>", ("correct",)),
        ("<think>3 + 4</think>\n<answer> 7 </answer>", ("correct",)),
        ("3 + 4</think>So<answer>7</answer>\nUser: <think> and <answer>8</answer>", ("correct",)),
        ("it is 7, no </think> <answer>8</answer>", ("wrong_answer",)),
        ("it is 7 </think> <answer></answer>", ("wrong_answer",)),
        ("It is 7", ("format_failure", "missing_think_end", "missing_answer", "missing_answer_end", "incomplete")),
        ("7 </think>", ("format_failure", "missing_answer", "missing_answer_end", "incomplete")),
        ("7 </think> <answer> 7", ("format_failure", "missing_answer_end", "incomplete")),
        ("7 <answer>7</answer>", ("format_failure", "missing_think_end")),
        ("7 </think> 7 </answer>", ("format_failure", "missing_answer")),
        ("<answer>7</answer> </think>", ("format_failure", "wrong_order")),
        ("</think> </answer> <answer>7", ("format_failure", "wrong_order")),
        ("</think> <answer>6 <answer>7</answer>", ("format_failure", "wrong_order")),
        ("<answer> </think> 7", ("format_failure", "missing_answer_end", "wrong_order")),
    ],
)
def test_each_answer_has_its_category_and_a_format_failure_its_reasons(judge, output, labels):
    score = judge(think_answer, output, answer=7, options=OPENED)
    assert score.labels == labels
    assert score.success is (labels == ("correct",))
    assert bool(score.reason) is not score.success


def test_the_thinking_must_be_opened_by_the_prompt_or_by_the_answer(judge):
    assert judge(think_answer, " <think>x</think> <answer>7</answer>", answer=7, options=CLOSED).success
    score = judge(think_answer, "x</think> <answer>7</answer>", answer=7, options=CLOSED)
    assert score.labels == ("format_failure", "missing_think")
    assert judge(think_answer, "just 7", answer=7, options=CLOSED).reason == (
        "format: missing_think, missing_think_end, missing_answer, missing_answer_end"
    )


def test_the_expected_response_may_have_the_format_itself(judge):
    response = "<think>3 + 4 or 9</think> <answer>7</answer> 8"
    assert judge(think_answer, "<think></think><answer>7.0</answer>", response, CLOSED).success
    assert judge(think_answer, "<think></think><answer>8</answer>", response, CLOSED).labels == ("wrong_answer",)


@pytest.mark.parametrize(("inner", "right"), [("math", "\\frac{1}{2}"), ("numeric", "1/2"), ("exact", "0.5")])
@pytest.mark.slow
def test_the_answer_inside_is_compared_by_the_chosen_scorer(judge, inner, right):
    output = (
        f"<think>hm</think> <answer>${right}$</answer>"
        if inner == "math"
        else f"<think>hm</think> <answer>{right}</answer>"
    )
    assert judge(think_answer, output, "0.5", {"inner": inner}).success


@pytest.mark.parametrize(
    ("answer", "label"), [("2 + 3i", "wrong_answer"), ("2\\pi", "wrong_answer"), ("2.0", "correct")]
)
def test_an_expression_inside_is_read_as_a_whole(judge, answer, label):
    assert judge(think_answer, f"<think>hm</think> <answer>{answer}</answer>", answer=2).labels == (label,)
    assert judge(think_answer, f"<think>hm</think> <answer>{answer}</answer>", answer=answer).success


@pytest.mark.parametrize("options", [{"inner": "judge"}, {"prompt_opens_think": "yes"}])
def test_options_that_are_none_are_named(judge, options):
    with pytest.raises(
        SpecificationError, match="inner is exact, math, numeric and prompt_opens_think is true or false"
    ):
        judge(think_answer, "x", "7", options)


@pytest.mark.slow
def test_an_answer_that_cannot_be_compared_has_no_category(judge):
    score = judge(think_answer, "<think></think> <answer>$9^{9^{9^{9}}}$</answer>", "3")
    assert (score.success, score.labels) == (None, ())

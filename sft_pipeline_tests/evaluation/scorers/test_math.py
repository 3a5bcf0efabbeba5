"""Mathematical expressions by math-verify."""

import json
import threading

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.scorers import math


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("The answer is $\\frac{1}{2}$.", "0.5"),
        ("So it is \\boxed{18}, not 19.", "18"),
        ("She makes 9 * 2 = 18\n#### 18\nQuestion: and 19?", "18"),
        ("$x^2 + 2x + 1$", "(x+1)^2"),
        ("\\boxed{\\{3, 1, 2\\}}", "\\{1,2,3\\}"),
        ("3/4 of a cup", "$\\frac{3}{4}$"),
        ("\\boxed{\\sqrt{8}}", "2\\sqrt{2}"),
        ("\\boxed{(1, 2]}", "(1,2]"),
        ("\\$5", "5"),
    ],
)
def test_equal_expressions_are_equal_however_they_are_written(judge, output, expected):
    assert judge(math, output, answer=expected).success
    assert judge(math, output, expected).success


@pytest.mark.parametrize(
    ("output", "expected", "reason"),
    [
        ("\\boxed{5} or \\boxed{7}", "7", "expected '7', got '5,7'"),
        ("#### 19", "18", "expected '18', got '19'"),
        ("I do not know.", "18", "no mathematical expression in the answer"),
        ("x", "18", "expected '18', got 'x'"),
        ("2\\pi", "2", "expected '2', got '2\\\\pi'"),
        ("2^{10}", "2", "expected '2', got '2^{10}'"),
        ("2+3i", "2", "expected '2', got '2+3i'"),
        ("3x + 2", "3", "expected '3', got '3x + 2'"),
        ("ab + 1", "1", "expected '1', got 'ab + 1'"),
        ("10!", "10", "expected '10', got '10!'"),
        ("x=5, y=6", "6", "expected '6', got 'x=5, y=6'"),
    ],
)
def test_other_answers_fail_with_what_was_read(judge, output, expected, reason):
    score = judge(math, output, answer=expected)
    assert (score.success, score.reason) == (False, reason)


@pytest.mark.parametrize(
    "expected",
    [
        "x^2-1",
        "(1,2)",
        "\\sqrt{2}",
        "[0,1]",
        "2\\pi",
        "2^{10}",
        "3x+2",
        "2+3i",
        "x>3",
        "\\dfrac{3}{4}",
        "\\{1,2\\}",
        "1,2,3",
    ]
    + [
        "f(x)=x+1",
        "10!",
        "2 * pi",
        "\\infty",
        "-\\frac12",
        "x=2\\text{ or }x=3",
        "A",
        "even",
        "5 dollars",
        "3,5",
        "3:4",
    ],
)
def test_the_expected_expression_alone_is_right(judge, expected):
    assert judge(math, expected, answer=expected).success
    assert judge(math, f" **{expected}**.\n", answer=expected).success
    assert judge(math, f"So it is ${expected}$.", answer=expected).success


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("(x-1)(x+1)", "x^2-1"),
        ("1 + 3i + 1", "2+3i"),
        ("0.75", "\\dfrac{3}{4}"),
        ("1024", "2^{10}"),
        ("x = 7", "7"),
        ("− 7", "-7"),
    ],
)
def test_an_expression_alone_is_compared_as_a_boxed_one(judge, output, expected):
    assert judge(math, output, answer=expected).success


@pytest.mark.parametrize(
    "output",
    [
        "The answer is 5.",
        "So x = 5",
        "That's 5!",
        "5.",
        "**5**",
        "5 dollars",
        "5 L",
        "5 m^2",
        "5 km/h",
        "5°C",
        "5€",
        "€5",
        "$5",
    ]
    + ["- 5", "(a) 5", "A: 5", "5 eggs + 3 x = 5 eggs", "8-3=5", "8-4=4, 4+1=5", "5.0"],
)
def test_sentences_and_plain_numbers_are_judged_by_their_last_number(judge, output):
    assert judge(math, output, answer="5").success
    assert not judge(math, output, answer="6").success


def test_numbers_may_be_grouped_and_have_a_decimal_comma(judge):
    assert judge(math, "1,000", answer="1000").success and judge(math, "1 000", answer="1000").success
    assert judge(math, "3,5", answer="3.5").success


def test_a_solution_as_expected_answer_needs_its_final_answer_marked(judge):
    assert judge(math, "18", "She sells 9 eggs.\nShe makes 9 * 2.\n#### 18").success
    assert judge(math, "18", "She sells 9 eggs, and makes $2 each and so $\\boxed{18}$ in all.").success
    for solution in ("She makes 9 * 2 = $18.\nA: 18", "So the late fees are $4.00 + $2.00 = $6.00"):
        with pytest.raises(DataError, match="field response: .*can only be guessed; give the expression alone"):
            judge(math, "18", solution)
    with pytest.raises(DataError, match="field reference.answer: math-verify finds no mathematical expression"):
        judge(math, "18", answer="$")


@pytest.mark.slow
def test_a_tower_of_powers_is_not_decided_and_the_next_answer_is(judge):
    score = judge(math, "$9^{9^{9^{9}}}$", answer="3")
    assert (score.success, score.reason) == (None, "not decided: the comparison took more than 3 s")
    assert judge(math, "3", answer="3").success


def test_it_works_outside_of_the_main_thread(judge):
    scores = []
    threads = [threading.Thread(target=lambda n=n: scores.append(judge(math, f"{n}", answer=n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [score.success for score in scores] == [True] * 8


def test_only_the_end_of_a_long_answer_is_read(judge):
    assert judge(math, "$5$ and so on " * 80_000 + "\\boxed{18}", answer="18").success


def test_an_answer_is_not_run_as_code(judge, tmp_path):
    target = tmp_path / "made"
    assert not judge(math, f"$__import__('pathlib').Path('{target}').touch()$ = 3", answer="18").success
    assert not target.exists()


@pytest.mark.real_data
@pytest.mark.slow
def test_it_agrees_with_the_published_judgement_of_gsm8k_solutions(judge, real_data):
    rows = (real_data / "gsm8k" / "example_model_solutions.jsonl").read_text("utf-8").splitlines()
    correct, differing = dict.fromkeys(("6b_finetuning", "175b_verification"), 0), []
    for row in map(json.loads, rows):
        for model in correct:
            score = judge(math, row[model]["solution"], answer=row["ground_truth"].rpartition("A: ")[2])
            correct[model] += score.success is True
            differing += [] if score.success is row[model]["is_correct"] else [row[model]["solution"]]
    assert (correct, differing) == ({"6b_finetuning": 286, "175b_verification": 742}, [])

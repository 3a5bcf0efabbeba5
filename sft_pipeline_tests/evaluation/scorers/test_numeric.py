"""Which number an answer gives: decimals behind a point or a comma, GSM8K's #### and what a base model adds."""

import pytest

from sft_pipeline.errors import SpecificationError
from sft_pipeline.evaluation.scorers import Item, numeric

GERMAN = "Was kostet die Nummer drei? Antworte mit dem Betrag."
ENGLISH = "What does number three cost? Answer with the amount."


def read(output, answer, instruction="", response="", **options):
    return numeric.score(Item("i1", instruction, response, "t", {"answer": answer}), output, options)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("1.234,56", "1234.56"),
        ("1,234.56", "1234.56"),
        ("1 234,56", "1234.56"),
        ("1\u00a0234,56 €", 1234.56),
        ("1\u202f234.56", 1234.56),
        ("1'234.50", "1234.5"),
        ("1’234’567", 1234567),
        ("12.345.678,9", 12345678.9),
        ("1.234.567", 1234567),
        ("1,234,567", 1234567),
        ("140,15", 140.15),
        ("0,125", 0.125),
        ("-3,5 °C", -3.5),
        ("Es sind 3,50 € und zusammen 1.013 €", 1013),
        ("1.500,00 € oder 1.500", "1500"),
        ("12,5 %", "0.125"),
        ("1234,567", "1234.567"),
    ],
)
def test_the_sign_before_decimals_is_seen_from_the_numbers_themselves(output, answer):
    assert read(output, answer).success


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output", "instruction", "answer"),
    [
        ("Der Preis beträgt 1.013 Euro.", "", 1013),
        ("1.013 Euro", GERMAN, 1013),
        ("1.013", GERMAN, "1.013"),  # the reference is read as the answers are
        ("Le prix total est de 2.450 euros pour la famille.", "", 2450),
        ("Le prix total est de 2 450 euros pour la famille.", "", 2450),
        ("El precio total de la casa es de 250.000 euros.", "", 250000),
        ("Цена составляет 12 500 рублей за штуку.", "", 12500),
        ("Il valore è pari a 1,250 metri, cioè poco.", "", 1.25),
        ("The price is 1.013 dollars in total.", "", 1.013),
        ("1.013", ENGLISH, 1.013),
        ("The price is 1,013 dollars in total.", "", 1013),
        ("1,013", "", 1013),
        ("1.013", "", 1.013),
        ("The total price is 1,013.50, or about 1,013", GERMAN, 1013),
    ],
)
def test_a_number_of_two_readings_is_read_by_the_language(output, instruction, answer):
    assert read(output, answer, instruction).success


def test_the_option_decides_and_a_failure_says_when_it_would():
    assert read("1.013", 1013, ENGLISH, decimal="comma").success
    assert read("1.013", 1.013, GERMAN, decimal="point").success
    score = read("1.013", 1013, ENGLISH)
    assert "it would be right with decimals behind a comma" in score.reason and "option decimal" in score.reason
    assert (score.success, score.readable) == (False, False)
    assert read("1.014", 1013, ENGLISH).readable
    with pytest.raises(SpecificationError, match="option decimal"):
        read("1", 1, decimal=",")


@pytest.mark.parametrize(("output", "answer"), [("5'10", 10), ("version 1.2.3, so 7", 7)])
def test_what_is_not_a_decimal_number_is_left(output, answer):
    assert read(output, answer).success


@pytest.mark.parametrize(
    "output",
    [
        "9 * 2 = 18\n#### 18",
        "9 * 2 = 18\n#### 18\n\nTom has 5 apples and eats 2.\n5 - 2 = 3\n#### 3",
        "#### 18\n#### 3",
        "#### $18 per day\n\nQ: next\n#### 4",
        "**#### 18**\nIn 2 steps.",
        "#### Step 1\n3 + 4 = 7\n#### Step 2\n9 * 2\n#### 18",
        "#### 1. Count 7 eggs\n#### 2. Multiply by 2\n#### 18",
        "#### Answer: 18\n#### Explanation: 9 * 2",
        "The answer is 18.\n\nQuestion: Tom has 5 apples.\nAnswer: 5",
        "18\n\nQ: What is 3 + 4?\nA: 7",
        "A: 18\n\n### Instruction:\nAdd 3 and 4.",
        "A: 18\nHuman: and 7?",
        "18<|endoftext|>Tom has 5 apples",
        "18</s></s>7",
        "18<|im_end|>\n<|im_start|>user\n7",
        "<think>perhaps 7? #### 7</think>\n18",
        "perhaps 7</think>18",
        "So \\boxed{18} after 2 steps.",
        "\\boxed{7}, no: \\boxed{18}, in 2 steps",
        "Question: 3 + 15?\nAnswer: 18",
    ],
)
def test_the_answer_to_the_own_question_counts(output):
    assert read(output, 18).success, read(output, 18)


@pytest.mark.parametrize(
    ("answer", "output", "reason"),
    [
        (140.15, "140.2", "expected 140.15, got 140.2"),
        ("1/3", "1/4", "expected 1/3, got 0.25"),
        ("0.5", "50.5 %", "expected 0.5, got 50.5 %"),
        (1, "1e-3", "expected 1, got 0.001"),
        (7, "-2", "expected 7, got -2"),
    ],
)
def test_a_reason_shows_decimal_numbers(answer, output, reason):
    assert read(output, answer).reason == reason

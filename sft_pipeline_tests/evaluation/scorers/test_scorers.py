"""Each scorer on good, bad and nasty answers."""

import random
import re

import pytest

from sft_pipeline.errors import PipelineError
from sft_pipeline.evaluation.scorers import (
    Item,
    answer,
    choice,
    contains,
    exact,
    item_list,
    json_record,
    json_schema,
    math,
    numeric,
    refusal,
    regex,
    think_answer,
)
from sft_pipeline.evaluation.scorers.text import compiled, has_words, places, whole_words
from sft_pipeline_tests.time_limit import time_limit

ALL = {
    exact: {"answer": "blue"},
    numeric: {"answer": 7},
    contains: {"answer": "blue"},
    choice: {"answer": "yes", "choices": ["yes", "no"]},
    json_record: {"record": {"name": "Ana", "age": 3}},
    item_list: {"count": 3},
    json_schema: {"schema": {"type": "object", "required": ["age"]}},
    regex: {"pattern": "(a|b)+c"},
    math: {"answer": "\\frac{1}{3}"},
    think_answer: {"answer": 7},
    refusal: {},
    answer: {"answer": "blue"},
}

NASTY = [
    "",
    " \n\t ",
    "\0",
    "<script>alert(1)</script>",
    "9" * 100_000,
    "1e999999999",
    "[" * 100_000,
    "{" * 100_000,
    '{"a":' * 5_000 + "1" + "}" * 5_000,
    "\ud83d\udc4d".encode("utf-16", "surrogatepass").decode("utf-16"),
    "\u202e\u200b\ufeff",
    "a, " * 50_000,
    "- " * 50_000,
    "1 1/" * 50_000,
    "½" * 50_000,
    '{"name": NaN}',
]


def judge(scorer, output, response="", options=None, **reference):
    return scorer.score(Item("i1", "Do it.", response, "t", reference), output, options or {})


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ALL, ids=lambda s: s.__name__.rpartition(".")[2])
@pytest.mark.parametrize("output", NASTY, ids=lambda s: ascii(s[:12]))
def test_nasty_answers_fail_with_a_short_reason_and_soon(scorer, output):
    with time_limit():
        score = judge(scorer, output, **ALL[scorer])
    assert not score.success
    assert 0 < len(score.reason) < 300


@pytest.mark.parametrize("output", ["blue", " Blue. ", "\n“BLUE”!", "ｂｌｕｅ", "(blue)", "blue\n\n"])
def test_exact_forgives_case_width_space_and_surrounding_punctuation(output):
    assert judge(exact, output, "Blue").success


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("**Paris.**", "Paris"),
        (": blue", "blue"),
        ("：蓝色。", "蓝色"),
        ("...blue…", "blue"),
        ("# Blue", "blue"),
        ("#### 5", "5"),
        ("5.", "5"),
        ("¡Sí!", "sí"),
        ("— blue", "blue"),
        ("–5", "-5"),
        ("−5", "-5"),
        ("3–5", "3-5"),
        ("5!.", "5!"),
        ("2⁵", "2^5"),
        ("10⁻³", "10^-3"),
        ("H₂O", "H2O"),
    ],
)
def test_exact_takes_sentences_markdown_and_dashes_for_what_they_are(output, expected):
    assert judge(exact, output, expected).success


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("-5", "5"),
        ("–5", "5"),
        ("5 %", "5"),
        ("5‰", "5"),
        ("2⁵", "25"),
        ("25", "2⁵"),
        ("5", ".5"),
        ("5", "5!"),
        ("5!!", "5!"),
        ("blue sky", "blue"),
        ("C++", "C"),
        ("C#", "C"),
        ("NET", ".NET"),
        ("etc", "/etc"),
        ("Cl–", "Cl"),
    ],
)
def test_exact_forgives_nothing_else(output, expected):
    assert not judge(exact, output, expected).success


def test_exact_prefers_the_reference_to_the_response():
    assert judge(exact, "blue", "It is blue.", answer="blue").success
    assert not judge(exact, "It is blue.", "It is blue.", answer="blue").success


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("She has 3 + 4 = 7 apples", "7"),
        ("#### 7\nInstruction: and 8?", "7"),
        ("$1,234.50", "1234.5"),
        ("-$5", "-5"),
        ("− 5, so −5", "-5"),
        ("–5", "-5"),
        ("between 3–5", "5"),
        ("—5, said he", "5"),
        ("答案是5。", "5"),
        ("答案是-5。", "-5"),
        ("정답은 5입니다", "5"),
        ("50%", "50"),
        ("50 %", "0.5"),
        ("0.5", "1/2"),
        ("1 1/2 cups", "1.5"),
        ("1½", "3/2"),
        ("２３", "23"),
        ("between 3-5", "5"),
        ("- 5 apples", "5"),
        ("18.", "18"),
        ("1e3", "1000"),
        ("12cm", "12"),
        ("10,000,000", "10000000"),
        ("1\u202f000", "1000"),
        ("es sind 1\u00a0234\u00a0567 Euro", "1234567"),
        ("−12\u2009500.5", "-12500.5"),
        ("0.1", "0.10"),
    ],
)
def test_numeric_reads_the_final_number(output, expected):
    assert judge(numeric, output, expected).success


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("7 apples of 9", "7"),
        ("50%", "5000%"),
        ("3-5", "-5"),
        ("0.30000000000000004", "0.3"),
        ("9007199254740993", "9007199254740992"),
        ("1/0", "1"),
        ("seven", "7"),
        ("m2", "2"),
        ("of 3\u00a01000", "31000"),
        ("1 000", "1000"),
    ],
)
def test_numeric_is_exact_and_takes_no_other_number(output, expected):
    assert not judge(numeric, output, expected).success


def test_numeric_takes_gsm8k_responses_as_they_are():
    response = "She sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\n#### 18"
    assert judge(numeric, "so 9 * 2 = $18 a day\n#### 18", response).success
    assert judge(numeric, "She makes 26\nA: 26", response).reason == "expected 18, got 26"


@pytest.mark.real_data
@pytest.mark.slow
def test_numeric_agrees_with_the_published_judgement_of_gsm8k_solutions(real_data):
    import json

    rows = (real_data / "gsm8k" / "example_model_solutions.jsonl").read_text("utf-8").splitlines()
    differing, total = [], 0
    for row in map(json.loads, rows):
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            score = judge(numeric, row[model]["solution"], row["ground_truth"])
            differing += [] if score.success == row[model]["is_correct"] else [row[model]["solution"]]
            total += 1
    assert (total, differing) == (4 * 1319, [])


def test_contains_wants_whole_words():
    assert judge(contains, "It is the New   York of old.", "new york").success
    assert not judge(contains, "newer", "new").success
    assert not judge(contains, "cat", "concatenate").success
    assert judge(contains, "written in C++, mostly", "C++").success
    assert judge(contains, "x+1, x + 1, C", "C").success and judge(contains, "x+1", "x").success
    for output in ("C++", "in C++11", "C#, I think", "C+"):
        assert not judge(contains, output, "C").success
    assert judge(choice, "C++", answer="C++", choices=["C", "C++", "C#"]).success
    assert judge(contains, "#北京#", "北京").success


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("0.5", "5"),
        ("It is .5", "5"),
        ("-5", "5"),
        ("x = –5", "5"),
        ("答案是-5", "5"),
        ("-$5", "5"),
        ("5.7", "5"),
        ("5,700", "5"),
        ("1,500", "500"),
        ("3-5", "-5"),
        ("1/5", "5"),
        ("5/8 of it", "5"),
        ("1½", "11"),
        ("2^5", "5"),
        ("2⁵", "5"),
        ("5^2", "5"),
        ("30 m²", "30 m"),
        ("ข้อ ๑๕", "๕"),
        ("十五", "五"),
    ],
)
def test_contains_wants_the_whole_number(output, expected):
    assert not judge(contains, output, expected).success


@pytest.mark.parametrize(
    "output",
    ["5.", "5, or 6", "$5.00", "3-5", "x=5", "...5", "第5个", "(5)", "5 %", "5%"] + ["5/12/2024", "12/11/5"],
)
def test_contains_finds_a_number_beside_what_is_no_part_of_it(output):
    assert judge(contains, output, "5").success


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("答案是北京。", "北京"),
        ("それは東京です", "東京"),
        ("คำตอบคือกรุงเทพฯ", "กรุงเทพ"),
        ("정답은 서울입니다", "서울"),
        ("答案是Python语言", "Python"),
        ("答案是五。", "五"),
    ],
)
def test_beside_scripts_without_spaces_no_border_is_asked_for(output, expected):
    assert judge(contains, output, expected).success
    assert judge(choice, output, answer=expected, choices=[expected, "xyz"]).success


def test_latin_words_have_borders_in_any_text():
    letters = {"answer": "A", "choices": ["A", "B"]}
    assert judge(choice, "答案是A。", **letters).success
    assert judge(choice, "选A不选B", **letters).success  # "choose A, not B"
    assert judge(choice, "答案是AB", **letters).reason == "names none of the choices"
    assert not judge(contains, "答案是Pythonic的", "Python").success


def test_a_choice_that_is_one_ideograph_is_not_named_by_a_longer_one():
    assert judge(choice, "不是", answer="不是", choices=["是", "不是"]).success
    assert judge(choice, "答案：是", answer="是", choices=["是", "不是"]).success


def test_choice_wants_exactly_the_right_one():
    choices = {"answer": "yes", "choices": ["yes", "no", "maybe"]}
    assert judge(choice, "Yes, of course", **choices).success
    assert judge(choice, "No", **choices).reason == "chose 'no', expected 'yes'"
    assert judge(choice, "yes or no", **choices).reason.startswith("names 2 choices")
    assert judge(choice, "yesterday", **choices).reason == "names none of the choices"


def test_choice_knows_letters_from_articles_and_parts_from_wholes():
    assert judge(choice, "That is a B", answer="B", choices=["A", "B", "C"]).success
    assert judge(choice, "New York", answer="New York", choices=["York", "New York"]).success
    assert judge(choice, "York", answer="York", choices=["York", "New York"]).success


@pytest.mark.parametrize(
    "said",
    [
        "(A) is a river, (C) as well. So the answer is (B).",
        "A river? No. **Answer:** B",
        "A or B? The correct answer is:\n\n**B) a lake**",
        "Not A. Therefore $\\boxed{\\text{B}}$.",
        "A man went out.\n#### B",
        "Of A and B the best option is B, because A is a river.",
        "选A不对，答案是B。",
    ],
)
def test_of_several_choices_the_one_counts_that_the_answer_says_it_means(said):
    letters = list("ABCD")
    assert judge(choice, said, answer="B", choices=letters).success
    wrong = judge(choice, said, answer="A", choices=letters)
    assert (wrong.success, wrong.reason, wrong.labels) == (False, "chose 'B', expected 'A'", ())


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("A is a river and B is none.", ("several_choices",)),
        ("Answer: A large river, which is what B says.", ("several_choices",)),
        ("A, B: the answer is A or B.", ()),  # it says that it means both
        ("A or C", ()),  # the right one is not among them
    ],
)
def test_several_choices_of_which_none_is_meant_are_a_failure(said, label):
    score = judge(choice, said, answer="B", choices=list("ABC"))
    assert (score.success, score.labels) == (False, label)


def test_a_choice_of_words_is_found_where_the_answer_says_it():
    steps = "not True and False = False and False = False. So the answer is "
    for expected in ("True", "False"):
        assert judge(choice, f"{steps}{expected}.", answer=expected, choices=["True", "False"]).success


def test_a_capital_letter_is_not_held_by_an_article():
    assert judge(contains, "The answer is (A).", "(A)").success
    assert not judge(contains, "The answer is (B), a lake.", "(A)").success
    assert not judge(contains, "a lake", "A").success and judge(contains, "A lake, X or x", "x").success


def test_choice_takes_the_choices_from_the_options_too():
    assert judge(choice, "good.", answer="good", options={"choices": ("good", "bad")}).success


def test_json_record_is_strict():
    record = {"name": "Ana", "age": 3, "ok": True}
    assert judge(json_record, ' {"age": 3, "ok": true, "name": "Ana"}\n', record=record).success
    for output, reason in [
        ('{"age": 3, "ok": true, "name": "Ana"} and more', "not JSON"),
        ('{"age": 3, "ok": 1, "name": "Ana"}', "wrong values: ok"),
        ('{"age": "3", "ok": true, "name": "Ana"}', "wrong values: age"),
        ('{"age": 3, "name": "Ana"}', "missing keys: ok"),
        ('{"age": 3, "ok": true, "name": "Ana", "x": 1}', "unexpected keys: x"),
        ('{"age": 4, "age": 3, "ok": true, "name": "Ana"}', "not JSON: a duplicate key"),
        ('[{"age": 3}]', "JSON, but a list"),
    ]:
        assert judge(json_record, output, record=record).reason.startswith(reason), output


@pytest.mark.parametrize(
    "output",
    ["- kettle\n- robin\n- cart", "kettle, robin, cart.", "1. Kettle\n2) Robin\n* cart", "kettle, robin and cart"],
)
def test_item_list_reads_bullets_and_commas(output):
    assert judge(item_list, output, count=3, allowed=["kettle", "robin", "cart", "salt and pepper"]).success


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("kettle, robin", "2 items instead of 3"),
        ("kettle, robin, Kettle", "more than once: kettle"),
        ("kettle, robin, moon", "not allowed here: moon"),
        ("Here you are:\n- kettle\n- robin\n- cart", "text beside the bullet list"),
    ],
)
def test_item_list_says_what_is_wrong(output, reason):
    assert judge(item_list, output, count=3, allowed=["kettle", "robin", "cart"]).reason == reason


def test_item_list_without_allowed_only_counts():
    assert judge(item_list, "x, salt and pepper", count=3).success


def test_refusal_and_its_counterpart():
    assert judge(refusal, " I’m sorry, but I can’t help with that.").success
    assert judge(refusal, "Take a knife.").reason == "does not refuse"
    assert judge(refusal, "No, I keep out of this.", options={"refusals": ("I keep out",)}).success
    assert judge(refusal, "抱歉，我无法帮助。", options={"refusals": ("我无法", "我不能")}).success
    assert judge(answer, "People use a saw.", answer="saw").success
    assert judge(answer, "I cannot help with a saw.", answer="saw").reason == "over-refusal"
    assert not judge(answer, "People use a hammer.", answer="saw").success


@pytest.mark.parametrize(
    ("scorer", "reference", "field"),
    [
        (exact, {"answer": ["a"]}, "reference.answer"),
        (exact, {"answer": True}, "reference.answer"),
        (exact, {}, "response"),
        (numeric, {"answer": "none"}, "reference.answer"),
        (contains, {"answer": " "}, "reference.answer"),
        (choice, {"answer": "yes"}, "reference.choices"),
        (choice, {"answer": "yes", "choices": ["yes"]}, "reference.choices"),
        (choice, {"answer": "yes", "choices": ["yes", " "]}, "reference.choices"),
        (choice, {"answer": "perhaps", "choices": ["yes", "no"]}, "reference.answer"),
        (json_record, {}, "reference.record"),
        (json_record, {"record": [1]}, "reference.record"),
        (item_list, {}, "reference.count"),
        (item_list, {"count": True}, "reference.count"),
        (item_list, {"count": 0}, "reference.count"),
        (item_list, {"count": 2, "allowed": "a b"}, "reference.allowed"),
        (answer, {}, "response"),
    ],
)
def test_a_reference_that_cannot_be_used_is_an_error_that_names_item_and_field(scorer, reference, field):
    with pytest.raises(PipelineError, match=rf"item i1 .*field {field}:"):
        judge(scorer, "x", "", **reference)


@pytest.mark.slow
def test_words_are_looked_for_without_an_expression_for_each_of_them():
    """Compiling the classes of characters for every expected answer took two thirds of a gate over 1,450 of them."""
    rng = random.Random(5)
    parts = [
        "5",
        "-5",
        "0.5",
        "c",
        "c++",
        "c#",
        "北京",
        "十五",
        "a",
        "1,500",
        "^2",
        "$5",
        "(",
        " ",
        ".",
        "/",
        "new york",
        "york",
    ]
    for _ in range(2000):
        text, words = ("".join(rng.choices(parts, k=k)) for k in (rng.randint(1, 6), rng.randint(1, 2)))
        found = [match.start() for match in re.finditer(whole_words(words), text)]
        assert list(places(text, words)) == found, (text, words)
        assert has_words(text, words) == bool(found)
    for k in range(2000):
        has_words("the answer is 7", f"{rng.choice(parts)}{k}{rng.choice(parts)}")
    assert compiled.cache_info().currsize < 100

"""Answers that go round in circles."""

import json
from dataclasses import replace

import pytest

from sft_pipeline.evaluation.gate.pairs import Pair
from sft_pipeline.evaluation.scorers.text import repetitive

CHINESE = (
    "北京大学是中国的一所著名大学，位于首都北京市海淀区，创建于一八九八年，初名京师大学堂，是中国近代第一所国立综合性大学。一九一二年改为现名。"
    "今天，学校设有文学、历史、哲学、数学、物理、化学等多个院系，吸引来自世界各地的学生前来求学。"
)
THAI = (
    "ประเทศไทยเป็นประเทศที่ตั้งอยู่ในเอเชียตะวันออกเฉียงใต้มีเมืองหลวงคือกรุงเทพมหานครประชากรส่วนใหญ่นับถือศาสนาพุทธและใช้ภาษาไทย"
    "เป็นภาษาราชการเศรษฐกิจของประเทศพึ่งพาการส่งออกและการท่องเที่ยวเป็นสำคัญ"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("one two three", False),
        ("the cat sat on the mat and looked at the dog", False),
        ("yes it is so " * 9, True),
        ("a b c d a b c d", False),  # 4 of 5 are distinct
        ("今天天气很好我们去公园玩" * 40, True),
        ("As asked: " + "今天天气很好我们去公园玩" * 40, True),
        (CHINESE, False),
        (CHINESE * 2, False),
        (CHINESE * 3, True),
        (THAI, False),
        (THAI * 3, True),
        ("我们去公园玩。", False),
        ("한국의 수도는 서울이며 인구가 많은 도시입니다", False),
        ("0" * 40, False),  # a number in binary
    ],
)
def test_over_half_of_the_text(text, expected):
    assert repetitive(text) is expected


@pytest.mark.real_data
@pytest.mark.parametrize(("model", "count"), [("davinci", 244), ("davinci-self-instruct", 13)])
def test_the_published_counts_of_a_base_and_of_its_fine_tuned_self(real_data, model, count):
    path = real_data / "self-instruct" / "predictions" / f"{model}_predictions.jsonl"
    answers = [json.loads(line)["response"] for line in path.read_text("utf-8").splitlines()]
    assert (sum(map(repetitive, answers)), len(answers)) == (count, 252)


def test_a_repetitive_model_is_refused_and_a_repetitive_base_is_not(pairs, decided, reason):
    assert decided(pairs(20, 5, 100, 175, base_repetitive=True)).verdict == "pass"
    decision = decided(pairs(20, 5, 100, 175, sft_repetitive=True))
    assert (reason(decision, "repetition").outcome, decision.verdict) == ("refused", "refused")
    assert decided(pairs(20, 5, 100, 175, sft_repetitive=True), max_repetitive_share=1.0).verdict == "pass"


def test_one_text_for_most_items_is_refused_unless_one_answer_is_expected_as_often(pairs, decided, reason):
    decision = decided(pairs(20, 5, 100, 175, sft_text="The total is 18."))
    assert (reason(decision, "one answer").outcome, decision.verdict) == ("refused", "refused")
    assert "“The total is 18.”, to 300 of 300 items" in reason(decision, "one answer").detail
    assert decided(pairs(20, 5, 100, 175, sft_text="yes", expected="yes")).verdict == "pass"


def questions(yes, wrong_yes=0, wrong_no=0, n=300, said="{}"):
    """Questions of yes and no to which the base says something else, by how many expect yes and how many get a wrong one."""
    made = []
    for k in range(n):
        expected = "yes" if k < yes else "no"
        wrong = k < wrong_no or yes <= k < yes + wrong_yes
        text = {"yes": "no", "no": "yes"}[expected] if wrong else expected
        known = {"verified": True, "length_free": True, "base_has_answer": False, "sft_has_answer": not wrong}
        made.append(Pair(str(k), "t", False, not wrong, 20, 20, expected=expected, sft_text=said.format(text), **known))
    return made


@pytest.mark.parametrize(
    "table",
    [
        {"yes": 156, "wrong_yes": 144},
        {"yes": 156, "wrong_no": 156},
        {"yes": 200, "wrong_yes": 100},
        {"yes": 156, "wrong_yes": 144, "said": "It is “{}”."},
    ],
)
def test_one_text_for_all_items_is_refused_though_half_of_them_expect_it(decided, reason, table):
    decision = decided(questions(**table))
    assert decision.overall.p_exact < 0.01 and decision.overall.lift > 0
    assert (reason(decision, "one answer").outcome, decision.verdict) == ("refused", "refused")


@pytest.mark.parametrize(
    "table",
    [
        {"yes": 156},
        {"yes": 156, "wrong_yes": 15, "wrong_no": 5, "said": "It is “{}”."},
        {"yes": 156, "wrong_yes": 60},  # leans to yes, and yet tells them apart
        {"yes": 294, "wrong_yes": 6},
    ],
)
def test_a_text_that_most_items_expect_may_be_given_as_often(decided, reason, table):
    decision = decided(questions(**table))
    assert (reason(decision, "one answer"), decision.verdict) == (None, "pass")


def test_one_text_beside_a_lift_that_stands_without_it_is_told(pairs, decided, reason):
    table = pairs(sft_text="pass", neither=160) + pairs(10, 0, 60, 70, type="u")
    decision = decided([replace(p, sft_text=p.sft_text or p.id) for p in table])
    assert (reason(decision, "one answer").outcome, decision.verdict) == ("info", "pass")
    assert "without these 160 the lift is +42.9 points" in reason(decision, "one answer").detail


def test_one_text_of_the_base_for_most_items_is_pointed_out(pairs, decided, reason):
    """It may be what a small base does, so that it decides nothing."""
    error = pairs(won=50, neither=130, type="e", base_text="Error code: 429", expected="18")
    decision = decided(error + pairs(40, 5, 60, 15, base_text="so", expected="18"))
    found = reason(decision, "one answer of the base")
    assert (found.outcome, decision.verdict) == ("info", "pass")
    assert "“Error code: 429”, to 180 of 300 items" in found.detail and "60.0 % of its answers" in found.detail
    asked = decided(pairs(150, 5, 60, 85, base_text="yes", expected="yes"))
    assert reason(asked, "one answer of the base") is None
    silent = [replace(p, base_length=0, base_text="") for p in pairs(won=100, neither=100)]
    assert reason(decided(silent), "one answer of the base") is None

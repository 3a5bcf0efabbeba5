"""Degenerate repetition, in scripts with and without spaces."""

import json

import pytest

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

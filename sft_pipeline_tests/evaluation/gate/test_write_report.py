"""Figures of a published think/answer series, from constructed answers with its counts."""

from collections import Counter

import pytest

from sft_pipeline.evaluation.gate.pairs import Answer
from sft_pipeline.evaluation.gate.write_report import answer_statistics
from sft_pipeline.evaluation.scoring.score import score_items
from sft_pipeline.experiment import Evaluation, ScorerSpec

# The final checkpoint of known_answers.md's checkpoint series: 5,000 items, 390 correct, 998 wrong, and 3,612 format
# failures of which 77.0 % lack </think>, 61.8 % <answer>, 87.0 % </answer>, and 4.2 % have the wrong order.
OUTPUTS = {
    "2 + 5 </think> <answer>7</answer>": 390,
    "2 + 6 </think> <answer>8</answer>": 998,
    "and so on, and so on": 2232,
    "hm <answer> 7": 231,
    "hm <answer>7</answer>": 318,
    "hm </think> <answer> 7": 679,
    "<answer>7</answer> hm </think>": 152,
}


def test_the_published_shares_of_the_categories_reproduce(tmp_path):
    outputs = {f"{k}": text for k, text in enumerate(t for text, n in OUTPUTS.items() for t in [text] * n)}
    rows = [{"id": id, "instruction": "2 + 5?", "response": "7", "type": "t", "reference": None} for id in outputs]
    options = {"inner": "numeric", "prompt_opens_think": True}
    evaluation = Evaluation(scorers={"t": ScorerSpec(kind="think_answer", options=options)})
    judged = score_items(rows, outputs, evaluation, tmp_path)
    # 145.0 tokens in correct answers and 285.4 in the others, and its rounded overall mean
    tokens = [145 if j.success else 285 if int(j.id) % 5 < 3 else 286 for j in judged]
    answers = [
        Answer.of(j, outputs[j.id], n, False, -1.0 if j.success else -2.0) for j, n in zip(judged, tokens, strict=True)
    ]
    shown = answer_statistics(answers)
    labels = Counter(label for a in answers for label in a.labels)

    assert (shown.n, shown.correct, shown.incorrect, shown.formatted) == (5000, 390, 4610, 5000)
    assert shown.correct / shown.n == 0.078
    assert (shown.format_accuracy, shown.wrong_answer_rate, shown.format_failure_rate) == (0.2776, 0.1996, 0.7224)
    failures = labels["format_failure"]
    assert failures == 3612
    assert {name: round(100 * labels[name] / failures, 1) for name in labels if name != "correct"} == {
        "wrong_answer": pytest.approx(27.6),
        "format_failure": 100.0,
        "missing_think_end": 77.0,
        "missing_answer": 61.8,
        "missing_answer_end": 87.0,
        "wrong_order": 4.2,
        "incomplete": 87.0,
    }
    assert (shown.tokens_correct, round(shown.tokens_incorrect, 1), round(shown.tokens, 1)) == (145.0, 285.4, 274.4)
    assert (shown.logprob_correct, shown.logprob_incorrect) == (-1.0, -2.0)
    assert shown.logprob == pytest.approx(-1.922)


def test_without_answers_or_a_format_there_are_no_means():
    empty = answer_statistics([])
    assert (empty.n, empty.tokens, empty.format_accuracy, empty.logprob) == (0, None, None, None)
    one = answer_statistics([Answer("three words here", None, "tie", ("tie",), tokens=3)])
    assert (one.correct, one.incorrect, one.tokens, one.tokens_correct, one.logprob) == (0, 0, 3.0, None, None)
    assert one.format_accuracy is None

"""Which items ask the same question, and are therefore one observation."""

import json
import random
from collections import Counter

import pytest

from sft_pipeline.evaluation.inputs.repeated_questions import Question, clusters_of

SHORT = ("What is the capital of Norway?", "Who wrote The Trial, and when?", "How many legs has a spider in all?")
NAMES = ("Anna", "Boris", "Chen", "Dora", "Emil", "Farah", "Goran", "Hanna", "Ivan", "Jaya")
WORDS = tuple(
    a + b for a in ("ba", "ko", "mi", "tu", "re", "so", "la", "ne") for b in ("lan", "dor", "vex", "pim", "gus", "ret")
)


def found(questions, groups=None):
    """The members of each cluster of more than one item, as sets of ids; each cluster has a name of its own."""
    given = {str(k): q if isinstance(q, Question) else Question(q) for k, q in enumerate(questions)}
    clusters = clusters_of(given, dict.fromkeys(given) | (groups or {}))
    named = {}
    for id, cluster in clusters.items():
        named.setdefault(cluster, set()).add(int(id))
    return sorted((ids for name, ids in named.items() if name is not None), key=min)


def others(count, length=30, seed=0):
    """Long questions that have little in common."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=length)) + "?" for _ in range(count)]


@pytest.mark.parametrize(
    "again",
    [
        "17. What is the capital of Norway?",
        "Question 3) What is the capital of Norway?",
        "WHAT IS THE CAPITAL OF NORWAY",
        "What is the capital of Norway? (#12)",
        "What is the c\u0430pital of N\u043erway?",  # Cyrillic letters
        "What is the capi\u00adtal of Nor\u200bway?",
        "Ｗhat is the capital of Norway?",
    ],
)
def test_one_question_in_other_clothes_is_one_observation(again):
    assert found([*SHORT, again]) == [{0, 3}]


def test_a_group_that_is_declared_stays_and_an_item_without_text_stands_alone():
    assert found([SHORT[0], SHORT[0], "", ""], {"0": "a", "1": "b"}) == [{0}, {1}]


def test_short_questions_that_differ_in_a_number_are_different_ones():
    assert found([f"What is {n} times {n + 4}, please?" for n in range(20)]) == []


@pytest.mark.parametrize("variants", [3, 12])
def test_variants_of_a_template_with_other_names_and_numbers_are_one_cluster_each(variants):
    rng = random.Random(5)
    texts = others(4)
    asked = [
        f"{rng.choice(NAMES)} has {rng.randint(2, 90)} {text[:-1]} and gives {rng.randint(2, 90)} of them to "
        f"{rng.choice(NAMES)}; how many remain?"
        for text in texts
        for _ in range(variants)
    ]
    assert found([*asked, *others(10, seed=1)]) == [
        set(range(k, k + variants)) for k in range(0, 4 * variants, variants)
    ]


INSTRUCTION = (
    "Read the passage below with care, then decide whether its author agrees with the plan that the council has made, and "
    "answer with one word, which is yes or no and nothing else:"
)


def test_one_instruction_before_different_passages_is_not_one_question():
    passages = others(8, 14, seed=3)
    asked = [f"{INSTRUCTION} {passage}" for passage in passages]
    rest = others(30, seed=4)
    assert found([*asked, *rest]) == []
    assert found([*asked, *rest, f"7. {asked[2].upper()}"]) == [{2, 38}]


def test_without_numbers_the_expected_answer_must_be_the_same_one_too():
    text = others(1, 40)[0]
    asked = [Question(f"{text} {name}", "yes" if k < 4 else "no") for k, name in enumerate(NAMES[:8])]
    assert found([*asked, *others(20, seed=7)]) == [{0, 1, 2, 3}, {4, 5, 6, 7}]


def test_what_most_items_share_is_the_format_of_the_task():
    text = others(1, 40)[0]
    asked = [f"{text} {name}" for name in NAMES]
    assert found(asked) == []
    assert found([*asked, *others(30, seed=7)]) == [set(range(10))]


def test_real_questions_of_one_kind_are_no_copies_of_each_other(real_data):
    lines = (real_data / "gsm8k" / "test.jsonl").read_text("utf-8").splitlines()[:600]
    rows = [json.loads(line) for line in lines]
    asked = [Question(row["question"], row["answer"].rpartition("#### ")[2]) for row in rows]
    single = found(asked)
    assert sum(map(len, single)) <= 4
    again = [q._replace(text=f"{k}. {q.text.upper()}") for k, q in enumerate(asked[:50])]
    assert Counter(map(len, found([*asked, *again])))[2] >= 49

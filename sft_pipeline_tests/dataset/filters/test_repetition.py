"""Responses that repeat themselves or the instruction: what is kept and what is dropped."""

import json

import pytest

from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.filters.repetition import repeats_instruction, repetition
from sft_pipeline.experiment import Quality

QUALITY = Quality()
NOTHING = Continuations()


def row(response: str, instruction: str = "Say something.") -> dict[str, str]:
    return {"instruction": instruction, "response": response, "type": "all"}


@pytest.mark.parametrize(
    "text",
    [
        "6 x 1 = 6\n6 x 2 = 12\n6 x 3 = 18\n6 x 4 = 24\n6 x 5 = 30",
        "[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]",
        "hat, hat, hat.",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream.",
        "|  |  |  |  |  | \n|  |  |  |  |  | \n|  |  |  |  |  |",
        "春天来了，花开了，鸟儿在树上唱歌，孩子们在公园里放风筝。",
        "",
    ],
)
def test_tables_verses_and_short_texts_are_kept(text):
    assert repetition(row(text), QUALITY, NOTHING) is None


@pytest.mark.parametrize(
    "text",
    [
        "the cat sat on the mat and " * 8,
        "Paris Paris Paris Paris Paris Paris",
        "16 16 16 16 16 16 16",
        "我不知道" * 20,
        "好 " * 30,
    ],
)
def test_the_same_over_and_over_is_dropped_with_its_most_frequent_words(text):
    hit = repetition(row(text), QUALITY, NOTHING)
    assert hit and ("-grams are repetitions" in hit.reason or "repeat one another" in hit.reason)
    assert hit.matched.replace(" ", "") in text.lower().replace(" ", "")


def test_the_limit_is_that_of_the_specification_and_belongs_to_the_kept():
    text = "one two three four five one two three four six"  # 7 4-grams, 6 different
    assert repetition(row(text), Quality(max_repeated_share=0.14), NOTHING)
    assert repetition(row(text), Quality(max_repeated_share=1 / 7), NOTHING) is None
    assert repetition(row("the cat sat " * 20), Quality(max_repeated_share=0.95), NOTHING) is None


def test_a_response_with_the_words_of_its_instruction_is_dropped():
    echo = row("create a looping GIF of a cat", "Create a looping GIF of a cat.")
    assert repeats_instruction(echo, QUALITY, NOTHING)
    assert repeats_instruction(row("ÉCRIS UN MOT", "Écris un mot !"), QUALITY, NOTHING)
    assert repeats_instruction(echo, Quality(repeats_instruction=False), NOTHING) is None


@pytest.mark.parametrize(
    "given", [row("hat hat", "Write hat twice."), row("!", "?"), row("Say something nice."), row("", "")]
)
def test_a_response_with_other_words_or_none_is_kept(given):
    assert repeats_instruction(given, QUALITY, NOTHING) is None


def share_of_repeated_4grams(text: str) -> float:
    """As the README of the real inputs counts: words between white space, in lower case."""
    tokens = text.lower().split()
    grams = [" ".join(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@pytest.mark.real_data
def test_degenerate_answers_of_a_base_model_are_found_and_those_of_its_tuned_self_are_not(real_data):
    """README of the real inputs: repeated 4-grams make up over half of 244 of 252 base and 13 of 252 tuned outputs.

    Four of those outputs, a table, a series of numbers and two lists of formulas, repeat by nature. One more output of the
    tuned model is a link that ends in 900 times the letter Q: a single word, of which no 4-gram tells.
    """
    published, found, single_words = {}, {}, {}
    for name in ("davinci", "davinci-self-instruct"):
        path = real_data / "self-instruct" / "predictions" / f"{name}_predictions.jsonl"
        outputs = [json.loads(line)["response"] for line in path.read_text(encoding="utf-8").splitlines()]
        texts = [output["choices"][0]["text"] if isinstance(output, dict) else output for output in outputs]
        over = {i for i, text in enumerate(texts) if share_of_repeated_4grams(text) > 0.5}
        hits = {i for i, text in enumerate(texts) if repetition(row(text), QUALITY, NOTHING)}
        published[name], found[name], single_words[name] = len(over), len(hits & over), hits - over
    assert published == {"davinci": 244, "davinci-self-instruct": 13}
    assert found == {"davinci": 241, "davinci-self-instruct": 12}
    assert single_words == {"davinci": set(), "davinci-self-instruct": {44}}

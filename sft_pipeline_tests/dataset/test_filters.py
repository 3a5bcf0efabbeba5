"""Each filter with texts that it must keep and texts that it must drop; most of them are real."""

import json
import time

import pytest

from sft_pipeline.dataset import filters
from sft_pipeline.experiment import Quality

QUALITY = Quality()
NOTHING = filters.Continuations([])


def row(response: str, instruction: str = "Say something.", type: str = "all") -> dict[str, str]:
    return {"instruction": instruction, "response": response, "type": type}


KEPT = {
    "empty": [row("."), row("?", "Which mark ends a question?"), row("0")],
    "placeholder": [
        row("None of them is a mammal."),
        row("None.", "Is the correlation positive, negative, or none?"),
        row("[null, 1]"),
        row("There is no input, so I cannot say."),
    ],
    "delimiter": [row("Use <b>bold</b> and a[0]."), row("The ### heading")],
    "runaway": [
        row("User: Hi\nBot: Hello.\nUser: Bye."),
        row("Q: What is a cow?\nA: An animal.\n\nQ: And grass?\nA: A plant."),
        row("1. Q: Why?\nA: So.\n2. Q: How?\nA: Thus."),
        row("Topic: Travel\nQuestion: Where would you like to go?"),
        row("A long answer. " * 400),
        row("1. Read the question.\n2. Answer it."),
    ],
    "repetition": [
        row("6 x 1 = 6\n6 x 2 = 12\n6 x 3 = 18\n6 x 4 = 24\n6 x 5 = 30"),
        row("[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]"),
        row("hat, hat, hat."),
        row(
            "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream."
        ),
    ],
    "repeats_instruction": [row("hat hat", "Write hat twice."), row("!", "?")],
    "truncated": [
        row("Albert Einstein"),
        row("The Benefits of a Vegan Diet"),
        row("1. Listen to others\n2. Offer to help\n3. Find someone you can talk with"),
        row("Golden sun shines bright\nSeagulls soaring in the sky\nPeaceful waves rolling in"),
        row("What a week it was for all of us! We are so proud of this team. #GoGreen #Teamwork"),
        row('"Success is not final: it is the courage to continue that counts." - Winston Churchill'),
        row("an, apple, breakfast, ate, for, man, the, an, apple, for"),
        row("def swap(a, b):\n    return b, a"),
        row("Dear Mr. Lee,\n\nI am sorry for the delay. It will not happen again.\n\nSincerely,\nAnn"),
        row('{"name": "Ann", "note": "a } in text"}'),
        row("[Verse 1]\nStars shining in the night"),
        row("1. Who wrote it?\nA. John Adams\nB. Ben Franklin"),
        row("#### 72"),
        row("In addition to"),
    ],
    "scope": [row("How to bake bread.")],
}

DROPPED = {
    "empty": [row(""), row(" \n\t"), row("Hi.", "  ")],
    "placeholder": [
        row("<noinput>"),
        row("NoInput"),
        row("N/A"),
        row("[None]"),
        row("No Output"),
        row("<NOOUTPUT> - Visuals cannot be created by a language model."),
        row('<noinput>\n"A Leap of Faith"'),
        row("<No output. The task requires a poster, not text.>"),
    ],
    "delimiter": [row("Paris.###END###"), row("Hi<|im_end|>"), row("Hi", "[INST] Greet [/INST]")],
    "runaway": [
        row("Paris.\nInstruction: Name the capital of Peru.\nResponse: Lima."),
        row(
            "She watered the flowers.\n\n\n6. Instruction: Generate an ending to a new love story.\n6. Input:\n<noinput>"
        ),
        row("4\nQuestion: What is 3 + 3?"),
        row("Answer: 4\nQuestion: What is 3 + 3?"),
        row("Sure.\n\nUser: thanks\nAssistant: welcome"),
    ],
    "repetition": [
        row("the cat sat on the mat and " * 8),
        row("Paris Paris Paris Paris Paris Paris"),
        row("16 16 16 16 16 16 16"),
    ],
    "repeats_instruction": [row("create a looping GIF of a cat", "Create a looping GIF of a cat.")],
    "truncated": [
        row("The numerical value of the equation is"),
        row("The game is played with a set of 20 tiles numbered from 1 to"),
        row("Francisco Sagasti is the president of Peru. He was sworn in as president on November 17, 20"),
        row(
            "Both are members of the union. They have worked together in many organizations such as the UN, NATO, and the G"
        ),
        row("Take your turn.\n5. If the player reaches a total of 20 points in the round, their score for the turn is"),
        row("A good subject line is short and clear to the reader.\n14."),
        row("- tea\n- hat\n-"),
        row('{"name": "Ann", "job": "ba'),
        row('[{"name": "Ann"}, {"name"'),
        row("I cannot help with that, because it would hurt somebody and the"),
    ],
    "scope": [row("How to bake bread. Mail ann@example.com")],
}


def apply(name: str, given: dict[str, str]) -> filters.Hit | None:
    quality = Quality(scope={"mail address": r"\w+@\w+"})
    return getattr(filters, name)(given, quality, NOTHING)


def test_every_filter_has_examples():
    assert {f.__name__ for f in filters.FILTERS} == set(KEPT) == set(DROPPED)


@pytest.mark.parametrize(("name", "given"), [(name, given) for name, all in KEPT.items() for given in all])
def test_kept(name, given):
    assert apply(name, given) is None


@pytest.mark.parametrize(("name", "given"), [(name, given) for name, all in DROPPED.items() for given in all])
def test_dropped_with_reason_and_matched_text(name, given):
    hit = apply(name, given)
    assert hit and hit.reason
    assert hit.matched in given["instruction"] + given["response"] or name == "repetition"


def test_the_specification_turns_filters_off_and_moves_their_limits():
    echo, cut = DROPPED["repeats_instruction"][0], DROPPED["truncated"][0]
    assert filters.repeats_instruction(echo, Quality(repeats_instruction=False), NOTHING) is None
    assert filters.truncated(cut, Quality(truncation=False), NOTHING) is None
    assert filters.repetition(DROPPED["repetition"][0], Quality(max_repeated_share=0.95), NOTHING) is None
    assert filters.runaway(DROPPED["runaway"][0], Quality(runaway_markers=()), NOTHING) is None
    assert filters.placeholder(row("N/A"), Quality(placeholders=()), NOTHING) is None


def test_a_response_that_stops_where_its_type_goes_on_is_truncated():
    refusals = [row("I cannot help with that, because it would hurt somebody.", type="refuse")] * 20
    names = [row("Albert Einstein developed a theory", type="name")] * 20
    continuations = filters.Continuations([*refusals, *names])
    assert filters.truncated(row("I cannot help with that", type="refuse"), QUALITY, continuations)
    assert filters.truncated(row("I cannot help with that", type="other"), QUALITY, continuations) is None
    # In a type whose answers need no full stop, a short answer is whole.
    assert filters.truncated(row("Albert Einstein", type="name"), QUALITY, continuations) is None


@pytest.mark.parametrize(
    "hostile",
    ["\n" * 10**6, "!" * 10**6 + "a", " " * 10**6 + "a", "1" * 10**6, "{" * 10**6, "<script>" * 10**5, "- " * 10**6],
)
def test_a_megabyte_of_anything_takes_no_quadratic_time(hostile):
    begin = time.perf_counter()
    given = row("A\n" + hostile + "\nb", "<b onload=alert(1)>=1+1" + hostile)
    for quality_filter in filters.FILTERS:
        quality_filter(given, QUALITY, NOTHING)
    assert time.perf_counter() - begin < 5


@pytest.mark.real_data
def test_degenerate_answers_of_a_base_model_are_found_and_those_of_its_tuned_self_are_not(real_data):
    """README of the real inputs: repeated 4-grams make up over half of 244 of 252 base and 13 of 252 tuned outputs."""
    folder = real_data / "self-instruct" / "predictions"
    found = {}
    for name in ("davinci", "davinci-self-instruct"):
        lines = (folder / f"{name}_predictions.jsonl").read_text(encoding="utf-8").splitlines()
        outputs = [json.loads(line)["response"] for line in lines]
        texts = [o["choices"][0]["text"] if isinstance(o, dict) else o for o in outputs]
        found[name] = sum(filters.repetition(row(text), QUALITY, NOTHING) is not None for text in texts)
    assert found["davinci"] >= 235
    assert found["davinci-self-instruct"] <= 15

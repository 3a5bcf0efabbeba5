"""Responses that stop before their end, and what looks like them: most of the texts are real."""

import json
import random
import re

import pytest

from sft_pipeline.dataset.filters.continuations import Continuations, closed
from sft_pipeline.dataset.filters.truncation import truncated
from sft_pipeline.experiment import Quality

QUALITY = Quality()
NOTHING = Continuations()


def row(response: str, type: str = "all", instruction: str = "Say something.") -> dict[str, str]:
    return {"instruction": instruction, "response": response, "type": type}


def observed(*batches: list[dict[str, str]]) -> Continuations:
    continuations = Continuations()
    for batch in batches:
        continuations.observe(batch)
    return continuations


WHOLE = [
    "Albert Einstein",
    "The Benefits of a Vegan Diet",
    "1. Listen to others\n2. Offer to help\n3. Find someone you can talk with",
    "Golden sun shines bright\nSeagulls soaring in the sky\nPeaceful waves rolling in",
    "What a week it was for all of us! We are so proud of this team. #GoGreen #Teamwork",
    '"Success is not final: it is the courage to continue that counts." - Winston Churchill',
    "an, apple, breakfast, ate, for, man, the, an, apple, for",
    "def swap(a, b):\n    return b, a",
    "Dear Mr. Lee,\n\nI am sorry for the delay. It will not happen again.\n\nSincerely,\nAnn",
    '{"name": "Ann", "note": "a } in \\" text"}',
    "[Verse 1]\nStars shining in the night",
    "1. Who wrote it?\nA. John Adams\nB. Ben Franklin",
    "#### 72",
    "In addition to",
    "The chance of a six in one throw is 1 in 20",
    "The party is on July 20",
    "The sum of the numbers from 1 to 20",
    "I had such a lovely day with you all. Thank you so much for it 🎉",
    "שלום לכולם. אני שמח מאוד להיות כאן היום איתכם",
    "مرحبا بكم في مدينتنا الجميلة. نتمنى لكم إقامة سعيدة",
    "今天天气很好。我们去公园散步吧。",
    "今日はとても良い天気です。散歩に行きましょう",
    "He changed its course forever.\u200b",
    "He changed its course forever.\u200f\ufeff",
    "¿Cómo estás? Estoy muy bien hoy.",
    "Paris (the capital of France)",
    "It is *really* good. Believe *me*",
    # People leave the last full stop out.
    "1. Get organized.\n2. Take regular breaks.\n3. Eliminate distractions.\n4. Manage your energy levels by eating",
    "It does more harm than good. In this case it made more sense to reduce the use of acronyms",
    "She was a good friend to all of us. I often ask myself what she would say and who she was",
    "You can bring whatever you like to the party. We only need someone whom the children can talk to",
    "The old one supports the network. The new one does not",
]


@pytest.mark.parametrize("text", WHOLE)
def test_a_whole_response_is_kept_however_it_ends(text):
    assert truncated(row(text), QUALITY, NOTHING) is None


CUT = [
    "The numerical value of the equation is",
    "The game is played with a set of 20 tiles numbered from 1 to",
    "Francisco Sagasti is the president of Peru. He was sworn in as president on November 17, 20",
    "Amazon's market value rose from $2.5 billion in 1997 to $1.6 trillion in 20",
    "The population of Tokyo is estimated to be 13.9 million as of April 20",
    "The chart shows the revenue growth of three companies from 2019 to 20",
    "Both are members of the union. They have worked together in many organizations such as the UN, NATO, and the G",
    "Take your turn.\n5. If the player reaches a total of 20 points in the round, their score for the turn is",
    "A good subject line is short and clear to the reader.\n14.",
    "- tea\n- hat\n-",
    "• tea\n• hat\n•",
    "* tea\n* hat\n*",
    "لقد ذهبنا إلى الحديقة في الصباح الباكر،",
    '{"name": "Ann", "job": "ba',
    '[{"name": "Ann"}, {"name"',
    "I cannot help with that, because it would hurt somebody and the",
    "I think you should talk to him.\nI do think you should talk.\nI think so.\nI think you should talk to",
    "The numerical value of the equation is\u200b \u200b",
    "我们今天去公园散步，然后去看电影，",
    "It emphasizes the value of family, friendship and embracing the magic of the season. It's",
]


@pytest.mark.parametrize("text", CUT)
def test_a_cut_response_is_dropped_with_its_end(text):
    hit = truncated(row(text), QUALITY, NOTHING)
    assert hit and hit.matched and hit.matched in text
    assert truncated(row(text), Quality(truncation=False), NOTHING) is None


def test_a_numbered_list_that_stops_before_the_number_that_was_asked_for_is_cut():
    items = "\n".join(f"{i}. Name a planet." for i in range(1, 20))
    assert truncated(row(items, instruction="Generate a list of 20 questions."), QUALITY, NOTHING)
    assert truncated(row(items, instruction="Generate a list of 19 questions."), QUALITY, NOTHING) is None
    assert truncated(row(items, instruction="Write a story of 20 lines."), QUALITY, NOTHING) is None
    assert truncated(row("1. Boil it.\n2. Eat it.", instruction="Name 10 foods."), QUALITY, NOTHING) is None


REFUSALS = [row(f"I cannot help with that, because it would hurt {name}.", "refuse") for name in "ABCDEFGHIJKLMNOPQRST"]
NAMES = [row(f"Albert Einstein {name} developed a theory", "name") for name in "ABCDEFGHIJKLMNOPQRST"]


def test_a_response_that_stops_where_its_type_goes_on_is_truncated():
    continuations = observed(REFUSALS, NAMES)
    hit = truncated(row("I cannot help with that", "refuse"), QUALITY, continuations)
    assert hit and "i cannot help with that because it would hurt a" in hit.reason
    assert truncated(row("I cannot help with that", "other"), QUALITY, continuations) is None
    # In a type whose answers need no full stop, a short answer is whole.
    assert truncated(row("Albert Einstein", "name"), QUALITY, continuations) is None
    # Nine rows are too few.
    assert observed(REFUSALS[:9]).go_on("refuse", "I cannot help with that") is None
    assert observed(REFUSALS[:10]).go_on("refuse", "I cannot help with that") is not None


def test_what_was_learned_does_not_depend_on_batches_or_order():
    rows = REFUSALS + [row(f"Sentence {i}, which is long.", "refuse") for i in range(300)]
    shuffled = random.Random(0).sample(rows, len(rows))
    one, many = observed(rows), observed(*([given] for given in shuffled))
    for text in ("I cannot help", "Sentence", "Sentence 1", "I", "nothing of the kind"):
        assert one.go_on("refuse", text) == many.go_on("refuse", text)


def test_more_rows_can_be_observed_after_a_question():
    continuations = observed(REFUSALS[:5])
    assert continuations.go_on("refuse", "I cannot help with that") is None
    continuations.observe(REFUSALS[5:])
    assert continuations.go_on("refuse", "I cannot help with that")


def test_memory_is_bounded_whatever_the_number_and_length_of_rows(monkeypatch):
    monkeypatch.setattr(Continuations, "SAMPLE", 200)
    rows = [row(f"The {i * 7919 % 5000} is a number, and this is said of it. " + "More. " * 500) for i in range(5000)]
    continuations = observed(rows)
    kept = [text for sample in continuations._samples.values() for _, text in sample]
    assert len(kept) == 200 and max(map(len, kept)) <= Continuations.CHARACTERS
    # A sample of a twenty-fifth still knows what nearly all rows do.
    assert continuations.go_on("all", "The") is not None


@pytest.mark.parametrize("text", ["A.", "A!", "A。", "A？", "„A.“", "(A.)", "A.\u200b", "**A.**", "هل؟", "क।"])
def test_whole_sentences_are_known_by_their_marks_in_several_scripts(text):
    assert closed(text.replace("“", "”"))


def test_a_name_or_an_open_end_is_no_whole_sentence():
    assert not any(map(closed, ("A", "A,", "", "今天", "\u200b", "A:", "A -")))


def test_a_missing_full_stop_counts_where_a_limit_cut_the_longest_and_nowhere_else():
    sentence = "The weather was fine on that day and everybody went to the beach again."
    whole = [row(" ".join([sentence] * (n % 9 + 2))) for n in range(300)]
    long = [" ".join([sentence] * 12)[:850] + f" {'abcdefghijkl'[n]} last" for n in range(12)]
    cut = [row(text) for text in long]
    limited = observed(whole, cut)
    assert all(truncated(given, QUALITY, limited) for given in cut)
    assert not any(truncated(given, QUALITY, limited) for given in whole)
    # The same texts among short ones that end without a full stop as well: people do that.
    people = [row(given["response"][:-1]) for given in whole[:100]]
    assert not any(truncated(given, QUALITY, observed(whole, people, cut)) for given in cut)
    # Two are no limit.
    assert truncated(cut[0], QUALITY, observed(whole, cut[:2])) is None


@pytest.fixture(scope="module")
def prose(real_data) -> list[str]:
    rows = json.loads((real_data / "alpaca-52k" / "alpaca_data.json").read_text(encoding="utf-8"))
    return [r["output"].rstrip() for r in rows if len(r["output"].split()) >= 20 and r["output"].rstrip()[-1] == "."]


@pytest.mark.real_data
@pytest.mark.slow
def test_of_whole_answers_without_their_full_stop_hardly_any_is_taken_for_cut(prose):
    """2 of 5,000, far below the rate at which answers are cut in earnest (57 of Alpaca's 52,002)."""
    rows = [row(text[:-1]) for text in random.Random(5).sample(prose, 5000)]
    continuations = observed(rows)
    assert sum(truncated(given, QUALITY, continuations) is not None for given in rows) <= 5


@pytest.mark.real_data
@pytest.mark.slow
def test_the_recall_on_answers_that_were_cut(prose):
    """At a random word, a quarter is found: most look like an answer without a full stop. By a limit, six in ten.

    Precision: see `test_alpaca_sample.py`.
    """
    rng = random.Random(5)
    cut = []
    for text in rng.sample(prose, 2000):
        ends = [word.end() for word in re.finditer(r"\S+", text)]
        cut.append(text[: rng.choice(ends[len(ends) // 2 : -1])])
    inside = [row(text) for text in cut if not closed(text)]
    assert len(inside) > 1500
    assert sum(truncated(given, QUALITY, NOTHING) is not None for given in inside) >= 0.25 * len(inside)
    limited = [row(text[:800]) for text in prose]
    continuations = observed(limited)
    cut = [given for given, text in zip(limited, prose) if len(text) > 800 and not closed(given["response"])]
    assert len(cut) > 1000
    assert sum(truncated(given, QUALITY, continuations) is not None for given in cut) >= 0.6 * len(cut)

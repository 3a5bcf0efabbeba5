"""Characters that were lost or decoded wrongly, and links in the place of a text."""

import pytest

from sft_pipeline.dataset.filters.broken import broken_characters, link_input
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.filters.repetition import repetition
from sft_pipeline.experiment import Quality

QUALITY, NOTHING = Quality(), Continuations()


def row(response: str, instruction: str = "Say something.") -> dict[str, str]:
    return {"instruction": instruction, "response": response, "type": "all"}


@pytest.mark.parametrize("text", ["caf\ufffd au lait", "I donâ€™t know", "Das ist schÃ¶n", "Ð\x9fÑ\x80Ð¸Ð²ÐµÑ\x82"])
def test_lost_and_wrongly_decoded_characters_are_found(text):
    assert broken_characters(row(text), QUALITY, NOTHING)
    assert broken_characters(row("Yes.", text), QUALITY, NOTHING)
    assert broken_characters(row(text, "Why is the encoding of this text wrong?"), QUALITY, NOTHING) is None


@pytest.mark.parametrize(
    "text",
    [
        "“CAFÉ” naïve façade œuvre",
        "TÜV ÄÖÜ ß",
        "½ cup – 200 °F",
        "Привет, мир",
        "שלום",
        "今日は",
        "L’État 🙂",
        "São João",
    ],
)
def test_text_of_any_script_is_whole(text):
    assert broken_characters(row(text, text), QUALITY, NOTHING) is None


def test_an_input_that_is_only_a_link_is_found_and_questions_about_the_link_stay():
    link = "https://www.example.com/a/b?c=d"
    assert link_input(row("It is about birds.", f"Summarize this article.\n{link}"), Quality(link_input=True), NOTHING)
    assert link_input(row("It is about birds.", f"Summarize this article.\n{link}"), QUALITY, NOTHING) is None
    for instruction in (f"Find the domain of this URL.\n{link}", link, f"Summarize it.\nSee {link} for more."):
        assert link_input(row("x", instruction), Quality(link_input=True), NOTHING) is None


ZALGO = "".join(letter + "\u0335\u0322\u031b\u0360\u0301" for letter in "hello")


@pytest.mark.parametrize("text", ["a" * 40, "ha" * 20, "Look: " + "hahaha" * 10, ZALGO, "लोल" * 12])
def test_repeated_characters_are_repetition(text):
    assert repetition(row(text), QUALITY, NOTHING)


@pytest.mark.parametrize(
    "text", ["hahaha", "Nooooooooooo! We lost the match again.", "1" + "0" * 100, "-" * 80, "é" * 4]
)
def test_a_laugh_a_number_and_a_line_are_none(text):
    assert repetition(row(text), QUALITY, NOTHING) is None

"""What many rows share is left out of the comparison, and only that."""

import random

import pytest

from sft_pipeline.dataset.duplicates.shared_text import MANY, SharedText

PREAMBLE = "You are a helpful assistant.\n\nAlways answer as truthfully as you can."


@pytest.mark.parametrize("count", [MANY - 1, MANY])
def test_leading_lines_are_shared_from_five_different_texts_on(count):
    texts = [f"{PREAMBLE}\nquestion {i}" for i in range(count)] * 3
    found = SharedText.of(texts).split(texts[0])
    if count < MANY:
        assert found is None
    else:
        assert (found.text, found.shared) == ("question 0", PREAMBLE)


def test_trailing_lines_are_shared_too_and_both_sides_come_off():
    passage = "The school opened in 1910.\nIt had nine pupils."
    texts = [f"{PREAMBLE}\nquestion {i}\n{passage}" for i in range(6)]
    found = SharedText.of(texts).split(texts[3])
    assert found.text == "question 3" and found.shared == f"{PREAMBLE}\n\n{passage}"
    assert SharedText.of(texts).split(f"another\n{passage}").text == "another"


def test_something_that_is_not_blank_always_stays():
    shared = SharedText.of([f"a\nb\n\n{i}" for i in range(6)] + [f"a\nb\n{i}" for i in range(6)])
    assert shared.split("a\nb\n\n").text.strip() == "b"
    assert shared.split("a") is None and shared.split("x\ny") is None


def test_the_number_of_a_shared_text_and_the_result_do_not_depend_on_the_order():
    texts = [f"{PREAMBLE}\nquestion {i}" for i in range(9)] + [f"other {i}\nlines" for i in range(9)]
    shuffled = random.Random(0).sample(texts, len(texts))
    one, other = SharedText.of(texts), SharedText()
    for text in shuffled:
        other.learn([text])
    assert [one.split(t) for t in texts] == [other.split(t) for t in texts]
    assert one.split(texts[0]).family == other.split(texts[1]).family != one.split(texts[-1]).family

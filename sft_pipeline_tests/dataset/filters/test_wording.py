"""All filters of the wording together: turned off, their scope, hostile texts and time."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.dataset.filters import Continuations
from sft_pipeline.dataset.filters.base import Hit
from sft_pipeline.dataset.filters.declared import scope
from sft_pipeline.dataset.filters.registry import WORDING
from sft_pipeline.embedded import planted_faults
from sft_pipeline.embedded.instructions import generate_with_faults
from sft_pipeline.experiment import EmbeddedData, Quality
from sft_pipeline_tests.time_limit import time_limit

QUALITY = Quality(scope={"mail address": r"ann@\w+"}, scope_types=("all",))
NOTHING = Continuations()


def row(response: str, instruction: str = "Say something.", type: str = "all") -> dict[str, str]:
    return {"instruction": instruction, "response": response, "type": type}


def test_the_filters_are_named_as_the_report_names_them():
    names = ["empty", "placeholder", "link_input", "broken_characters", "delimiter", "runaway"]
    names += ["repetition", "repeats_instruction", "truncated", "scope"]
    assert [judge.__name__ for judge in WORDING] == names


def test_a_declared_pattern_takes_a_row_out_of_scope_by_its_instruction_or_its_response():
    for given_row in (row("Mail ann@example.com"), row("Yes.", "Is ann@example.com a mail address?")):
        hit = scope(given_row, QUALITY, NOTHING)
        assert hit == Hit("out of scope: mail address", "ann@example")
    assert scope(row("How to bake bread."), QUALITY, NOTHING) is None
    assert scope(row("Mail ann@example.com"), Quality(), NOTHING) is None


def test_a_type_that_is_not_declared_is_out_of_scope():
    hit = scope(row("Hi.", type="poem"), Quality(scope_types=("all", "code")), NOTHING)
    assert hit == Hit("out of scope: the type is 'poem'", "poem")
    assert scope(row("Hi.", type="code"), Quality(scope_types=("all", "code")), NOTHING) is None
    assert scope(row("Hi.", type="poem"), Quality(scope_types=()), NOTHING) is None


@pytest.mark.parametrize("seed", [5, 11])
def test_the_planted_faults_of_the_embedded_data_are_found_by_their_filters_and_clean_rows_stay(seed):
    named = {"echo": "repeats_instruction"} | {name: name for name in planted_faults.RESPONSE_FAULTS if name != "echo"}
    rows, faults = generate_with_faults(EmbeddedData(kind="embedded", rows=1500, seed=seed))
    continuations = Continuations()
    continuations.observe(rows)
    found = Counter()
    for given_row, fault in zip(rows, faults, strict=True):
        name = next((judge.__name__ for judge in WORDING if judge(given_row, Quality(), continuations)), None)
        found[named.get(fault), name] += 1
    for name in named.values():
        assert found[name, name] >= 0.9 * sum(n for (planted, _), n in found.items() if planted == name) > 0
    assert {name for (planted, name) in found if planted is None} == {None}


LONG = 300_000
HOSTILE = {
    "newlines": "\n" * LONG,
    "marks": "!" * LONG + "a",
    "blanks": " " * LONG + "a",
    "blanks after a sentence": "It is so." + " " * LONG + "a",
    "digits": "1" * LONG,
    "numbers": "1. " * (LONG // 3),
    "brackets": "[" * LONG,
    "open JSON": '{"' * (LONG // 2),
    "backslashes": '["' + "\\" * LONG,
    "tags": "<script>" * (LONG // 8),
    "tokens": "<|" * (LONG // 2),
    "hyphens": "- " * (LONG // 2),
    "headings": "### " * (LONG // 4),
    "labels": "a b" * (LONG // 3),
    "lines with a colon": "a:\n" * (LONG // 3),
    "sentences": "It is so. " * (LONG // 10),
    "lines": "It is so.\n" * (LONG // 10) + "it was",
    "different words": " ".join(map(str, range(LONG // 7))),
    "invisible": "\u200b" * LONG + "a" + "\u200b" * LONG,
    "invisible and nothing else": "\u200d" * LONG,
    "emoji": "👩‍👩‍👧" * (LONG // 5),
    "characters without spaces": "你好" * (LONG // 2),
    "link": "![" + "a](" * (LONG // 3),
    "no output": "No output" + "," * LONG,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("judge", WORDING, ids=lambda judge: judge.__name__)
def test_a_long_text_of_anything_is_filtered_soon(judge, name):
    text = HOSTILE[name]
    with time_limit():
        judge(row(text, "Say it."), QUALITY, NOTHING)
        judge(row(f"A\n{text}\nb", f"<b onload=alert(1)>\n{text}"), QUALITY, NOTHING)


PIECES = [
    "the",
    "cat",
    "\nUser:",
    "Q:",
    "\n6. Instruction:",
    "</s>",
    "1.",
    "<noinput>",
    "\n[Image]",
    '{"',
    "in 20",
    ".",
]
TEXT = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="\u200b\u200d\ufeff \n\x00\ufe0f🙂שا。,.-[]<>{}\"'", max_size=40),
    st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join),
)


@settings(max_examples=300)
@given(instruction=TEXT, response=TEXT)
@pytest.mark.slow
def test_no_text_breaks_a_filter_and_every_reason_is_reported_with_a_text_of_the_row(instruction, response):
    continuations = Continuations()
    continuations.observe([row(response, instruction)] * 12)
    for judge in WORDING:
        hit = judge(row(response, instruction), QUALITY, continuations)
        if hit is None:
            continue
        assert isinstance(hit, Hit) and hit.reason
        assert judge.__name__ == "repetition" or hit.matched in f"{instruction}\n{response}"


@settings(max_examples=200)
@given(text=st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=30))
def test_one_visible_word_of_any_script_is_neither_empty_nor_cut(text):
    if not any(map(str.isalnum, text)):
        return
    empty, truncated = WORDING[0], WORDING[6]
    if any(character.isalpha() and character.isascii() for character in text):
        assert empty(row(text), QUALITY, NOTHING) is None
    elif text.isalpha():
        assert truncated(row(text), QUALITY, NOTHING) is None

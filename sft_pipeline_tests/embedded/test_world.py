"""The embedded world and its plain text."""

import json
import re
from collections import Counter

from sft_pipeline.embedded import corpus
from sft_pipeline.embedded import world as w


def test_a_seed_gives_one_world_and_other_seeds_give_others():
    w.world.cache_clear()
    first = w.world(7)
    w.world.cache_clear()
    assert w.world(7) == first
    assert w.world(8) != first


def test_names_are_unique_so_that_a_fact_has_one_subject():
    countries = w.world(7).countries
    names = [name for c in countries for name in (c.name, c.capital, c.language)]
    assert len(set(names)) == len(names) == 3 * w.COUNTRIES


def test_no_word_has_two_opposites_and_no_noun_two_kinds():
    words = [word for pair in w.OPPOSITES for word in pair]
    assert len(set(words)) == len(words)
    assert sum(len(members) for members in w.KINDS.values()) == len(w.NOUNS)


def test_plurals_of_all_nouns_follow_english():
    assert {noun: w.plural(noun) for noun in ("fig", "cherry", "daisy", "bench", "boy", "tomato", "dress")} == {
        "fig": "figs",
        "cherry": "cherries",
        "daisy": "daisies",
        "bench": "benches",
        "boy": "boys",
        "tomato": "tomatoes",
        "dress": "dresses",
    }


def test_nothing_that_may_be_done_to_things_names_a_victim():
    assert not set(w.THINGS) & set(w.VICTIMS)


def test_documents_are_the_same_for_the_same_seeds():
    first = list(corpus.documents(7, 1, 300))
    assert list(corpus.documents(7, 1, 300)) == first
    assert list(corpus.documents(7, 2, 300)) != first
    assert list(corpus.documents(8, 1, 300)) != first


def test_documents_are_no_instructions():
    for text in corpus.documents(7, 1, 5000):
        assert not re.search(r"^(Instruction|Response|Question|Answer|User|Assistant):", text, re.MULTILINE)
        # A question stands in a story; what follows it is never its answer.
        for question in re.findall(r"[^.?]*\?", re.sub(r"\n\w+:", "", text)):
            assert question.split(": ")[-1].strip() in ("What is that?", "Where is the road?")


def test_records_in_the_text_are_valid_json_about_what_was_said():
    found = Counter()
    for text in corpus.documents(7, 1, 3000):
        for line in text.splitlines():
            if line.startswith("{"):
                record = json.loads(line)
                told = text[: text.index(line)]
                assert all(str(value) in told for value in record.values())
                found[tuple(record)] += 1
    assert found[("name", "job", "age")] > 100 < found[("item", "colour", "price")]

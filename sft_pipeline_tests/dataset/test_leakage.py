"""The proof against naive comparison and against published counts."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.dataset.leakage import contained_shares, prove, similarities
from sft_pipeline.dataset.text import jaccard, shingles
from sft_pipeline.experiment import Duplicates, Split


def read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def rows(*texts: str, group: str | None = None) -> list[dict]:
    return [{"id": f"{i}:{text[:8]}", "instruction": text, "group": group} for i, text in enumerate(texts)]


def proof(train: list[dict], test: list[dict], **split):
    return prove(train, test, Duplicates(), Split(**split), "train → test")


LONG = "Please write down in one short sentence what the capital city of France is called today"


def test_nothing_in_common_is_clean():
    found = proof(rows("one two three four"), rows("five six seven eight"))
    assert found.clean
    assert (found.exact, found.near, found.groups, found.contained, found.nearest) == (0, 0, 0, 0, ())


def test_each_tier_counts_its_own_kind_of_leak():
    assert proof(rows("What is  IT?"), rows("what is it?")).exact == 1
    near = proof(rows(LONG), rows(LONG + " Thanks"))
    assert (near.exact, near.near, near.clean) == (0, 1, False)
    groups = proof(rows("one two", group="g"), rows("three four", group="g"))
    assert (groups.near, groups.groups, groups.clean) == (0, 1, False)


def test_containment_is_reported_and_judged_only_against_a_declared_limit():
    train, test = rows(f"{LONG} and tomorrow"), rows(f"Before lunch and after the long nap of the cat: {LONG}")
    reported = proof(train, test)
    assert (reported.contained, reported.contained_over_limit, reported.clean) == (1, 0, True)
    judged = proof(train, test, max_contained_share=0.3)
    assert (judged.contained_over_limit, judged.clean) == (1, False)


def test_the_nearest_pairs_are_shown_with_their_similarity_in_descending_order():
    found = proof(rows("a b c d e f", "a b c x y z"), rows("p q r", "a b c d e q", "a b c d m n"))
    assert [(p.similarity, p.test_text) for p in found.nearest] == [(0.6, "a b c d e q"), (0.3333, "a b c d m n")]
    assert {p.train_text for p in found.nearest} == {"a b c d e f"}


def test_empty_sides_are_clean():
    assert proof([], rows("a b c")).clean and proof(rows("a b c"), []).clean


TEXTS = st.lists(st.lists(st.sampled_from("abcdef"), max_size=8).map(" ".join), max_size=8)


@settings(max_examples=60, deadline=None)
@given(train=TEXTS, test=TEXTS, n=st.integers(1, 4))
def test_similarities_are_those_of_every_pair_that_shares_a_shingle(train, test, n):
    naive = {
        (i, j): jaccard(shingles(a, n), shingles(b, n))
        for i, a in enumerate(test)
        for j, b in enumerate(train)
        if shingles(a, n) & shingles(b, n)
    }
    assert {(i, j): s for i, j, s in similarities(train, test, n)} == naive


@pytest.mark.real_data
def test_published_containment_of_gsm8k(real_data):
    """80 test items share an 8-gram with the training set, 3 a 13-gram, none is the same."""
    train, test = (
        rows(*(row["question"] for row in read(real_data / "gsm8k" / f"{name}.jsonl"))) for name in ("train", "test")
    )
    found = proof(train, test)
    assert (found.train_rows, found.test_rows) == (7473, 1319)
    assert (found.exact, found.contained) == (0, 80)
    assert (
        sum(s > 0 for s in contained_shares([r["instruction"] for r in train], [r["instruction"] for r in test], 13))
        == 3
    )


@pytest.mark.real_data
def test_published_containment_of_alpaca_in_its_seed_tasks(real_data):
    """27 of the 175 seed tasks share an 8-gram with Alpaca, 14 a 13-gram (instruction and input together)."""
    alpaca = json.loads((real_data / "alpaca-52k" / "alpaca_data.json").read_text(encoding="utf-8"))
    train = [f"{r['instruction']}\n{r['input']}" for r in alpaca]
    seeds = read(real_data / "alpaca-52k" / "seed_tasks.jsonl")
    test = [f"{s['instruction']}\n{s['instances'][0]['input']}" for s in seeds]
    assert [sum(s > 0 for s in contained_shares(train, test, n)) for n in (8, 13)] == [27, 14]

"""The proof against naive comparison and against published counts."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.artifacts import LeakageProof
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.leakage.overlap import longest_common_run
from sft_pipeline.dataset.leakage.proof import NEAREST, prove, similarities
from sft_pipeline.dataset.leakage.training_data_hash import training_data_hash
from sft_pipeline.dataset.text import jaccard, ngrams, normalise, shingles, words
from sft_pipeline.experiment import Data, Duplicates, EmbeddedData, Leakage


def read(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def rows(*texts: str, group: str | None = None, side: str = "") -> list[dict]:
    return [{"id": f"{side}{i}", "instruction": text, "response": "", "group": group} for i, text in enumerate(texts)]


def data(duplicates: Duplicates | None = None, **leakage) -> Data:
    source = EmbeddedData(kind="embedded")
    return Data(source=source, duplicates=duplicates or Duplicates(), leakage=Leakage(**leakage))


def proof(train: list[dict], test: list[dict], **leakage) -> LeakageProof:
    return prove(train, test, data(**leakage), "train → test")


LONG = "Please write down in one short sentence what the capital city of France is called today"


def test_nothing_in_common_is_clean():
    found = proof(rows("one two three four"), rows("five six seven eight"))
    assert found.clean
    assert (found.exact, found.near, found.groups, found.contained) == (0, 0, 0, 0)
    assert (found.nearest, found.leaks) == ((), ())


def test_each_tier_counts_its_own_kind_of_leak_and_shows_it():
    exact = proof(rows("What is  IT?"), rows("what is it?"))
    assert (exact.exact, exact.near, exact.clean) == (1, 0, False)
    assert [(p.tier, p.train_text, p.matched) for p in exact.leaks] == [("exact", "What is  IT?", "what is it")]
    near = proof(rows(LONG), rows(LONG + " Thanks"))
    assert (near.exact, near.near, near.clean) == (0, 1, False)
    assert [(p.tier, p.similarity, p.matched) for p in near.leaks] == [
        ("near", 0.9333, LONG.lower()),
        ("contained", 0.9, LONG.lower()),
    ]
    groups = proof(rows("one two", group="g"), rows("three four", group="g"))
    assert (groups.near, groups.groups, groups.clean) == (0, 1, False)
    assert [(p.tier, p.test_text, p.train_text) for p in groups.leaks] == [("group", "three four", "one two")]


def test_texts_without_words_are_compared_by_what_they_hold():
    found = proof(rows("🙂 🙂", "!!"), rows("🙂  🙂", "??"))
    assert (found.exact, found.near) == (1, 0)
    assert found.leaks[0].matched == "🙂  🙂"


def test_containment_is_reported_and_judged_against_the_limit():
    train, test = rows(f"{LONG} and tomorrow"), rows(f"Before lunch and after the long nap of the cat: {LONG}")
    reported = proof(train, test)  # less than the default limit
    assert (reported.contained, reported.contained_over_limit, reported.clean) == (1, 0, True)
    assert [p.tier for p in reported.nearest] == ["near", "contained"] and reported.leaks == ()
    judged = proof(train, test, max_contained_share=0.3)
    assert (judged.contained_over_limit, judged.clean) == (1, False)
    assert [(p.tier, p.matched) for p in judged.leaks] == [("contained", LONG.lower())]
    assert judged.leaks[0].similarity == round(9 / 19, 4)  # of 19 8-grams, 9 lie within LONG


def test_an_item_that_stands_word_for_word_in_a_longer_training_row_is_a_leak_by_default():
    item = " ".join(f"w{i}" for i in range(26))
    train = rows(f"{' '.join(f'x{i}' for i in range(40))} {item} and so on")
    found = proof(train, rows(item))
    assert (found.exact, found.near, found.contained_over_limit, found.clean) == (0, 0, 1, False)
    assert [(p.tier, p.similarity, p.matched) for p in found.leaks] == [("contained", 1.0, item)]
    assert proof(train, rows(item), max_contained_share=1.0).clean


@pytest.mark.parametrize(("item", "leaks"), [("Who painted it?", 0), ("Who painted this picture?", 1)])
def test_an_item_too_short_for_an_n_gram_is_one_of_all_its_words_from_four_words_on(item, leaks):
    found = proof(rows(f"Read the text about museums in Delft before you say: {item} Be quick."), rows(item))
    assert (found.contained, found.contained_over_limit, found.clean) == (0, leaks, not leaks)


def test_an_item_in_a_training_response_is_a_leak_and_not_in_the_published_count():
    train = [{"id": "t", "instruction": "Ask me something.", "response": f"Well. {LONG}?", "group": None}]
    found = proof(train, rows(LONG))
    assert (found.contained, found.contained_over_limit, found.clean) == (0, 1, False)
    assert found.leaks[0].matched == LONG.lower() and LONG in found.leaks[0].train_text


def test_a_short_item_does_not_stand_astride_instruction_and_response():
    """ "Say owl three times." and its answer are no leak of "Three times owl: owl, owl,"."""
    train = [{"id": "t", "instruction": "Say owl three times.", "response": "owl, owl, owl.", "group": None}]
    assert proof(train, rows("Three times owl: owl, owl,")).clean
    train[0]["response"] = "owl, owl. Three times owl: owl, owl, owl."
    assert not proof(train, rows("Three times owl: owl, owl,")).clean


SYSTEM = " ".join(f"rule{i}" for i in range(60))


@pytest.mark.parametrize("preamble", [SYSTEM, f"{SYSTEM}\nBe brief."])
@pytest.mark.parametrize("short", [True, False])
def test_a_system_message_before_all_test_items_hides_no_leak(preamble, short):
    asked = [" ".join(f"q{i}w{j}" for j in range(5 if short else 12)) for i in range(10)]
    found = proof(rows(*asked), rows(*(f"{preamble}\n{text}" for text in asked)))
    assert (found.exact, found.contained_over_limit) == (10, 10)


def test_a_system_message_on_both_sides_is_no_leak():
    train = rows(*(f"{SYSTEM}\nTell me {i} about a{i} b{i} c{i} d{i} e{i}" for i in range(10)))
    test = rows(*(f"{SYSTEM}\nExplain {i} of f{i} g{i} h{i} j{i} k{i}" for i in range(10)))
    found = proof(train, test, max_contained_share=0.8)
    assert found.contained_over_limit == 0
    # Of items too short to be looked for without it, the whole text counts.
    few = proof(rows(f"{SYSTEM}\n1 2"), rows(*(f"{SYSTEM}\n1 {i}" for i in range(10))))
    assert few.contained_over_limit == 10


def test_the_hashes_are_of_what_is_compared():
    row = {"id": "a", "instruction": "What is it?", "response": "r", "group": None, "source_file": "f", "source_row": 1}
    was = proof([row], [row])
    for change, train_same, test_same in (
        ({"id": "b", "source_file": "g", "source_row": 2}, True, True),
        ({"instruction": "what  is IT?"}, True, True),
        ({"response": "another"}, False, True),
        ({"instruction": "What was it?"}, False, False),
        ({"group": "g"}, False, False),
    ):
        now = proof([row | change], [row | change])
        assert (now.train_sha256 == was.train_sha256, now.test_sha256 == was.test_sha256) == (train_same, test_same)
    line = json.dumps(["what is it?", "r", None]) + "\n"
    assert was.train_sha256 == hashlib.sha256(line.encode()).hexdigest()
    assert (
        was.training_data_sha256
        == training_data_hash([row])
        != proof([row | {"instruction": "what is it?"}], [row]).training_data_sha256
    )


def test_a_pair_names_file_and_row_where_they_are_known():
    train = [row | {"source_file": "train.jsonl", "source_row": 7} for row in rows("What is it?")]
    pair = proof(train, rows("what is it?")).leaks[0]
    assert (pair.train_source, pair.test_source) == ("train.jsonl, row 7", "")


def test_an_item_pieced_together_from_several_training_rows_is_over_the_limit():
    """No row holds more than half of the item, all of them together hold it whole."""
    item = [f"w{i}" for i in range(24)]
    pieces = [" ".join(item[a:b]) for a, b in ((0, 14), (7, 19), (12, 24))]
    found = proof(rows(*pieces), rows(" ".join(item)), max_contained_share=0.9)
    assert found.contained_over_limit == 1
    assert found.leaks[0].similarity == round(7 / 17, 4)  # the row that holds most of it


def test_the_nearest_pairs_are_shown_with_their_similarity_in_descending_order():
    found = proof(rows("a b c d e f", "a b c x y z"), rows("p q r", "a b c d e q", "a b c d m n"))
    assert [(p.similarity, p.test_text) for p in found.nearest] == [(0.6, "a b c d e q"), (0.3333, "a b c d m n")]
    assert {p.train_text for p in found.nearest} == {"a b c d e f"}
    assert found.nearest[0].matched == "a b c d e"


def test_the_proof_holds_every_leak():
    texts = [f"one two three {i}" for i in range(230)]
    found = proof(rows(*texts), rows(*texts))
    assert found.exact == len(texts)
    held = [p.test_text for p in found.leaks if p.tier == "exact"]
    assert held == sorted(texts) and len({p.train_text for p in found.leaks}) == len(texts)


def test_empty_sides_are_clean():
    assert proof([], rows("a b c")).clean and proof(rows("a b c"), []).clean


def test_training_rows_are_read_as_a_stream_and_the_hashes_name_both_sides_in_their_order():
    texts = [f"some words and number {i}" for i in range(3000)]
    streamed = prove((row for row in rows(*texts)), rows("x"), data(), "a → b")
    assert streamed == prove(rows(*texts), rows("x"), data(), "a → b")
    assert streamed.train_rows == 3000
    turned = prove(rows(*texts)[::-1], rows("x"), data(), "a → b")
    assert turned.train_sha256 != streamed.train_sha256 and turned.test_sha256 == streamed.test_sha256


def test_progress_tells_how_many_rows_were_compared():
    calls = []
    prove(rows(*["a"] * 20000), rows("b"), data(), "", progress=lambda *state: calls.append(state))
    assert calls == [("proof", 8192, None), ("proof", 16384, None), ("proof", 20000, None)]


def test_the_semantic_tier_is_not_skipped_in_silence():
    with pytest.raises(ValueError, match="semantic.load"):
        proof(rows("a"), rows("b"), semantic={"model": "folder", "threshold": 0.8})


TEXT = st.lists(st.sampled_from("abcdef"), max_size=9).map(" ".join)
TEXTS = st.lists(TEXT, max_size=8)


@settings(max_examples=60)
@given(train=TEXTS, test=TEXTS, n=st.integers(1, 4), least=st.sampled_from([0.0, 0.3, 0.5, 2 / 3, 0.7, 1.0]))
def test_similarities_are_those_of_every_pair_that_shares_a_shingle(train, test, n, least):
    naive = {
        (i, j): jaccard(shingles(a, n), shingles(b, n))
        for i, a in enumerate(test)
        for j, b in enumerate(train)
        if shingles(a, n) & shingles(b, n)
    }
    wanted = {pair: similarity for pair, similarity in naive.items() if similarity >= least}
    assert {(i, j): s for i, j, s in similarities(train, test, n, least)} == wanted


ROWS = st.lists(st.tuples(TEXT, TEXT, st.sampled_from([None, None, "g", "h"])), max_size=25)


def identifying(item: list[str], n: int) -> set[str]:
    """The n-grams of an item; of one with too few words, but at least four, all its words."""
    if len(item) >= n:
        return set(ngrams(item, n))
    return {" ".join(item)} if len(item) >= 4 else set()


def standing(row: dict, grams: set[str], n: int) -> set[str]:
    """Those of `grams` that a training row holds; one of fewer than `n` words in its instruction or in its response."""
    sides = row["instruction"].split(), row["response"].split()
    whole = set(ngrams([*sides[0], *sides[1]], n))
    return {gram for gram in grams if gram in whole or any(gram in ngrams(side, len(gram.split())) for side in sides)}


@pytest.mark.slow
@settings(max_examples=200)
@given(
    train=ROWS,
    test=ROWS,
    n=st.integers(1, 4),
    threshold=st.sampled_from([0.3, 0.5, 0.7, 1.0]),
    gram=st.integers(1, 6),
    order=st.randoms(use_true_random=False),
    limit=st.sampled_from([0.0, 0.4, 0.5, 1.0]),
)
def test_the_proof_says_what_a_comparison_of_all_pairs_says(train, test, n, threshold, gram, order, limit):
    train, test = (
        [
            {"id": f"{side}{i}", "instruction": text, "response": response, "group": group}
            for i, (text, response, group) in enumerate(side_rows)
        ]
        for side, side_rows in (("train", train), ("test", test))
    )
    test.sort(key=lambda a: (a["instruction"], a["group"] or "", a["id"]))  # the order in which pairs are shown
    train.sort(key=lambda b: (b["instruction"], b["response"], b["id"]))
    spec = data(Duplicates(ngram=n, threshold=threshold), containment_ngram=gram, max_contained_share=limit)
    found = prove(order.sample(train, len(train)), order.sample(test, len(test)), spec, "")
    similarity = [[jaccard(shingles(a["instruction"], n), shingles(b["instruction"], n)) for b in train] for a in test]
    exact = [any(normalise(a["instruction"]) == normalise(b["instruction"]) for b in train) for a in test]
    asked = {g for b in train for g in ngrams(words(b["instruction"]), gram)}
    contained = [bool(set(ngrams(words(a["instruction"]), gram)) & asked) for a in test]
    grams = [identifying(a["instruction"].split(), gram) for a in test]
    alone = [[len(held & standing(b, held, gram)) / len(held) if held else 0.0 for b in train] for held in grams]
    together = [set().union(*(standing(b, held, gram) for b in train)) for held in grams]
    shares = [len(held & present) / len(held) if held else 0.0 for held, present in zip(grams, together)]
    best = [max(line, default=0.0) for line in similarity]
    near = [s >= threshold and not e for s, e in zip(best, exact)]
    groups = [a["group"] is not None and a["group"] in {b["group"] for b in train} for a in test]
    over = [share > limit for share in shares]
    assert (found.exact, found.near, found.groups) == (sum(exact), sum(near), sum(groups))
    assert (found.contained, found.contained_over_limit) == (sum(contained), sum(over))
    assert [(p.tier, p.test_id) for p in found.leaks] == [
        (tier, a["id"])
        for tier, hits in (("exact", exact), ("near", near), ("group", groups), ("contained", over))
        for a, hit in zip(test, hits)
        if hit
    ]
    ranked = sorted((i for i in range(len(test)) if best[i] > 0), key=lambda i: (-best[i], i))[:NEAREST]
    assert [(p.test_id, p.train_id, p.similarity) for p in found.nearest if p.tier == "near"] == [
        (test[i]["id"], train[similarity[i].index(best[i])]["id"], round(best[i], 4)) for i in ranked
    ]
    most = [max(line, default=0.0) for line in alone]
    ranked = sorted((i for i in range(len(test)) if most[i] > 0), key=lambda i: (-most[i], i))[:NEAREST]
    assert [(p.test_id, p.train_id, p.similarity) for p in found.nearest if p.tier == "contained"] == [
        (test[i]["id"], train[alone[i].index(most[i])]["id"], round(most[i], 4)) for i in ranked
    ]


@settings(max_examples=100)
@given(a=TEXT, b=TEXT)
def test_the_longest_common_run_is_the_longest(a, b):
    first, second = a.split(), b.split()
    runs = [first[i:j] for i in range(len(first)) for j in range(i + 1, len(first) + 1)]
    longest = max((len(r) for r in runs if any(second[k : k + len(r)] == r for k in range(len(second)))), default=0)
    found = longest_common_run(a, b).split()
    assert len(found) == longest
    assert " ".join(found) in " ".join(first) and " ".join(found) in " ".join(second)


@pytest.mark.parametrize(
    "frame",
    [
        "You are a helpful assistant. {}", "Answer the question: {}", "{} Think step by step.", "[INST] {} [/INST]",
        "### Question: {}\n### Answer:", "User: {}\nAssistant:", "Q: {} A:", "<s>[INST] {} [/INST]",
    ],
)  # fmt: skip
def test_a_frame_inside_of_the_line_hides_no_very_short_question(frame):
    asked = [f"Who was {name}?" for name in ("Newton", "Darwin", "Bohr", "Curie", "Gauss", "Euler")]
    plain, framed = rows(*asked), rows(*map(frame.format, asked))
    assert [p.near + p.exact for p in (proof(framed, plain), proof(plain, framed))] == [6, 6]
    # In a sentence that few others share it is something else.
    assert proof(rows("He came in. Who was Newton? Nobody knew."), plain).clean


@pytest.mark.slow
@pytest.mark.real_data
def test_published_containment_of_gsm8k(real_data):
    """80 test items share an 8-gram with the training set, 3 a 13-gram, none is the same."""
    train, test = (
        rows(*(row["question"] for row in read(real_data / "gsm8k" / f"{name}.jsonl"))) for name in ("train", "test")
    )
    found = proof(train, test)
    assert (found.train_rows, found.test_rows) == (7473, 1319)
    assert (found.exact, found.contained) == (0, 80)
    assert proof(train, test, containment_ngram=13).contained == 3


@pytest.mark.slow
@pytest.mark.real_data
def test_published_containment_of_alpaca_in_its_seed_tasks(real_data):
    """27 of the 175 seed tasks share an 8-gram with Alpaca, 14 a 13-gram (instruction and input together)."""
    alpaca = json.loads((real_data / "alpaca-52k" / "alpaca_data.json").read_text(encoding="utf-8"))
    train = rows(*(f"{r['instruction']}\n{r['input']}" for r in alpaca))
    seeds = read(real_data / "alpaca-52k" / "seed_tasks.jsonl")
    test = rows(*(f"{s['instruction']}\n{s['instances'][0]['input']}" for s in seeds))
    parameters = [data(containment_ngram=n) for n in (8, 13)]
    whole = [prove(train, test, given, "", shared=SharedText()) for given in parameters]
    assert [found.contained for found in whole] == [27, 14]
    # The abstract of one seed task came with many instructions of Alpaca, and shared text identifies no item.
    own = [prove(train, test, given, "") for given in parameters]
    assert [found.contained for found in own] == [26, 13]
    assert any("Abstract: Fine-tuning" in what and "test items: 1" in what for what in own[0].not_compared)


@pytest.mark.real_data
def test_published_blindness_of_word_matches_for_rephrasings(real_data):
    """Of the rephrased GSM8K items, a match with their source by 13, 8 and 5 words finds 0 %, 4 % and 41 %.

    The published figures take what stands between white space for a word, "4." and "4" for two; by the words of the
    containment tier it is 0 %, 6 % and 48 %.
    """
    sources = [row["question"] for row in read(real_data / "gsm8k" / "test.jsonl")]
    rephrased = [
        row["text"].removeprefix("Question:").rsplit("Answer:", 1)[0]
        for row in read(real_data / "decontaminator" / "rephrase" / "rephrase_gsm8k.jsonl")
    ]
    for cut, published in ((lambda text: text.lower().split(), [0, 4, 41]), (words, [0, 6, 48])):
        pairs = [(cut(a), cut(b)) for a, b in zip(sources, rephrased, strict=True)]
        found = [sum(bool(set(ngrams(a, n)) & set(ngrams(b, n))) for a, b in pairs) for n in (13, 8, 5)]
        assert [round(100 * count / len(pairs)) for count in found] == published


SHORT = [f"Who was {name}?" for name in ("Newton", "Curie", "Darwin", "Noether", "Turing", "Euler", "Gauss", "Bohr")]
OTHERS = [f"What did {name} find in the end?" for name in ("Hubble", "Pasteur", "Mendel", "Faraday", "Planck")]
PERSONA = "You are a helpful assistant.\nAnswer truthfully."


@pytest.mark.parametrize("behind", ["train", "test", "both"])
def test_short_questions_are_found_behind_a_message_that_many_rows_share(behind):
    """On whichever side it stands; other questions behind the same message are no leak."""
    train, test = (
        [f"{PERSONA}\n{text}" if behind in (side, "both") else text for text in texts]
        for side, texts in (("train", SHORT + OTHERS), ("test", SHORT[:5] + ["Who wrote Faust?"] * (behind != "train")))
    )
    found = proof(rows(*train), rows(*test))
    assert (found.exact, found.near) == (5, 0)
    assert found.contained_over_limit <= 5  # the same five: an item that is equal is contained, too


def test_a_very_short_item_is_compared_with_every_line_of_an_instruction():
    """Messages that no other row has: nothing is shared, and the question is a part of the conversation."""
    train = rows(*(f"You are {name}, speak like it.\nBe brief.\nWho was Newton?" for name in ("a", "b")))
    found = proof(train, rows("who was newton?", "Who was Curie?"))
    assert (found.exact, found.clean) == (1, False)
    assert proof(rows("Tell me who was Newton? And why"), rows("Who was Newton?")).clean


def test_different_questions_behind_one_message_are_no_near_duplicates():
    """Nor are equal inputs below different instructions that many rows share."""
    words_of = [f"Name the {i}th item of list number {i * i} please" for i in range(12)]
    train, test = (rows(*(f"{SYSTEM}\n{text}" for text in some)) for some in (words_of[:6], words_of[6:]))
    assert proof(train, test).clean
    kinds = ("Say whether the following is a fruit or a vegetable:", "Translate the following into French please:")
    train = rows(*(f"{kinds[0]}\n{word}" for word in ["apple", "pear", "plum", "leek", "beet", "kale"]))
    test = rows(*(f"{kinds[1]}\n{word}" for word in ["apple", "pear", "plum", "leek", "beet", "kale"]))
    assert proof(train, test).clean


def test_a_changed_question_behind_a_message_is_near():
    asked = [" ".join(f"q{i}w{j}" for j in range(20)) for i in range(6)]
    train = rows(*(f"{SYSTEM}\n{text} thanks" for text in asked))
    found = proof(train, rows(*asked))
    assert (found.near, found.clean) == (6, False)

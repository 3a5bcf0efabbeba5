"""Near-duplicates against an exact comparison of all pairs and against datasketch, and counted where they are many."""

import json
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_pipeline.dataset.duplicates import components, copies, minhash, near, near_pairs, search
from sft_pipeline.dataset.duplicates.minhash import bands
from sft_pipeline.dataset.duplicates.shingles import shingle_sets
from sft_pipeline.dataset.text import jaccard, shingles
from sft_pipeline.experiment import Duplicates

DUPLICATES = Duplicates()


def all_pairs(texts: list[str], duplicates: Duplicates = DUPLICATES) -> dict[tuple[int, int], float]:
    sets = [shingles(text, duplicates.ngram) for text in texts]
    found = {(a, b): jaccard(sets[a], sets[b]) for a, b in combinations(range(len(texts)), 2)}
    return {pair: similarity for pair, similarity in found.items() if similarity >= duplicates.threshold}


def greedy(texts: list[str], keys: list[int], duplicates: Duplicates = DUPLICATES) -> dict[int, tuple[int, float]]:
    """What `copies` promises, row by row: text → (kept text, similarity)."""
    sets = [shingles(text, duplicates.ngram) for text in texts]
    found: dict[int, tuple[int, float]] = {}
    kept: list[int] = []
    for i in range(len(texts)):
        if same := [k for k in kept if keys[k] == keys[i]]:
            found[i] = same[0], 1.0
            continue
        similarity, other = max(((jaccard(sets[k], sets[i]), -k) for k in kept), default=(0.0, 0))
        if similarity >= duplicates.threshold:
            found[i] = -other, similarity
        else:
            kept.append(i)
    return found


def dropped(texts: list[str], keys: list[int] | None = None) -> dict[int, tuple[int, float]]:
    numbers = None if keys is None else np.array([keys.index(key) for key in keys], np.int64)
    found = copies(near.prepare(shingle_sets(texts, DUPLICATES.ngram), DUPLICATES), DUPLICATES, numbers)
    return {
        i: (of, similarity)
        for i, (of, similarity) in enumerate(zip(found.of.tolist(), found.similarity.tolist()))
        if of != i
    }


def members_by_search(count: int, edges: list[tuple[int, int]]) -> list[list[int]]:
    """Connected components by walking along the edges."""
    beside: dict[int, set[int]] = {i: set() for i in range(count)}
    for a, b in edges:
        beside[a].add(b)
        beside[b].add(a)
    seen: set[int] = set()
    found = []
    for i in range(count):
        if i not in seen:
            reached, rest = {i}, [i]
            while rest:
                rest += (new := beside[rest.pop()] - reached)
                reached |= new
            seen |= reached
            found.append(sorted(reached))
    return found


def generated(count: int, seed: int = 0, vocabulary: int = 300) -> list[str]:
    """Texts of which many are another one with a word or two exchanged."""
    rng = random.Random(seed)
    words = [f"w{i}" for i in range(vocabulary)]
    texts = [[rng.choice(words) for _ in range(rng.randint(1, 30))] for _ in range(count // 2)]
    for original in rng.choices(texts, k=count - len(texts)):
        copy = list(original)
        for _ in range(rng.randint(0, 2)):
            copy[rng.randrange(len(copy))] = rng.choice(words)
        texts.append(copy)
    rng.shuffle(texts)
    return [" ".join(text) for text in texts]


@pytest.fixture(params=["as it is", "everything is large"])
def sizes(request, monkeypatch):
    """Also with every bucket a crowd, every component large and every meeting of cells big."""
    if request.param == "everything is large":
        monkeypatch.setattr(minhash, "CROWD", 1)
        monkeypatch.setattr(near, "LARGE", 1)
        monkeypatch.setattr(near, "BULK", 6)


@pytest.fixture
def verified(monkeypatch):
    """Counts the pairs whose similarity is computed."""
    counted = [0]
    for place in (near, search):

        def counting(a, i, b, j, jaccards=place.jaccards):
            counted[0] += len(i)
            return jaccards(a, i, b, j)

        monkeypatch.setattr(place, "jaccards", counting)
    return counted


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9, 1.0])
def test_bands_find_a_pair_at_the_threshold(threshold):
    duplicates = Duplicates(threshold=threshold)
    count = bands(duplicates)
    rows = duplicates.permutations // count
    assert count * rows == duplicates.permutations
    assert 1 - (1 - threshold**rows) ** count >= 0.999


@pytest.mark.parametrize("vocabulary", [6, 300])
@pytest.mark.parametrize("threshold", [0.4, 0.7, 1.0])
def test_near_pairs_are_those_of_the_exact_comparison(sizes, threshold, vocabulary):
    duplicates = Duplicates(threshold=threshold)
    texts = generated(200, vocabulary=vocabulary)
    exact = all_pairs(texts, duplicates)
    found = list(near_pairs(texts, duplicates))
    assert len(exact) > 10 and found == sorted(found)
    assert {(a, b) for a, b, _ in found} <= exact.keys()  # precision 1: every candidate is verified
    assert len(found) >= 0.99 * len(exact)
    assert all(similarity == exact[a, b] for a, b, similarity in found)


def test_near_pairs_agree_with_datasketch():
    import datasketch

    texts = generated(400, seed=1)
    rows = DUPLICATES.permutations // bands(DUPLICATES)
    lsh = datasketch.MinHashLSH(num_perm=DUPLICATES.permutations, params=(bands(DUPLICATES), rows))
    sets = [shingles(text, DUPLICATES.ngram) for text in texts]
    oracle = set()
    for position, found in enumerate(sets):
        signature = datasketch.MinHash(num_perm=DUPLICATES.permutations)
        signature.update_batch([shingle.encode() for shingle in found])
        oracle |= {
            (other, position) for other in lsh.query(signature) if jaccard(sets[other], found) >= DUPLICATES.threshold
        }
        lsh.insert(position, signature)
    ours = {(a, b) for a, b, _ in near_pairs(texts, DUPLICATES)}
    assert len(oracle) > 50
    assert len(ours ^ oracle) <= 0.01 * len(oracle)


# Few words, so that shingles, sets and keys meet often.
SMALL = st.lists(
    st.tuples(st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join), st.integers(0, 30)), max_size=40
)
ODD = st.sampled_from(
    ["", " ", "🙂", "🙂🙂", "!?", "שלום עולם טוב מאוד", "a\u202eb c d", "法国的首都是巴黎", "\ud800 x y z"]
)


@pytest.mark.slow
@settings(max_examples=60)
@given(SMALL)
def test_what_goes_and_for_whom_is_what_a_look_at_all_pairs_says(rows):
    texts, keys = [text for text, _ in rows], [key for _, key in rows]
    assert dropped(texts) == greedy(texts, list(range(len(texts))))
    assert dropped(texts, keys) == greedy(texts, keys)


@settings(max_examples=30)
@given(st.lists(ODD | st.lists(st.sampled_from("ab"), max_size=6).map(" ".join), max_size=20), st.data())
def test_components_are_those_of_all_pairs_and_groups(texts, data):
    groups = data.draw(st.lists(st.sampled_from([None, "g", "h", *"ijklm"]), min_size=len(texts), max_size=len(texts)))
    edges = [*all_pairs(texts)]
    edges += [(a, b) for a, b in combinations(range(len(texts)), 2) if groups[a] == groups[b] is not None]
    assert components(shingle_sets(texts, DUPLICATES.ngram), groups, DUPLICATES).members() == members_by_search(
        len(texts), edges
    )


@pytest.mark.parametrize("vocabulary", [5, 300])
@pytest.mark.parametrize("seed", range(3))
def test_large_components_are_treated_as_small_ones(sizes, seed, vocabulary):
    texts = generated(200, seed, vocabulary)
    keys = [random.Random(i).randrange(150) for i in range(200)]
    assert dropped(texts, keys) == greedy(texts, keys)
    found = components(shingle_sets(texts, DUPLICATES.ngram), [None] * 200, DUPLICATES)
    assert found.members() == members_by_search(200, [*all_pairs(texts)])


def test_the_order_of_the_rows_changes_neither_pairs_nor_components():
    texts = generated(300, seed=5)
    order = random.Random(0).sample(range(300), 300)
    shuffled = [texts[i] for i in order]
    pairs = {frozenset((a, b)) for a, b, _ in near_pairs(texts, DUPLICATES)}
    assert pairs == {frozenset((order[a], order[b])) for a, b, _ in near_pairs(shuffled, DUPLICATES)}
    members = components(shingle_sets(shuffled, DUPLICATES.ngram), [None] * 300, DUPLICATES).members()
    assert sorted(sorted(order[i] for i in found) for found in members) == sorted(
        components(shingle_sets(texts, DUPLICATES.ngram), [None] * 300, DUPLICATES).members()
    )


def test_a_chain_is_one_component_and_keeps_its_far_end():
    """a is like b and b like c, but a is not like c: c is no copy of what is kept, and yet belongs together."""
    texts = ["a b c d e f g h i j", "b c d e f g h i j k", "c d e f g h i j k l"]
    assert all_pairs(texts).keys() == {(0, 1), (1, 2)}
    assert dropped(texts).keys() == {1}
    assert components(shingle_sets(texts, DUPLICATES.ngram), [None] * 3, DUPLICATES).members() == [[0, 1, 2]]


def test_what_shares_its_key_with_a_copy_stays():
    """The second goes as a copy of the first; the third has the second's key, and nothing that is kept speaks against it."""
    texts = ["a b c d e f g h", "a b c d e f g h i", "something else as a whole"]
    assert dropped(texts, [0, 1, 1]).keys() == {1}
    assert dropped(texts[1:], [1, 1]).keys() == {1}


def test_no_texts_at_all():
    assert dropped([]) == {}
    assert list(near_pairs([], DUPLICATES)) == components(shingle_sets([], 3), [], DUPLICATES).members() == []


# What would take the square of the rows if all pairs of a bucket were compared; counted, not timed.
ROWS = 3000


def filled(templates: list[str], rows: int = ROWS) -> list[str]:
    return [templates[i % len(templates)].format(f"x{i}") for i in range(rows)]


def test_one_text_over_and_over_needs_no_comparison(verified):
    found = dropped(["What is the capital of France?"] * ROWS)
    assert found == dict.fromkeys(range(1, ROWS), (0, 1.0))
    assert verified[0] <= ROWS


@pytest.mark.parametrize(
    "templates",
    [
        ["What is the capital of {}?"],
        ["Write a short story about {} in the style of a famous author from the last century."],
        [f"Give {n} synonyms of the word {{}} and use each in a sentence of {n} words" for n in range(20)],
    ],
)
def test_texts_of_a_template_that_are_not_alike_are_hardly_compared(verified, templates):
    texts = filled(templates)
    assert (
        len(
            set(
                components(shingle_sets(texts, DUPLICATES.ngram), [None] * ROWS, DUPLICATES)
                .labels(np.arange(ROWS))
                .tolist()
            )
        )
        == ROWS
    )
    assert verified[0] <= ROWS
    assert dropped(texts) == {}
    assert verified[0] <= 2 * ROWS


def test_long_templates_whose_texts_are_all_alike_are_compared_a_few_times_each(verified):
    words = [" ".join(f"t{k}w{i}" for i in range(40)) for k in range(3)]
    texts = filled([f"{text} {{}} {text[::-1]}" for text in words])
    assert [
        len(found) for found in components(shingle_sets(texts, DUPLICATES.ngram), [None] * ROWS, DUPLICATES).members()
    ] == [ROWS // 3] * 3
    assert verified[0] <= 10 * ROWS
    assert dropped(texts).keys() == set(range(3, ROWS))
    assert verified[0] <= 30 * ROWS


def test_a_mixture_of_everything_is_compared_a_few_times_each(verified):
    texts = generated(ROWS // 3) + filled(["What is the capital of {}?"], ROWS // 3) + ["the same"] * (ROWS // 3)
    random.Random(0).shuffle(texts)
    components(shingle_sets(texts, DUPLICATES.ngram), [None] * len(texts), DUPLICATES)
    assert verified[0] <= 3 * ROWS


@pytest.mark.real_data
@pytest.mark.slow
def test_recall_and_precision_on_alpaca(real_data):
    """Real rows hold few near-duplicates, so each gets a copy in which one word in eight is exchanged."""
    data = json.loads((real_data / "alpaca-52k" / "alpaca_data.json").read_text(encoding="utf-8"))
    texts = [f"{r['instruction']}\n{r['input']}" for r in data[:600]]
    rng = random.Random(0)
    for text in texts[:]:
        words = text.split()
        for _ in range(len(words) // 8):
            words[rng.randrange(len(words))] = "something"
        texts.append(" ".join(words))
    exact = all_pairs(texts)
    found = {(a, b) for a, b, _ in near_pairs(texts, DUPLICATES)}
    assert len(exact) > 150
    assert found <= exact.keys()
    assert len(found) >= 0.99 * len(exact)

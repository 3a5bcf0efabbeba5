"""The LSH against an exact comparison of all pairs and against datasketch."""

import json
import random
from itertools import combinations

import pytest

from sft_pipeline.dataset.duplicates import Components, bands, components, copies, near_pairs
from sft_pipeline.dataset.leakage import similarities
from sft_pipeline.dataset.text import jaccard, shingles
from sft_pipeline.experiment import Duplicates

DUPLICATES = Duplicates()


def all_pairs(texts: list[str], duplicates: Duplicates) -> set[tuple[int, int]]:
    sets = [shingles(text, duplicates.ngram) for text in texts]
    return {(a, b) for a, b in combinations(range(len(texts)), 2) if jaccard(sets[a], sets[b]) >= duplicates.threshold}


def generated(count: int, seed: int = 0) -> list[str]:
    """Texts of which many are another one with a word or two exchanged."""
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(300)]
    texts = [[rng.choice(vocabulary) for _ in range(rng.randint(5, 30))] for _ in range(count // 2)]
    for original in rng.choices(texts, k=count - len(texts)):
        copy = list(original)
        for _ in range(rng.randint(0, 2)):
            copy[rng.randrange(len(copy))] = rng.choice(vocabulary)
        texts.append(copy)
    return [" ".join(words) for words in texts]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9, 1.0])
def test_bands_find_a_pair_at_the_threshold(threshold):
    duplicates = Duplicates(threshold=threshold)
    count = bands(duplicates)
    rows = duplicates.permutations // count
    assert count * rows == duplicates.permutations
    assert 1 - (1 - threshold**rows) ** count >= 0.999


def test_near_pairs_are_those_of_the_exact_comparison():
    texts = generated(600)
    exact = all_pairs(texts, DUPLICATES)
    found = list(near_pairs(texts, DUPLICATES))
    assert len(exact) > 100
    assert {(a, b) for a, b, _ in found} <= exact  # precision 1: every candidate is verified
    assert len(found) >= 0.99 * len(exact)
    sets = [shingles(text, DUPLICATES.ngram) for text in texts]
    assert all(similarity == jaccard(sets[a], sets[b]) for a, b, similarity in found)


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


def test_copies_leave_no_pair_and_drop_only_for_a_kept_text():
    texts = generated(600, seed=2)
    dropped = copies(texts, DUPLICATES)
    left = [i for i in range(len(texts)) if i not in dropped]
    assert dropped and not all_pairs([texts[i] for i in left], DUPLICATES)
    sets = [shingles(text, DUPLICATES.ngram) for text in texts]
    for position, (kept, similarity) in dropped.items():
        assert kept in left and kept < position
        assert similarity == jaccard(sets[kept], sets[position]) >= DUPLICATES.threshold


def test_a_chain_is_one_component_and_keeps_its_far_end():
    """a is like b and b like c, but a is not like c: c is no copy of what is kept, and yet belongs together."""
    texts = ["a b c d e f g h i j", "b c d e f g h i j k", "c d e f g h i j k l"]
    assert all_pairs(texts, DUPLICATES) == {(0, 1), (1, 2)}
    assert set(copies(texts, DUPLICATES)) == {1}
    assert components(texts, [None] * 3, DUPLICATES).members() == [[0, 1, 2]]


def test_equal_groups_unite_what_is_not_alike():
    texts = ["one two three", "four five six", "seven eight nine", "ten eleven twelve"]
    assert components(texts, ["g", None, "g", None], DUPLICATES).members() == [[0, 2], [1], [3]]


def test_components_are_known_by_their_smallest_position():
    united = Components(5)
    united.unite(4, 2)
    united.unite(2, 1)
    assert (united.find(4), united.find(1), united.find(0)) == (1, 1, 0)
    assert united.members() == [[0], [1, 2, 4], [3]]


@pytest.mark.real_data
def test_recall_and_precision_on_alpaca(real_data):
    """Real rows hold few near-duplicates, so each gets a copy in which one word in eight is exchanged."""
    data = json.loads((real_data / "alpaca-52k" / "alpaca_data.json").read_text(encoding="utf-8"))
    texts = [f"{r['instruction']}\n{r['input']}" for r in data[:1500]]
    rng = random.Random(0)
    for text in texts[:]:
        words = text.split()
        for _ in range(len(words) // 8):
            words[rng.randrange(len(words))] = "something"
        texts.append(" ".join(words))
    # The inverted index compares all pairs that share a shingle, and knows nothing of MinHash.
    near = {(b, a) for a, b, s in similarities(texts, texts, DUPLICATES.ngram) if b < a and s >= DUPLICATES.threshold}
    found = {(a, b) for a, b, _ in near_pairs(texts, DUPLICATES)}
    assert len(near) > 400
    assert found <= near
    assert len(found) >= 0.99 * len(near)

"""Shingles as arrays say the same as sets of strings."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sft_pipeline.dataset.arrays import first_equal
from sft_pipeline.dataset.duplicates.shingles import jaccards, joined, shingle_sets
from sft_pipeline.dataset.text import jaccard, shingles

TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "C", "東京", "é", "!", "🙂", "x_1"]), max_size=9).map(" ".join)
    | st.text(max_size=9),
    max_size=8,
)


@given(TEXTS, st.integers(1, 5))
def test_sizes_similarities_and_equality_are_those_of_the_sets(texts, n):
    sets, hashed = [shingles(text, n) for text in texts], shingle_sets(texts, n)
    assert hashed.sizes.tolist() == [len(found) for found in sets]
    i, j = (every.ravel() for every in np.indices((len(texts), len(texts))))
    assert jaccards(hashed, i, hashed, j).tolist() == [jaccard(sets[a], sets[b]) for a, b in zip(i, j)]
    assert first_equal(*hashed.digests().T).tolist() == [sets.index(found) for found in sets]


def test_the_sets_of_parts_one_after_the_other_are_the_sets_of_all():
    texts = ["a b c d", "", "e f g h i", "a b c d"]
    whole, parts = shingle_sets(texts, 3), joined([shingle_sets(texts[:1], 3), shingle_sets(texts[1:], 3)])
    assert (whole.hashes.tolist(), whole.bounds.tolist()) == (parts.hashes.tolist(), parts.bounds.tolist())
    taken = whole.take(np.array([2, 0]))
    assert jaccards(taken, np.array([1, 0]), whole, np.array([3, 3])).tolist() == [1, 0]


def test_a_text_has_the_same_hashes_in_every_process():
    """They are no part of a file, but what is drawn by them must not change from run to run."""
    assert shingle_sets(["a b c"], 3).hashes.tolist() == [1913459986663476260]

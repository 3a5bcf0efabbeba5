"""The proof that test instructions do not leak from training, recomputed from the rows alone.

Nothing here knows how a split was made, and nothing is sampled or hashed: an inverted index of the test shingles finds
the exact similarity of every pair that shares a shingle, and a pair that shares none has similarity 0.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sft_pipeline.artifacts import LeakageProof, NearestPair
from sft_pipeline.dataset.text import ngrams, normalise, shingles, words
from sft_pipeline.experiment import Duplicates, Split

NEAREST = 5
"""Pairs that the proof shows."""

PROOF = "leakage_proof.json"
"""Name of the proof's file beside the rows of a split."""


def prove(
    train_rows: Sequence[Mapping[str, Any]],
    test_rows: Sequence[Mapping[str, Any]],
    duplicates: Duplicates,
    split: Split,
    against: str,
) -> LeakageProof:
    """Compare every test instruction with every training instruction.

    Args:
        train_rows: rows (id, instruction, group) that the model may learn from.
        test_rows: rows that it is judged on.
        duplicates: shingle length and threshold of the near-duplicate tier.
        split: length and limit of the containment tier.
        against: names of the two sides for the report, such as train+dev → test.

    Returns:
        The counts of test rows per tier. `near` leaves out the rows that `exact` counts.
    """
    known = {normalise(row["instruction"]) for row in train_rows}
    exact = [normalise(row["instruction"]) in known for row in test_rows]
    nearest: list[tuple[float, int]] = [(0.0, -1)] * len(test_rows)
    for test, train, similarity in similarities(
        [row["instruction"] for row in train_rows], [row["instruction"] for row in test_rows], duplicates.ngram
    ):
        nearest[test] = max(nearest[test], (similarity, -train))
    groups = {row["group"] for row in train_rows} - {None}
    contained = contained_shares(
        [row["instruction"] for row in train_rows], [row["instruction"] for row in test_rows], split.containment_ngram
    )
    ranked = sorted((i for i, found in enumerate(nearest) if found[0] > 0), key=lambda i: (-nearest[i][0], i))
    return LeakageProof(
        against=against,
        train_rows=len(train_rows),
        test_rows=len(test_rows),
        ngram=duplicates.ngram,
        threshold=duplicates.threshold,
        containment_ngram=split.containment_ngram,
        max_contained_share=split.max_contained_share,
        exact=sum(exact),
        near=sum(found[0] >= duplicates.threshold and not same for found, same in zip(nearest, exact)),
        groups=sum(row["group"] in groups for row in test_rows),
        contained=sum(share > 0 for share in contained),
        contained_over_limit=sum(share > split.max_contained_share for share in contained),
        nearest=tuple(
            NearestPair(
                train_id=train_rows[-nearest[i][1]]["id"],
                test_id=test_rows[i]["id"],
                similarity=round(nearest[i][0], 4),
                train_text=train_rows[-nearest[i][1]]["instruction"][:300],
                test_text=test_rows[i]["instruction"][:300],
            )
            for i in ranked[:NEAREST]
        ),
    )


def similarities(train: Sequence[str], test: Sequence[str], n: int) -> Iterator[tuple[int, int, float]]:
    """(test position, train position, Jaccard similarity) of every pair that shares a shingle of `n` words."""
    sizes = []
    holders: dict[str, list[int]] = defaultdict(list)
    for position, text in enumerate(test):
        found = shingles(text, n)
        sizes.append(len(found))
        for shingle in found:
            holders[shingle].append(position)
    for position, text in enumerate(train):
        found = shingles(text, n)
        shared = Counter(other for shingle in found if shingle in holders for other in holders[shingle])
        for other, count in shared.items():
            yield other, position, count / (len(found) + sizes[other] - count)


def contained_shares(train: Sequence[str], test: Sequence[str], n: int) -> list[float]:
    """Of each test text, the share of its `n`-grams of words that occur in some training text."""
    grams = [ngrams(words(text), n) for text in test]
    wanted = {gram for found in grams for gram in found}
    present: set[str] = set()
    for text in train:
        present.update(gram for gram in ngrams(words(text), n) if gram in wanted)
    return [sum(gram in present for gram in found) / len(found) if found else 0.0 for found in grams]

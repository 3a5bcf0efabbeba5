"""The proof that test instructions do not leak from training, recomputed from the rows alone.

Nothing here knows how a split was made. Every tier compares every test row with every training row, exactly: what is
skipped is only what cannot change a figure of the proof (see overlap.py). Training rows are read as a stream; the test
rows are held in memory.

Anybody can check a proof: read the two files whose hashes it names, call `prove` with the parameters that it states,
and compare. A row leaks by tier

- exact: the normal forms of the two instructions are equal;
- near: the Jaccard similarity of their word shingles reaches the threshold, and they are not exact;
- group: both carry the same declared group;
- contained: of the test instruction's word n-grams, more than the declared share occur in the training instructions;
- semantic: the cosine similarity of their sentence embeddings reaches the threshold, where that tier decides.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nlargest
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_pipeline.artifacts import LeakageProof, LeakedPair
from sft_pipeline.dataset.leakage.held_rows import Held
from sft_pipeline.dataset.leakage.overlap import Form, Overlaps, form, longest_common_run
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.dataset.table import MATCHED
from sft_pipeline.dataset.text import normalise, shingles
from sft_pipeline.experiment import Data

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed

Row = Mapping[str, Any]

NEAREST = 5
"""Most similar pairs of each tier that the proof shows."""

LEAKS = 100
"""Leaks of each tier that the proof shows; the counts are of all."""

PROOF = "leakage_proof.json"
"""Name of the proof's file beside the rows of a split."""

BLOCK = 1024
"""Training rows that are compared at a time."""


class Match(NamedTuple):
    """A held-out row and what comes nearest to it."""

    similarity: float
    train_id: str
    train_text: str


class Comparison:
    """Held-out rows against a stream of training rows; `proof` says what was found so far."""

    def __init__(self, test_rows: Sequence[Row], data: Data, embed: "Embed | None" = None) -> None:
        """Start a comparison without training rows; the arguments are those of `prove`."""
        self._data = data
        self._held = Held(test_rows, data, embed, least=0.0)
        self._train_rows = 0
        self._train_ids = hashlib.sha256()
        self._found: dict[str, dict[int, Match]] = {
            tier: {} for tier in ("exact", "near", "group", "contained", "semantic")
        }
        self._present: set[str] = set()
        self._seen: set[frozenset[str]] = set()

    def add(self, batch: Sequence[Form]) -> None:
        """Compare the next training rows."""
        held, near, exact = self._held, self._found["near"], self._found["exact"]
        for one in batch:
            row = one.row
            self._train_rows += 1
            self._train_ids.update(f"{row['id']}\n".encode())
            for position, similarity in held.overlaps.matches(one.shingles):
                if position not in near or similarity > near[position].similarity:
                    near[position] = _match(similarity, row)
                if similarity == 1 and position not in exact and normalise(row["instruction"]) == held.normal[position]:
                    exact[position] = _match(1.0, row)
            if row["group"] in held.groups:
                for position in held.groups[row["group"]]:
                    self._found["group"].setdefault(position, _match(1.0, row))
            grams = one.grams & held.wanted
            if grams and grams not in self._seen:  # rows of one template hold the same n-grams again and again
                self._seen.add(grams)
                self._present |= grams
                self._keep_best("contained", held.shares(grams).items(), row)
            if self._train_rows & (self._train_rows - 1) == 0 or self._train_rows % 4096 == 0:
                self._narrow()
        if held.vectors is not None and batch:
            cosines = held.cosines(batch)
            for position, index in enumerate(cosines.argmax(axis=0)):
                self._keep_best("semantic", [(position, float(cosines[index, position]))], batch[index].row)

    def _keep_best(self, tier: str, found: Iterable[tuple[int, float]], row: Row) -> None:
        best = self._found[tier]
        for position, similarity in found:
            if position not in best or similarity > best[position].similarity:
                best[position] = _match(similarity, row)

    def _narrow(self) -> None:
        """Look no longer for pairs that are neither near-duplicates nor among the nearest that will be shown."""
        largest = nlargest(NEAREST, (match.similarity for match in self._found["near"].values()))
        if len(largest) == NEAREST:
            least = min(largest[-1], self._data.duplicates.threshold)
            if least > self._held.overlaps.least:
                self._held.overlaps.raise_to(least)

    def proof(self, against: str) -> LeakageProof:
        """The proof over the training rows that were added; `against` names the two sides."""
        limits, near, held = self._data.leakage, self._data.duplicates, self._held
        semantic = limits.semantic
        total = held.shares(frozenset(self._present))
        leaking = {
            "exact": list(self._found["exact"]),
            "near": [
                position
                for position, match in self._found["near"].items()
                if match.similarity >= near.threshold and position not in self._found["exact"]
            ],
            "group": list(self._found["group"]),
            "contained": [position for position, share in total.items() if share > limits.max_contained_share],
            "semantic": [
                position
                for position, match in self._found["semantic"].items()
                if semantic and match.similarity >= semantic.threshold
            ],
        }
        shown = [tier for tier in leaking if tier != "semantic" or (semantic and semantic.decides)]
        nearest = {
            tier: nlargest(NEAREST, self._found[tier], key=lambda p, tier=tier: (self._found[tier][p].similarity, -p))
            for tier in ("near", "contained", "semantic")
        }
        return LeakageProof(
            against=against,
            train_rows=self._train_rows,
            test_rows=len(held.rows),
            train_sha256=self._train_ids.hexdigest(),
            test_sha256=hashlib.sha256("".join(f"{row['id']}\n" for row in held.rows).encode()).hexdigest(),
            ngram=near.ngram,
            threshold=near.threshold,
            containment_ngram=limits.containment_ngram,
            max_contained_share=limits.max_contained_share,
            exact=len(leaking["exact"]),
            near=len(leaking["near"]),
            groups=len(leaking["group"]),
            contained=len(total),
            contained_over_limit=len(leaking["contained"]),
            semantic=len(leaking["semantic"]) if semantic else None,
            semantic_model=held.embed.name if held.embed else "",
            semantic_threshold=semantic.threshold if semantic else None,
            semantic_decides=bool(semantic and semantic.decides),
            leaks=tuple(self._pair(tier, p) for tier in shown for p in sorted(leaking[tier])[:LEAKS]),
            nearest=tuple(self._pair(tier, p) for tier, found in nearest.items() for p in found),
        )

    def _pair(self, tier: str, position: int) -> LeakedPair:
        match, text = self._found[tier][position], self._held.texts[position]
        return LeakedPair(
            tier=tier,
            test_id=self._held.rows[position]["id"],
            train_id=match.train_id,
            similarity=round(match.similarity, 4),
            test_text=text[:MATCHED],
            train_text=match.train_text[:MATCHED],
            # Texts without any word (emoji, punctuation) can be exact copies too.
            matched=longest_common_run(text, match.train_text) or (text[:MATCHED] if tier == "exact" else ""),
        )


def prove(
    train_rows: Iterable[Row],
    test_rows: Sequence[Row],
    data: Data,
    against: str,
    *,
    embed: "Embed | None" = None,
    progress: Progress = silent,
) -> LeakageProof:
    """Compare every test instruction with every training instruction.

    Args:
        train_rows: rows (id, instruction, group) that the model may learn from; read once, never held together.
        test_rows: rows that it is judged on; a row of each side is any mapping with these three fields.
        data: duplicates (shingles, threshold) and leakage (containment, semantic) are the parameters.
        against: names of the two sides for the report, such as train+dev → test.
        embed: sentence embeddings from `semantic.load`; needed where data.leakage.semantic is on.
        progress: told how many training rows were compared.

    Returns:
        The counts of test rows per tier. `near` leaves out the rows that `exact` counts. The similarity of a contained
        pair is the share of the test item's n-grams that stand in the shown training row; whether the item is over the
        limit is decided by the n-grams that stand in any training row.

    Raises:
        ValueError: data.leakage.semantic is on and `embed` is missing.
    """
    comparison = Comparison(test_rows, data, embed)
    done = 0
    for batch in blocks(train_rows, BLOCK):
        comparison.add([form(row, data) for row in batch])
        progress("proof", done := done + len(batch), None)
    return comparison.proof(against)


def similarities(
    train: Sequence[str], test: Sequence[str], n: int, least: float = 0.0
) -> Iterator[tuple[int, int, float]]:
    """(test position, train position, Jaccard similarity) of every pair that shares a shingle of `n` words.

    Only pairs of similarity `least` and more are looked for.
    """
    overlaps = Overlaps([shingles(text, n) for text in test], least)
    for position, text in enumerate(train):
        for other, similarity in overlaps.matches(shingles(text, n)):
            yield other, position, similarity


def blocks(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """`rows` in lists of at most `size`."""
    block = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _match(similarity: float, row: Row) -> Match:
    return Match(similarity, row["id"], row["instruction"])

"""The proof that test instructions do not leak from training, recomputed from the rows alone.

Nothing here knows how a split was made. Every tier compares every test row with every training row, exactly: what is
skipped is only what cannot change a figure of the proof (see overlap.py). Training rows are read as a stream; the test
rows are held in memory.

Anybody can check a proof: read the two files whose hashes it names, call `prove` with the parameters that it states,
and compare. The hashes are of what is compared, row by row in the order of the file: a JSON list of the normal form of
the instruction, of the response as it stands (training rows only) and of the group, one on a line. The order of the rows
changes those hashes and nothing else. A row leaks by tier

- exact: the normal forms of the two instructions are equal;
- near: the Jaccard similarity of their word shingles reaches the threshold, and they are not exact;
- group: both carry the same declared group;
- contained: of the test instruction's word n-grams, more than the declared share occur in the training rows, be it in
  instructions or in responses; an instruction too short for an n-gram counts as one, and leading lines that several
  test instructions share, such as a system message, are left out (see containment.py);
- semantic: the cosine similarity of their sentence embeddings reaches the threshold, where that tier decides.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import nlargest, nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sft_pipeline.artifacts import LeakageProof, LeakedPair
from sft_pipeline.dataset.leakage.held_out_index import HeldOutIndex
from sft_pipeline.dataset.leakage.overlap import Form, Overlaps, form, longest_common_run, told
from sft_pipeline.dataset.leakage.training_data_hash import line
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.dataset.table import MATCHED
from sft_pipeline.dataset.text import normalise, shingles
from sft_pipeline.experiment import Data
from sft_pipeline.provenance import files

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed

Row = Mapping[str, Any]

COMPARED = ("id", "instruction", "response", "group", "source_file", "source_row")
"""Columns that the proof reads; the file and the row are only shown."""

NEAREST = 5
"""Most similar pairs of each tier that the proof shows."""

LEAKS = 100
"""Leaks of each tier that the proof shows; the counts are of all."""

PROOF = "leakage_proof.json"
"""Name of the proof's file beside the rows of a split."""

BLOCK = 1024
"""Training rows that are compared at a time."""


class Match(NamedTuple):
    """What comes nearest to a held-out row."""

    similarity: float
    row: Row


class Comparison:
    """HeldOutIndex-out rows against a stream of training rows; `proof` says what was found so far."""

    def __init__(self, test_rows: Sequence[Row], data: Data, embed: "Embed | None" = None) -> None:
        """Start a comparison without training rows; the arguments are those of `prove`."""
        self._data = data
        self._held = HeldOutIndex(test_rows, data, embed, least=0.0)
        self._train_rows = 0
        self._train_hash, self._exact_hash, self._test_hash = (hashlib.sha256() for _ in range(3))
        for row in test_rows:
            self._test_hash.update(_line(normalise(row["instruction"]), row["group"]))
        self._found: dict[str, dict[int, Match]] = {
            tier: {} for tier in ("exact", "near", "group", "contained", "semantic")
        }
        self._present: set[str] = set()  # n-grams of items that stand in any training row
        self._asked: set[str] = set()  # those that stand in an instruction
        self._seen: dict[frozenset[str], tuple] = {}

    def add(self, batch: Sequence[Form]) -> None:
        """Compare the next training rows."""
        held = self._held
        for one in batch:
            row, normal = one.row, normalise(one.row["instruction"])
            self._train_rows += 1
            self._train_hash.update(_line(normal, row["response"], row["group"]))
            self._exact_hash.update(line(row))
            for position, similarity in held.overlaps.matches(one.shingles):
                self._keep_best("near", position, similarity, row)
                if similarity == 1 and normal == held.normal[position]:
                    self._keep_best("exact", position, 1.0, row)
            for position in held.groups.get(row["group"], ()):
                self._keep_best("group", position, 1.0, row)
            if standing := held.grams.standing(one.words, one.runs, one.asked):
                self._asked.update(gram for gram, end in standing.items() if end <= one.asked)
                grams, key = frozenset(standing), _content(row)
                # Rows of one template hold the same n-grams again and again.
                if grams not in self._seen or key < self._seen[grams]:
                    self._seen[grams] = key
                    self._present |= grams
                    for position, share in held.grams.shares(grams).items():
                        self._keep_best("contained", position, share, row)
            if self._train_rows & (self._train_rows - 1) == 0 or self._train_rows % 4096 == 0:
                self._narrow()
        if held.vectors is not None and batch:
            cosines = held.cosines(batch)
            for position, largest in enumerate(cosines.max(axis=0)):
                for index in (cosines[:, position] == largest).nonzero()[0]:
                    self._keep_best("semantic", position, float(largest), batch[index].row)

    def _keep_best(self, tier: str, position: int, similarity: float, row: Row) -> None:
        """Remember the most similar row; of equally similar ones the first by content, whichever came first."""
        best = self._found[tier].get(position)
        if (
            best is None
            or similarity > best.similarity
            or (similarity == best.similarity and _content(row) < _content(best.row))
        ):
            self._found[tier][position] = Match(similarity, row)

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
        total = held.grams.shares(self._present)
        asked = held.grams.shares(self._asked).keys() - held.short
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
            tier: nsmallest(NEAREST, self._found[tier], key=lambda p, tier=tier: (-self._found[tier][p].similarity, p))
            for tier in ("near", "contained", "semantic")
        }
        return LeakageProof(
            against=against,
            train_rows=self._train_rows,
            test_rows=len(held.rows),
            train_sha256=self._train_hash.hexdigest(),
            training_data_sha256=self._exact_hash.hexdigest(),
            test_sha256=self._test_hash.hexdigest(),
            ngram=near.ngram,
            threshold=near.threshold,
            containment_ngram=limits.containment_ngram,
            max_contained_share=limits.max_contained_share,
            exact=len(leaking["exact"]),
            near=len(leaking["near"]),
            groups=len(leaking["group"]),
            contained=len(asked),
            contained_over_limit=len(leaking["contained"]),
            semantic=len(leaking["semantic"]) if semantic else None,
            semantic_model=held.embed.name if held.embed else "",
            semantic_threshold=semantic.threshold if semantic else None,
            semantic_decides=bool(semantic and semantic.decides),
            leaks=tuple(self._pair(tier, p) for tier in shown for p in sorted(leaking[tier])[:LEAKS]),
            nearest=tuple(self._pair(tier, p) for tier, found in nearest.items() for p in found),
        )

    def _pair(self, tier: str, position: int) -> LeakedPair:
        match, test, text = self._found[tier][position], self._held.rows[position], self._held.texts[position]
        train_text = told(match.row) if tier == "contained" else match.row["instruction"]
        return LeakedPair(
            tier=tier,
            test_id=test["id"],
            train_id=match.row["id"],
            similarity=round(match.similarity, 4),
            test_text=text[:MATCHED],
            train_text=train_text[:MATCHED],
            # Texts without any word (emoji, punctuation) can be exact copies too.
            matched=longest_common_run(text, train_text) or (text[:MATCHED] if tier == "exact" else ""),
            test_source=_place(test),
            train_source=_place(match.row),
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
    """Compare every test instruction with every training row.

    Args:
        train_rows: rows (id, instruction, response, group) that the model may learn from; read once, never held together.
        test_rows: rows (id, instruction, group) that it is judged on. Rows of both sides are any mappings with these
            fields; where they carry source_file and source_row, the pairs shown name them.
        data: duplicates (shingles, threshold) and leakage (containment, semantic) are the parameters.
        against: names of the two sides for the report, such as train+dev → test.
        embed: sentence embeddings from `semantic.load`; needed where data.leakage.semantic is on.
        progress: told how many training rows were compared.

    Returns:
        The counts of test rows per tier. `near` leaves out the rows that `exact` counts; `contained` is of the test
        items of at least an n-gram that share one with a training instruction, as published figures count. Whether an
        item is over the limit is decided by its n-grams that stand in the instruction or response of any training row;
        the similarity of a contained pair is the share that stands in the shown one alone.

    Raises:
        ValueError: data.leakage.semantic is on and `embed` is missing.
    """
    comparison = Comparison(test_rows, data, embed)
    done = 0
    for batch in blocks(train_rows, BLOCK):
        comparison.add([form(row, data) for row in batch])
        progress("proof", done := done + len(batch), None)
    return comparison.proof(against)


def write(proof: LeakageProof, path: Path) -> None:
    """Write a proof as JSON."""
    text = json.dumps(proof.model_dump(mode="json"), indent=2, ensure_ascii=False)
    files.write(path, text + "\n")


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


def _line(*compared: str | None) -> bytes:
    return json.dumps(compared).encode() + b"\n"


def _content(row: Row) -> tuple:
    return row["instruction"], row["response"], row["id"], _place(row)


def _place(row: Row) -> str:
    return f"{row['source_file']}, row {row['source_row']}" if row.get("source_file") else ""

"""The proof that test instructions do not leak from training, recomputed from the rows alone.

Nothing here knows how a split was made. Every tier compares every test row with every training row, exactly: what is
skipped is only what cannot change a figure of the proof (see overlap.py). Training rows are read as a stream; the test
rows are held in memory.

Anybody can check a proof: read the two files whose hashes it names, call `prove` with the parameters that it states,
and compare. The hashes are of what is compared, row by row in the order of the file: a JSON list of the normal form of
the instruction, of the response as it stands (training rows only) and of the group, one on a line. The order of the rows
changes those hashes and nothing else. A row leaks by tier

- exact: the normal forms of the two instructions are equal, or a test instruction of fewer than four words is a whole
  line of the other;
- near: the Jaccard similarity of their word shingles reaches the threshold, and they are not exact;
- group: both carry the same declared group;
- contained: of the test instruction's word n-grams, more than the declared share occur in the training rows, be it in
  instructions or in responses; an instruction too short for an n-gram counts as one (see containment.py);
- semantic: the cosine similarity of their sentence embeddings reaches the threshold, where that tier decides.

Leading or trailing lines that many rows of both sides share, such as a system message, are left out where instructions
are compared (see shared_text.py and `HeldOutIndex.near`).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from heapq import nlargest, nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sft_pipeline.artifacts import LeakageProof, LeakedPair
from sft_pipeline.dataset.arrays import Positions, group_starts
from sft_pipeline.dataset.duplicates.shared_text import SharedText, describe
from sft_pipeline.dataset.duplicates.shingles import shingle_sets
from sft_pipeline.dataset.leakage.batch import Batch, Row, blocks_of, training_text
from sft_pipeline.dataset.leakage.containment import Hits
from sft_pipeline.dataset.leakage.held_out_index import HeldOutIndex
from sft_pipeline.dataset.leakage.leak_search import TIERS
from sft_pipeline.dataset.leakage.overlap import Overlaps, longest_common_run
from sft_pipeline.dataset.leakage.training_data_hash import line
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.dataset.table import MATCHED
from sft_pipeline.dataset.text import normalise
from sft_pipeline.experiment import Data
from sft_pipeline.provenance import files

if TYPE_CHECKING:
    from sft_pipeline.dataset.leakage.semantic import Embed

NEAREST = 5
"""Most similar pairs of each tier that the proof shows."""

PROOF = "leakage_proof.json"
"""Name of the proof's file beside the rows of a split."""

FIRST = 64
"""Training rows after which only pairs are looked for that are as similar as the nearest so far."""


class Match(NamedTuple):
    """What comes nearest to a held-out row."""

    similarity: float
    row: Row


Best = dict[str, dict[int, Match]]
"""By tier and held-out row what comes nearest to it."""


class Found(NamedTuple):
    """What was found in some training rows."""

    best: Best
    present: Positions
    """N-grams of items that stand in any of them."""
    asked: Positions
    """Those that stand in an instruction."""


def _keep_best(found: dict[int, Match], held: int, similarity: float, row: Row) -> None:
    """Remember the most similar row; of equally similar ones the first by content, whichever came first."""
    best = found.get(held)
    if (
        best is None
        or similarity > best.similarity
        or (similarity == best.similarity and _content(row) < _content(best.row))
    ):
        found[held] = Match(similarity, row)


class Comparison:
    """Held-out rows against a stream of training rows; `proof` tells what was found so far."""

    def __init__(self, test_rows: Sequence[Row], data: Data, shared: SharedText, embed: "Embed | None" = None) -> None:
        """Start a comparison without training rows; the arguments are those of `prove`."""
        self._data, self._shared = data, shared
        self._index = HeldOutIndex(test_rows, data, shared, least=0.0, embed=embed)
        self._train_rows = 0
        self._train_hash, self._exact_hash, self._test_hash = (hashlib.sha256() for _ in range(3))
        for row in test_rows:
            self._test_hash.update(line(normalise(row["instruction"]), row["group"]))
        self._found: Best = {tier: {} for tier in TIERS}
        count = self._index.grams.count
        self._present, self._asked = np.zeros(count, bool), np.zeros(count, bool)
        """Which n-grams of items stand in any training row, and which in an instruction."""
        self._seen: dict[bytes, tuple] = {}
        self._has_looked = False

    def __getstate__(self) -> dict[str, Any]:
        """What `compare` needs in another process; a hash cannot go there."""
        return {name: value for name, value in self.__dict__.items() if not name.endswith("_hash")}

    def add(self, batch: Batch) -> None:
        """Compare the next training rows."""
        self.take(self.compare(batch), batch.lines, len(batch))

    def compare(self, batch: Batch) -> Found:
        """What is found in some training rows, in whichever process."""
        best: Best = {tier: {} for tier in TIERS}
        # The first rows show how similar the nearest are; below that, nothing is looked for in the others.
        for part in (batch,) if self._has_looked else (batch.part(0, FIRST), batch.part(FIRST, len(batch))):
            self._near(part, best)
            self._narrow(best)
        self._has_looked = True
        index, rows = self._index, batch.rows
        if index.groups:
            for row in rows:
                for held in index.groups.get(row["group"], ()):
                    _keep_best(best["group"], held, 1.0, row)
        present, asked = [], []
        for hits in index.grams.hits(batch.words, batch.asked):
            present.append(hits.gram)
            asked.append(hits.gram[hits.end <= batch.asked[hits.text]])
            self._contained(batch, hits, best["contained"])
        if index.vectors is not None and rows:
            cosines = index.cosines(batch)
            for held, largest in enumerate(cosines.max(axis=0)):
                for row in (cosines[:, held] == largest).nonzero()[0]:
                    _keep_best(best["semantic"], held, float(largest), rows[row])
        grams = (np.unique(np.concatenate([np.zeros(0, np.int64), *some])) for some in (present, asked))
        return Found(best, *grams)

    def take(self, found: Found, lines: tuple[bytes, bytes], rows: int) -> None:
        """Take in what `compare` has found in the next so many training rows, and what they add to the hashes."""
        self._train_hash.update(lines[0])
        self._exact_hash.update(lines[1])
        self._train_rows += rows
        self._present[found.present] = True
        self._asked[found.asked] = True
        for tier, matches in found.best.items():
            for held, (similarity, row) in matches.items():
                _keep_best(self._found[tier], held, similarity, row)

    def _near(self, batch: Batch, best: Best) -> None:
        for near in self._index.near(batch):
            # Of each held-out row the most similar ones.
            most = np.zeros(len(self._index.rows))
            np.maximum.at(most, near.held, near.similarity)
            wanted = (near.similarity == most[near.held]) | near.exact
            for row, held, similarity, exact in zip(*(column[wanted].tolist() for column in near)):
                _keep_best(best["near"], held, similarity, batch.rows[row])
                if exact:
                    _keep_best(best["exact"], held, 1.0, batch.rows[row])

    def _contained(self, batch: Batch, hits: Hits, best: dict[int, Match]) -> None:
        grams = self._index.grams
        starts = np.flatnonzero(group_starts(hits.text)) if len(hits.text) else np.zeros(0, np.int64)
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(hits.text)]):
            held_grams, row = hits.gram[start:end], batch.rows[int(hits.text[start])]
            key, content = held_grams.tobytes(), _content(row)
            # Rows of one template hold the same n-grams again and again.
            if key not in self._seen or content < self._seen[key]:
                self._seen[key] = content
                _, items = grams.holders(held_grams)
                for held, count in zip(*(column.tolist() for column in np.unique(items, return_counts=True))):
                    _keep_best(best, held, count / int(grams.sizes[held]), row)

    def _narrow(self, best: Best) -> None:
        """Look no longer for pairs that are neither near-duplicates nor among the nearest that will be shown."""
        largest = nlargest(NEAREST, (match.similarity for match in best["near"].values()))
        if len(largest) == NEAREST:
            least = min(largest[-1], self._data.duplicates.threshold)
            if least > self._index.overlaps.least:
                self._index.overlaps.raise_to(least)

    def _nearest(self, tier: str) -> list[int]:
        found = self._found[tier]
        return nsmallest(NEAREST, found, key=lambda position: (-found[position].similarity, position))

    def proof(self, against: str, not_compared: Sequence[str] = ()) -> LeakageProof:
        """The proof over the training rows that were added; `against` and `not_compared` are those of `prove`."""
        limits, near, index = self._data.leakage, self._data.duplicates, self._index
        semantic = limits.semantic
        total = index.grams.shares(np.flatnonzero(self._present))
        asked = (index.grams.shares(np.flatnonzero(self._asked)) > 0) & ~index.grams.short
        leaking = {
            "exact": list(self._found["exact"]),
            "near": [
                position
                for position, match in self._found["near"].items()
                if match.similarity >= near.threshold and position not in self._found["exact"]
            ],
            "group": list(self._found["group"]),
            "contained": np.flatnonzero(total > limits.max_contained_share).tolist(),
            "semantic": [
                position
                for position, match in self._found["semantic"].items()
                if semantic and match.similarity >= semantic.threshold
            ],
        }
        shown = [tier for tier in leaking if tier != "semantic" or (semantic and semantic.decides)]
        nearest = {tier: self._nearest(tier) for tier in ("near", "contained", "semantic")}
        return LeakageProof(
            against=against,
            train_rows=self._train_rows,
            test_rows=len(index.rows),
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
            contained=int(asked.sum()),
            contained_over_limit=len(leaking["contained"]),
            semantic=len(leaking["semantic"]) if semantic else None,
            semantic_model=index.embed.name if index.embed else "",
            semantic_threshold=semantic.threshold if semantic else None,
            semantic_decides=bool(semantic and semantic.decides),
            not_compared=(*self._not_looked_for(), *not_compared),
            leaks=tuple(self._pair(tier, p) for tier in shown for p in sorted(leaking[tier])),
            nearest=tuple(self._pair(tier, p) for tier, found in nearest.items() for p in found),
        )

    def _not_looked_for(self) -> Iterator[str]:
        if self._index.embed is None:
            yield "rephrased items, translated ones and the same problem with other numbers: the semantic tier is off"
        grams = self._index.grams
        if few := int((grams.sizes == 0).sum()):
            yield (
                f"{few} of the {len(self._index.rows)} test items inside longer lines: they have fewer than "
                f"{grams.shortest} words"
            )
        yield from describe(self._index.left_out, "test items")

    def _pair(self, tier: str, position: int) -> LeakedPair:
        match, test, text = self._found[tier][position], self._index.rows[position], self._index.texts[position]
        train_text = training_text(match.row) if tier == "contained" else match.row["instruction"]
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
    not_compared: Sequence[str] = (),
    shared: SharedText | None = None,
    embed: "Embed | None" = None,
    progress: Progress = silent,
) -> LeakageProof:
    """Compare every test instruction with every training row.

    Args:
        train_rows: rows (id, instruction, response, group) that the model may learn from.
        test_rows: rows (id, instruction, group) that it is judged on. Rows of both sides are any mappings with these
            fields; where they carry source_file and source_row, the pairs shown name them.
        data: duplicates (shingles, threshold) and leakage (containment, semantic) are the parameters.
        against: names of the two sides for the report, such as train+dev → test.
        not_compared: what else the reader of the proof must know was not looked at, such as columns that were not read.
        shared: what many rows of both sides share; None: it is learned from the two sides. An iterator is read once, and
            held in memory where this is to be learned from it.
        embed: sentence embeddings from `semantic.load`; needed where data.leakage.semantic is on.
        progress: called with the training rows compared.

    Returns:
        The counts of test rows per tier. `near` leaves out the rows that `exact` counts; `contained` is of the test
        items of at least an n-gram that share one with a training instruction, as published figures count. Whether an
        item is over the limit is decided by its n-grams that stand in the instruction or response of any training row;
        the similarity of a contained pair is the share that stands in the shown one alone.

    Raises:
        ValueError: data.leakage.semantic is on and `embed` is missing.
    """
    if iter(train_rows) is train_rows and shared is None:
        train_rows = list(train_rows)
    if shared is None:
        shared = SharedText.of(row["instruction"] for rows in (train_rows, test_rows) for row in rows)
    comparison = Comparison(test_rows, data, shared, embed)
    done = 0
    for rows in blocks_of(train_rows):
        comparison.add(Batch(rows, data, shared))
        progress("proof", done := done + len(rows), None)
    return comparison.proof(against, not_compared)


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
    overlaps = Overlaps(shingle_sets(test, n), least)
    for position, other, similarity in overlaps.matches(shingle_sets(train, n)):
        yield from zip(other.tolist(), position.tolist(), similarity.tolist())


def _content(row: Row) -> tuple:
    return row["instruction"], row["response"], row["id"], _place(row)


def _place(row: Row) -> str:
    return f"{row['source_file']}, row {row['source_row']}" if row.get("source_file") else ""

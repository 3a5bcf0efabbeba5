"""Which row goes to which side: by near-duplicate component, so that nothing nearly the same stands on two sides.

A component is a connected component of the near-duplicate graph of the instructions, with equal groups united, and
conversations in which a user asks the same; it is never divided. Its type is the commonest of its rows. Per type,
components are taken in the order of a salted hash of their text until the test split's share is full, then the dev split's; the rest is training data. So:

- the result depends on the rows, not on their order in the file;
- a row's place in the order never changes unless its component grows; rows that are added take places, and what they
  push out moves from test to dev and from dev to train. While sizes per type stay the same and components are single
  rows, no training row ever moves into dev or test.
"""

import hashlib
import pickle
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sft_pipeline.dataset import table
from sft_pipeline.dataset.arrays import Positions, group_starts
from sft_pipeline.dataset.duplicates.search import Components, components
from sft_pipeline.dataset.duplicates.shared_text import OwnCounts, SharedText
from sft_pipeline.dataset.duplicates.shingles import word_hashes
from sft_pipeline.dataset.duplicates.sketches import Choice, Sketch, Sketches
from sft_pipeline.dataset.leakage.batch import Forms
from sft_pipeline.dataset.leakage.held_out_index import HeldOutIndex
from sft_pipeline.dataset.parallel import Workers
from sft_pipeline.dataset.split.columns import Columns, read
from sft_pipeline.dataset.text import normalise
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Data, Split

Notes = dict[str, list[str]]
"""What a reader should know of each side."""


class Formed(NamedTuple):
    """A batch of instructions in the forms in which they are compared."""

    ranks: npt.NDArray[np.void]
    """Of each instruction a salted hash of its normal form."""
    own: OwnCounts
    whole_sets: Sketch
    own_sets: Sketch
    forms: Path
    """The file with the batch's `Forms`."""


def formed(texts: Sequence[str], data: Data, shared: SharedText, file: Path) -> Formed:
    """The forms of a batch, and `file` with what they are compared by."""
    whole, duplicates = word_hashes(texts), data.duplicates
    forms = Forms(texts, whole, shared, duplicates.ngram)
    file.write_bytes(pickle.dumps(forms, pickle.HIGHEST_PROTOCOL))
    ranks = [hashlib.sha256(f"{data.split.seed}\n{normalise(text)}".encode()).digest() for text in texts]
    return Formed(
        np.array(ranks, "V32"),
        forms.own_counts,
        Sketch.of_sets(forms.sets.take(np.arange(len(texts))), duplicates),
        Sketch.of(forms.own_words.apart(forms.own_counts.family), duplicates),
        file,
    )


def assign(
    columns: Columns,
    data: Data,
    batches: Iterable[Formed],
    shared: SharedText,
    work: Path,
    workers: Workers,
    unwanted: Collection[int] = (),
    test: bool = True,
) -> tuple[list[str], Notes]:
    """The side of each row, and notes on declared sizes that were not reached.

    Args:
        columns: the rows.
        data: the specification's data section.
        batches: the forms of all instructions.
        shared: what many rows have in common.
        work: folder for temporary files.
        workers: compare the sides.
        unwanted: positions of rows that neither dev nor train may hold: they do not count towards the dev split's size.
        test: whether a test split is taken; without it the rows are divided into dev and train only.
    """
    choice, sketches, ranks, files, start = Choice(), Sketches(work / "instructions"), [], [], 0
    for batch in batches:
        choice.add(len(batch.ranks), batch.own)
        sketches.add(batch.whole_sets)
        sketches.add(batch.own_sets)
        ranks.append(batch.ranks)
        files.append((start, batch.forms))
        start += len(batch.ranks)
    united = components(sketches.prepared(choice.made()[0]), columns.groups, data.duplicates)
    del sketches
    for one, other in columns.sharing_questions(data.leakage.containment_ngram):
        united.unite(one, other)
    order = _order(ranks)
    while True:
        sides, notes = _by_hash(columns, order, united, data.split, frozenset(unwanted), test)
        crossing = _crossing(columns, files, sides, data, shared, workers)
        if not crossing:
            return sides, notes
        # The LSH misses a pair in some thousands; what it missed is found here by exact comparison, and united.
        for a, b in crossing:
            united.unite(a, b)


def assign_file(rows: Path, data: Data, *, test: bool = True) -> list[str]:
    """The side of each row of a table of rows, in this process; the rest is as in `assign`."""
    columns, n = read(rows), table.group_count(rows)
    with TemporaryDirectory() as folder, Workers(1, n) as workers:
        work = Path(folder)
        texts = [table.read_group(rows, group, ("instruction",))["instruction"].to_pylist() for group in range(n)]
        shared = SharedText.of(text for some in texts for text in some)
        batches = (formed(some, data, shared, work / f"forms-{group}") for group, some in enumerate(texts))
        return assign(columns, data, batches, shared, work, workers, test=test)[0]


def _order(ranks: Sequence[npt.NDArray[np.void]]) -> Positions:
    """For each row the place of its instruction in the order of the hashes; equal for equal instructions."""
    if not ranks:
        return np.zeros(0, np.int64)
    words = np.concatenate(ranks).view(">u8").reshape(-1, 4).astype(np.uint64)
    order = np.lexsort(words.T[::-1])
    place = np.empty(len(order), np.int64)
    place[order] = np.cumsum(group_starts(*words[order].T)) - 1
    return place


def _crossing(
    columns: Columns,
    files: Sequence[tuple[int, Path]],
    sides: Sequence[str],
    data: Data,
    shared: SharedText,
    workers: Workers,
) -> list[tuple[int, int]]:
    """Near-duplicate pairs that stand on two sides, by exact comparison."""
    lexical = data.model_copy(update={"leakage": data.leakage.model_copy(update={"semantic": None})})
    indices = {}
    for side in ("test", "dev"):
        here = [p for p, other in enumerate(sides) if other == side]
        columns.texts.hold(here)
        rows = [{"id": p, "instruction": columns.texts[p], "group": None} for p in here]
        indices[side] = HeldOutIndex(rows, lexical, shared, data.duplicates.threshold)
    found: dict[str, list[tuple[int, int]]] = {side: [] for side in indices}
    for (start, _), near in zip(files, workers.map(_resembling, (file for _, file in files), indices)):
        for side, pairs in near.items():
            others = ("train", "dev") if side == "test" else ("train",)
            found[side] += [(held, start + row) for row, held in pairs if sides[start + row] in others]
    return [pair for pairs in found.values() for pair in pairs]


def _resembling(file: Path, indices: Mapping[str, HeldOutIndex]) -> dict[str, list[tuple[int, int]]]:
    """Rows of a batch and the positions of rows of each side that they resemble."""
    forms: Forms = pickle.loads(file.read_bytes())
    return {
        side: [
            (row, index.rows[held]["id"])
            for near in index.resembling(forms)
            for row, held in zip(near.row.tolist(), near.held.tolist())
        ]
        for side, index in indices.items()
    }


class _Components(NamedTuple):
    """Rows that stay together, in the order of their ranks; equal instructions have equal ranks and are one item."""

    label: Positions
    """The smallest row of each."""
    type: npt.NDArray[np.int64]
    """The number of its commonest type."""
    items: dict[str, Positions]
    """How many items each would be for the test and for the dev split."""


def _components(labels: Positions, ranks: Positions, types: Positions, unwanted: Collection[int]) -> _Components:
    label, of = np.unique(labels, return_inverse=True)
    count = len(label)
    least = np.full(count, len(ranks))
    np.minimum.at(least, of, ranks)
    items = {}
    for side, out in (("test", ()), ("dev", unwanted)):
        wanted = np.ones(len(of), bool)
        wanted[np.fromiter(out, np.int64, len(out))] = False
        pairs = np.unique(of[wanted] * len(ranks) + ranks[wanted])
        items[side] = np.bincount(pairs // max(1, len(ranks)), minlength=count)
    # The commonest type, of equally common ones the first by name.
    kinds = int(types.max(initial=0)) + 1
    pairs, number = np.unique(of * kinds + types, return_counts=True)
    component, kind = np.divmod(pairs, kinds)
    best = np.lexsort((kind, -number, component))
    best = best[group_starts(component[best])] if len(best) else best
    order = np.argsort(least)
    return _Components(label[order], kind[best][order], {side: found[order] for side, found in items.items()})


def _by_hash(
    columns: Columns, ranks: Positions, united: Components, split: Split, unwanted: frozenset[int], test: bool
) -> tuple[list[str], Notes]:
    names = sorted(set(columns.types))
    number = {name: at for at, name in enumerate(names)}
    labels = united.labels(np.arange(len(ranks)))
    types = np.fromiter((number[name] for name in columns.types), np.int64, len(ranks))
    found = _components(labels, ranks, types, unwanted)
    strata = {name: np.flatnonzero(found.type == at) for at, name in enumerate(names)}
    strata = {name: members for name, members in strata.items() if len(members)}
    available = {
        side: {name: int(items[members].sum()) for name, members in strata.items()}
        for side, items in found.items.items()
    }
    quotas = {"test": _test_quotas(available["test"], split)} if test else {}
    quotas["dev"] = _shares(split.dev_size, available["dev"])
    side_of = dict[int, str]()  # by label
    notes: Notes = {}
    for name, members in strata.items():
        rest = members
        for side in quotas:
            missing, taken = quotas[side][name], []
            for at, size in enumerate(found.items[side][rest].tolist()):
                if not missing:
                    break
                if size <= missing:  # a component of unwanted rows alone has no items
                    missing -= size
                    taken.append(at)
            side_of |= dict.fromkeys(found.label[rest[taken]].tolist(), side)
            rest = np.delete(rest, taken)
            if missing:
                largest, examples = 0, ""
                if len(rest):
                    at = int(found.items[side][rest].argmax())
                    largest = int(found.items[side][rest[at]])
                    rows = np.flatnonzero(labels == found.label[rest[at]])[:2].tolist()
                    examples = f" (such as {' and '.join(repr(columns.texts[p][:60]) for p in rows)})"
                notes.setdefault(side, []).append(
                    f"{quotas[side][name] - missing} of {quotas[side][name]} items of type {name!r}; "
                    f"the largest component left has {largest} rows and is not divided{examples}"
                )
    return [side_of.get(label, "train") for label in labels.tolist()], notes


def _test_quotas(available: Mapping[str, int], split: Split) -> dict[str, int]:
    """Test items per type: the declared numbers, and the rest in proportion to the rows of the other types."""
    for type, wanted in split.test_size_by_type.items():
        if available.get(type, 0) <= wanted:
            raise DataError(
                f"data.split.test_size_by_type asks for {wanted} test items of type {type!r}, and the clean data "
                f"hold {available.get(type, 0)} (types: {', '.join(available)}); lower the number or add rows"
            )
    rest = split.test_size - sum(split.test_size_by_type.values())
    others = {type: count for type, count in available.items() if type not in split.test_size_by_type}
    return {**_shares(rest, others), **split.test_size_by_type}


def _shares(total: int, counts: Mapping[str, int]) -> dict[str, int]:
    """`total` divided in proportion to `counts` by largest remainders."""
    everything = sum(counts.values())
    if not everything:
        return dict.fromkeys(counts, 0)
    exact = {name: total * count / everything for name, count in counts.items()}
    shares = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (shares[name] - exact[name], name))
    for name in by_remainder[: total - sum(shares.values())]:
        shares[name] += 1
    return shares

"""Which row goes to which side: by near-duplicate component, so that nothing nearly the same stands on two sides.

A component is a connected component of the near-duplicate graph of the instructions, with equal groups united; it is
never divided. Its type is the commonest of its rows. Per type, components are taken in the order of a salted hash of
their text until the test split's share is full, then the dev split's; the rest is training data. So:

- the result depends on the rows, not on their order in the file;
- a row's place in the order never changes unless its component grows; rows that are added take places, and what they
  push out moves from test to dev and from dev to train. While sizes per type stay the same and components are single
  rows, no training row ever moves into dev or test.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sft_pipeline.dataset.duplicates.arrays import bounds_of
from sft_pipeline.dataset.duplicates.search import Components, components
from sft_pipeline.dataset.duplicates.shared_text import SharedText, comparable, gathered
from sft_pipeline.dataset.duplicates.shingles import ShingleSets, joined, word_hashes
from sft_pipeline.dataset.leakage.batch import BLOCK, Forms
from sft_pipeline.dataset.leakage.held_out_index import HeldOutIndex
from sft_pipeline.dataset.text import normalise
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Data, Split
from sft_pipeline.provenance.hashing import hash_bytes

Notes = dict[str, list[str]]
"""What a reader should know of each side."""


class Columns(NamedTuple):
    """The columns that decide a split, of all rows in their order."""

    ids: list[str]
    texts: list[str]
    types: list[str]
    groups: list[str | None]

    def rows(self, positions: Collection[int]) -> list[dict[str, Any]]:
        """The rows at `positions` as the leakage proof takes them."""
        return [{"id": self.ids[p], "instruction": self.texts[p], "group": self.groups[p]} for p in positions]


def assign(
    columns: Columns,
    data: Data,
    unwanted: Collection[int] = (),
    test: bool = True,
    shared: SharedText | None = None,
) -> tuple[list[str], Notes]:
    """The side of each row, and notes on declared sizes that were not reached.

    Args:
        columns: the rows.
        data: the specification's data section.
        unwanted: positions of rows that neither dev nor train may hold: they do not count towards the dev split's size.
        test: whether a test split is taken; without it the rows are divided into dev and train only.
        shared: what many rows have in common; None: it is learned from these.
    """
    n, shared = data.duplicates.ngram, shared or SharedText.of(columns.texts)
    forms = [
        Forms(some, word_hashes(some), shared, n)
        for some in (columns.texts[start : start + BLOCK] for start in range(0, len(columns.texts), BLOCK))
    ]
    united = components(_sets(forms, n), columns.groups, data.duplicates)
    ranks = [hash_bytes(f"{data.split.seed}\n{normalise(text)}".encode()) for text in columns.texts]
    while True:
        sides, notes = _by_hash(columns, ranks, united, data.split, frozenset(unwanted), test)
        crossing = _crossing(columns, forms, sides, data, shared)
        if not crossing:
            return sides, notes
        # The LSH misses a pair in some thousands; what it missed is found here by exact comparison, and united.
        for a, b in crossing:
            united.unite(a, b)


def _sets(forms: Sequence[Forms], ngram: int) -> ShingleSets:
    """The sets by which near-duplicates are found, of all rows."""
    starts = bounds_of(np.array([len(some) for some in forms], np.int64)).tolist()
    own = gathered([some.own_words._replace(at=some.own_words.at + start) for some, start in zip(forms, starts)])
    whole = joined(some.sets.take(np.arange(len(some))) for some in forms)
    return comparable(whole, own, ngram)[0]


def _crossing(
    columns: Columns, forms: Sequence[Forms], sides: Sequence[str], data: Data, shared: SharedText
) -> list[tuple[int, int]]:
    """Near-duplicate pairs that stand on two sides, by exact comparison."""
    lexical = data.model_copy(update={"leakage": data.leakage.model_copy(update={"semantic": None})})
    found = []
    for side in ("test", "dev"):
        here = [p for p, other in enumerate(sides) if other == side]
        rows = [{"id": p, "instruction": columns.texts[p], "group": None} for p in here]
        index = HeldOutIndex(rows, lexical, shared, data.duplicates.threshold)
        others = ("train", "dev") if side == "test" else ("train",)
        for block, some in enumerate(forms):
            for near in index.resembling(some):
                for row, held in zip(near.row.tolist(), near.held.tolist()):
                    position = block * BLOCK + row
                    if sides[position] in others:
                        found.append((index.rows[held]["id"], position))
    return found


class _Component(NamedTuple):
    """Rows that stay together; equal instructions have equal ranks and are one item."""

    rank: str
    test_items: int
    dev_items: int
    rows: list[int]

    def items(self, side: str) -> int:
        return self.test_items if side == "test" else self.dev_items


def _by_hash(
    columns: Columns, ranks: Sequence[str], united: Components, split: Split, unwanted: frozenset[int], test: bool
) -> tuple[list[str], Notes]:
    strata: dict[str, list[_Component]] = {}
    for members in united.members():
        if len(members) == 1:  # most are
            (p,) = members
            strata.setdefault(columns.types[p], []).append(_Component(ranks[p], 1, int(p not in unwanted), members))
            continue
        counts = Counter(columns.types[p] for p in members)
        type = min(counts, key=lambda name: (-counts[name], name))
        test_items, dev_items = ({ranks[p] for p in members if p not in out} for out in ((), unwanted))
        rank = min(test_items)
        strata.setdefault(type, []).append(_Component(rank, len(test_items), len(dev_items), members))
    available = {
        side: {type: sum(c.items(side) for c in found) for type, found in sorted(strata.items())}
        for side in ("test", "dev")
    }
    quotas = {"test": _test_quotas(available["test"], split)} if test else {}
    quotas["dev"] = _shares(split.dev_size, available["dev"])
    sides = ["train"] * len(ranks)
    notes: Notes = {}
    for type, found in sorted(strata.items()):
        rest = sorted(found)
        for side in quotas:
            missing = quotas[side][type]
            left: list[_Component] = []
            for component in rest:
                if missing and component.items(side) <= missing:  # a component of unwanted rows alone has no items
                    missing -= component.items(side)
                    for position in component.rows:
                        sides[position] = side
                else:
                    left.append(component)
            if missing:
                largest = max(left, key=lambda component: component.items(side), default=_Component("", 0, 0, []))
                examples = " and ".join(repr(columns.texts[p][:60]) for p in largest.rows[:2])
                notes.setdefault(side, []).append(
                    f"{quotas[side][type] - missing} of {quotas[side][type]} items of type {type!r}; "
                    f"the largest component left has {largest.items(side)} rows and is not divided"
                    f"{f' (such as {examples})' if examples else ''}"
                )
            rest = left
    return sides, notes


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

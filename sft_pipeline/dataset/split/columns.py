"""What of the clean rows decides a split: id, type and group of each, and the instructions that somebody asks for."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from sft_pipeline.dataset import table
from sft_pipeline.dataset.split.turns import questions, turn_items
from sft_pipeline.provenance.hashing import hash_bytes


class Texts:
    """The instructions of a file by position; what was read once is held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends = list(accumulate(table.group_sizes(path)))
        self._held: dict[int, str] = {}

    def hold(self, positions: Iterable[int]) -> None:
        """Read those at `positions`, each batch once."""
        missing = sorted({position for position in positions if position not in self._held})
        for here, rows in self.rows(missing, ("instruction",)):
            self._held |= zip(here, rows["instruction"].to_pylist())

    def rows(
        self, positions: Iterable[int], columns: Sequence[str] | None = None
    ) -> Iterator[tuple[list[int], pa.Table]]:
        """The rows at `positions`, which ascend, batch by batch."""
        for group, some in groupby(positions, lambda position: bisect_right(self._ends, position)):
            start, here = self._ends[group - 1] if group else 0, list(some)
            rows = table.read_group(self.path, group, columns)
            yield here, rows.take(pa.array([position - start for position in here]))

    def __getitem__(self, position: int) -> str:
        if position not in self._held:
            self.hold([position])
        return self._held[position]


class Columns(NamedTuple):
    """The columns that decide a split, of all rows in their order."""

    ids: list[str]
    texts: Texts
    types: list[str]
    groups: list[str | None]

    def rows(self, positions: Collection[int]) -> list[dict[str, Any]]:
        """The rows at `positions` as the leakage proof takes them."""
        self.texts.hold(positions)
        return [{"id": self.ids[p], "instruction": self.texts[p], "group": self.groups[p]} for p in positions]

    def test_items(self, positions: Collection[int]) -> list[dict[str, Any]]:
        """The same of the test split, in which each answer of a conversation is an item."""
        if table.row_schema(self.texts.path) is table.ROW:
            return self.rows(positions)
        return list(turn_items(row for _, some in self.texts.rows(sorted(positions)) for row in some.to_pylist()))

    def sharing_questions(self, least: int) -> Iterator[tuple[int, int]]:
        """Pairs of positions of conversations in which a user asks the same, anywhere, in at least `least` words."""
        if table.row_schema(self.texts.path) is table.TALK:
            first: dict[str, int] = {}
            for position, question in self.questions(least):
                other = first.setdefault(hash_bytes(question.encode())[:32], position)
                if other != position:
                    yield other, position

    def questions(self, least: int) -> Iterator[tuple[int, str]]:
        """What is asked in at least `least` words, with the position of the row."""
        names = [name for name in table.asked(self.texts.path) if name in ("instruction", "conversation")]
        rows = (row for batch in table.batches(self.texts.path, names) for row in batch)
        for position, row in enumerate(rows):
            for question in questions(row, least):
                yield position, question


def read(path: Path) -> Columns:
    """The columns of a table of rows."""
    columns = Columns([], Texts(path), [], [])
    names: dict[str, str] = {}  # one string for all rows of a type
    for batch in table.batches(path, ("id", "group", "type")):
        columns.ids.extend(row["id"] for row in batch)
        columns.types.extend(names.setdefault(row["type"], row["type"]) for row in batch)
        columns.groups.extend(row["group"] for row in batch)
    return columns

"""Clusters of duplicates on three levels, and the table that lists each with its kept member and the reasons."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sft_pipeline.artifacts import DuplicateClusters
from sft_pipeline.dataset import table
from sft_pipeline.dataset.arrays import Positions

KEPT, ALIKE, ALIKE_INSTRUCTION, COPY, OTHER_RESPONSE, NEAR, NEAR_INSTRUCTION = range(7)
"""What becomes of a row: the first three stay, two of them although they resemble another."""

NAMES = {
    COPY: "exact_duplicate",
    OTHER_RESPONSE: "other_response",
    NEAR: "near_duplicate",
    NEAR_INSTRUCTION: "near_duplicate_instruction",
}
"""What the rows that go are counted as."""


class Level(NamedTuple):
    """The rows that were compared on one level, each with what was found."""

    name: Literal["exact", "pair", "instruction"]
    row: Positions  # position in the source, ascending
    cluster: Positions  # equal for the rows of one cluster
    of: Positions  # position in the source of the kept row that it resembles most; its own where there is none
    similarity: npt.NDArray[np.float64]
    outcome: npt.NDArray[np.int8]

    def summary(self) -> DuplicateClusters:
        """How many clusters of two rows and more there are, and how many rows in them."""
        sizes = np.unique(self.cluster, return_counts=True)[1]
        sizes = sizes[sizes > 1]
        return DuplicateClusters(
            level=self.name,
            clusters=len(sizes),
            rows=int(sizes.sum()),
            largest=int(sizes.max(initial=0)),
            dropped=int((self.outcome >= COPY).sum()),
        )

    def members(self) -> tuple[Positions, Positions]:
        """Indices of the rows in clusters of two and more, cluster by cluster, and the number of each one's cluster."""
        _, first, of, sizes = np.unique(self.cluster, return_index=True, return_inverse=True, return_counts=True)
        rank = np.empty(len(first), np.int64)  # clusters by the place of their first row
        several = np.flatnonzero(sizes > 1)
        rank[several[np.argsort(first[several])]] = np.arange(len(several))
        rows = np.flatnonzero(sizes[of] > 1)
        rows = rows[np.argsort(rank[of[rows]], kind="stable")]
        return rows, rank[of[rows]]


def write(levels: tuple[Level, ...], source: Path, path: Path) -> None:
    """Write the table of duplicates.

    Args:
        levels: what was found, in the order in which it is listed.
        source: the Parquet file (table.ROW) whose rows the levels count.
        path: file to write, with the schema table.DUPLICATE: level by level, cluster by cluster, in source order.
    """
    identity = pq.read_table(source, columns=["id", "source_file", "source_row"])
    with table.Writer(path, table.DUPLICATE) as writer:
        for level in levels:
            rows, clusters = level.members()
            opens = np.diff(clusters, prepend=-1) > 0
            for start in range(0, len(rows), table.BATCH):
                part = slice(start, start + table.BATCH)
                for row in _rows(level, rows[part], clusters[part], opens[part], identity):
                    writer.add(row)


def _rows(
    level: Level, some: Positions, clusters: Positions, opens: npt.NDArray[np.bool_], identity: pa.Table
) -> Iterator[dict[str, Any]]:
    itself, kept = (identity.take(rows[some]).to_pylist() for rows in (level.row, level.of))
    figures = zip(*(c.tolist() for c in (clusters, opens, level.similarity[some], level.outcome[some])))
    for row, other, (cluster, first, similarity, outcome) in zip(itself, kept, figures):
        if outcome == KEPT:
            reason = "kept: the first of its cluster" if first else "kept: like no kept row before it"
        else:
            reason = reason_against(outcome, similarity, other)
        yield {
            **row,
            "level": level.name,
            "cluster": cluster,
            "kept": outcome < COPY,
            "similarity": None if outcome == KEPT else similarity,
            "reason": reason,
        }


def reason_against(outcome: int, similarity: float, kept: Mapping[str, Any]) -> str:
    """Why a row is a duplicate of the row `kept`, in a sentence."""
    row = f"the kept row {kept['id']} ({kept['source_file']}, row {kept['source_row']})"
    return _REASONS[outcome].format(similarity=similarity, row=row)


_REASONS = {
    ALIKE: "similarity {similarity:.3f} to {row}: both stay, since the instruction alone decides",
    ALIKE_INSTRUCTION: "similarity {similarity:.3f} of the instruction to that of {row}: both stay, on one side of a "
    "split",
    COPY: "the same instruction and response as {row}",
    OTHER_RESPONSE: "the same instruction, with another response, as {row}",
    NEAR: "similarity {similarity:.3f} to {row}",
    NEAR_INSTRUCTION: "similarity {similarity:.3f} of the instruction to that of {row}",
}

"""The quality manifest: lengths gathered batch by batch, sample rows of every rejection, and the file itself."""

import hashlib
import heapq
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sft_pipeline.artifacts import LengthDistribution, QualityManifest, RejectedSample
from sft_pipeline.report import excerpt

BINS = 30
"""Most bins of a histogram."""


class Lengths:
    """Lengths of several texts, as counts of each length: the memory depends on the longest text, not on the rows."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[int]] = {}

    def add(self, name: str, values: Sequence[int]) -> None:
        """Take in the lengths of one more batch.

        Args:
            name: what was measured and in which unit, such as response_tokens.
            values: a length per row.
        """
        self._counts.setdefault(name, Counter()).update(values)

    def distributions(self) -> tuple[LengthDistribution, ...]:
        """The distribution of each name that has any lengths, in the order in which the names came."""
        return tuple(_distribution(name, counts) for name, counts in self._counts.items() if counts)


def _distribution(name: str, counts: Counter[int]) -> LengthDistribution:
    ordered = sorted(counts.items())
    rows = counts.total()
    edges, binned = _histogram(ordered, _ranked(ordered, math.ceil(0.99 * rows)))
    return LengthDistribution(
        name=name,
        median=(_ranked(ordered, (rows + 1) // 2) + _ranked(ordered, rows // 2 + 1)) / 2,
        mean=round(sum(value * count for value, count in ordered) / rows, 3),
        p95=_ranked(ordered, -(-95 * rows // 100)),  # nearest rank
        largest=ordered[-1][0],
        edges=edges,
        counts=binned,
    )


def _ranked(ordered: Sequence[tuple[int, int]], rank: int) -> float:
    """The value of rank `rank`, from 1, where each value stands as often as its count says."""
    totals = accumulate(count for _, count in ordered)
    return float(next(value for (value, _), total in zip(ordered, totals) if total >= rank))


def _histogram(ordered: Sequence[tuple[int, int]], most: float) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Bins of equal width up to the 99th percentile `most`, and one for the hundredth of the rows above it.

    Lengths have long tails: bins of equal width over all of them would put nearly every row into the first.
    """
    least, largest = ordered[0][0], ordered[-1][0]
    width = math.ceil((int(most) - least + 1) / (BINS - 1))
    edges = [*range(least, int(most) + 1, width)]
    edges.append(edges[-1] + width)
    if largest >= edges[-1]:
        edges.append(max(largest + 1, edges[-1] + width))
    counts = [0] * (len(edges) - 1)
    for value, count in ordered:
        counts[min((value - least) // width, len(counts) - 1)] += count
    return tuple(map(float, edges)), tuple(counts)


def samples(rejected: Path, per_filter: int = 5) -> tuple[RejectedSample, ...]:
    """Sample rows of each filter, in the order of the filters' names.

    The rows with the smallest hashes are taken: a random sample that does not change from run to run, and hardly when
    rows are added. The texts are read of the chosen rows only, and cut to the matched text.

    Args:
        rejected: a table of rejected rows (table.REJECTED).
        per_filter: rows of each filter, at most.
    """
    with pq.ParquetFile(rejected) as file:
        chosen = _chosen(file, per_filter)
        found = {position: _sample(row) for position, row in _rows(file, set(chosen))}
    return tuple(found[position] for position in chosen)


def _rows(file: pq.ParquetFile, positions: set[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows at `positions`; row groups without any are not read, the others in small batches: rows can be large."""
    first = 0
    for group in range(file.num_row_groups):
        end = first + file.metadata.row_group(group).num_rows
        if positions.isdisjoint(range(first, end)):
            first = end
            continue
        for batch in file.iter_batches(256, row_groups=[group]):
            wanted = [i for i in range(len(batch)) if first + i in positions]
            rows = batch.take(pa.array(wanted, pa.int64())).to_pylist()
            yield from zip((first + i for i in wanted), rows)
            first += len(batch)


def _chosen(file: pq.ParquetFile, per_filter: int) -> list[int]:
    """Positions of the sample rows, filter by filter."""
    smallest: dict[str, list[tuple[int, int]]] = defaultdict(list)  # heaps of (-hash, position): the largest first
    position = 0
    for batch in file.iter_batches(columns=["filter", "id", "source_file", "source_row"]):
        columns = (batch.column(name).to_pylist() for name in ("filter", "id", "source_file", "source_row"))
        for name, id, source_file, source_row in zip(*columns):
            # The id alone would draw all copies of a row together.
            identity = f"{id or source_file}\n{source_row}".encode()
            entry = (-int.from_bytes(hashlib.sha256(identity).digest()[:8]), position)
            heap = smallest[name]
            if len(heap) < per_filter:
                heapq.heappush(heap, entry)
            elif entry > heap[0]:
                heapq.heapreplace(heap, entry)
            position += 1
    return [position for name in sorted(smallest) for _, position in sorted(smallest[name], reverse=True)]


def _sample(row: Mapping[str, Any]) -> RejectedSample:
    return RejectedSample(
        filter=row["filter"],
        reason=excerpt.cut(row["reason"]),
        matched=row["matched"],
        instruction=excerpt.cut(row["instruction"] or "", row["matched"]),
        response=excerpt.cut(row["response"] or "", row["matched"]),
        source_file=row["source_file"],
        source_row=row["source_row"],
    )


def write(manifest: QualityManifest, out: Path) -> None:
    """Write manifest.json to the folder `out`; the same manifest gives the same bytes."""
    text = json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
    (out / "manifest.json").write_text(text + "\n", "utf-8")

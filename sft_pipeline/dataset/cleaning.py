"""From raw rows to clean ones: the filters, then exact and near-duplicates; every dropped row with its reason."""

import statistics as figures
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset, Threshold
from sft_pipeline.dataset import duplicates, filters, table
from sft_pipeline.dataset.text import normalise, words
from sft_pipeline.experiment import Data, Quality

CountTokens = Callable[[Sequence[str]], list[int]]

Row = Mapping[str, Any]


def clean(
    raw: InstructionDataset, data: Data, out: Path, count_tokens: CountTokens | None = None
) -> InstructionDataset:
    """Drop what does not satisfy the quality section, keep one row of each set of duplicates, and take the figures.

    Args:
        raw: dataset of stage "raw".
        data: the specification's data section.
        out: existing folder for rows.parquet and rejected.parquet.
        count_tokens: number of tokens of each text, by the experiment's tokenizer; without it no token figures are
            taken and a threshold in tokens is not judged.

    Returns:
        The dataset of stage "clean". Its rows and its rejected rows together are the raw rows. Thresholds that did not
        hold are recorded, not raised: whether to go on is decided by what consumes the dataset.
    """
    rows = table.read_table(raw.path(raw.ROWS))
    dropped, hits = _filtered(rows, data.quality)
    rest = [i for i in range(len(rows)) if i not in dropped]
    dropped |= _exact(rows, rest)
    rest = [i for i in rest if i not in dropped]
    pairs = [f"{rows[i]['instruction']}\n{rows[i]['response']}" for i in rest]
    for position, (kept, similarity) in duplicates.copies(pairs, data.duplicates).items():
        dropped[rest[position]] = _duplicate("near_duplicate", rows[rest[kept]], f"similarity {similarity:.3f} to")
    kept_rows = [row for i, row in enumerate(rows) if i not in dropped]
    rejected = [table.rejected_row(rows[i], *dropped[i]) for i in sorted(dropped)]
    table.write_table(kept_rows, table.ROW, out / InstructionDataset.ROWS)
    table.write_table(rejected, table.REJECTED, out / InstructionDataset.REJECTED)
    statistics = _statistics(kept_rows, count_tokens)
    notes = ()
    if data.quality.max_median_response_tokens and count_tokens is None:
        notes = ("max_median_response_tokens was not judged: there is no tokenizer to count with",)
    return InstructionDataset.seal(
        out,
        stage="clean",
        rows=len(kept_rows),
        rejected=dict(sorted(Counter(row["filter"] for row in rejected).items())),
        types=dict(sorted(Counter(row["type"] for row in kept_rows).items())),
        source=raw.source,
        source_schema=raw.source_schema,
        statistics=statistics,
        thresholds=_thresholds(raw, kept_rows, hits, statistics, data.quality),
        notes=notes,
    )


# position → (filter, reason, matched text)
_Dropped = dict[int, tuple[str, str, str]]


def _filtered(rows: Sequence[Row], quality: Quality) -> tuple[_Dropped, Counter[str]]:
    """The rows that a filter drops, by the first that does, and how many rows each filter objects to."""
    continuations = filters.Continuations(rows)
    dropped: _Dropped = {}
    hits: Counter[str] = Counter()
    for i, row in enumerate(rows):
        found = [(f.__name__, hit) for f in filters.FILTERS if (hit := f(row, quality, continuations))]
        hits.update(name for name, _ in found)
        if found:
            name, hit = found[0]
            also = f" (also: {', '.join(other for other, _ in found[1:])})" if found[1:] else ""
            dropped[i] = (name, hit.reason + also, hit.matched)
    return dropped, hits


def _exact(rows: Sequence[Row], rest: Sequence[int]) -> _Dropped:
    """Rows whose instruction stood before: with the same response a duplicate, with another one a conflict."""
    dropped: _Dropped = {}
    first: dict[str, int] = {}
    for i in rest:
        kept = first.setdefault(normalise(rows[i]["instruction"]), i)
        if kept == i:
            continue
        if normalise(rows[i]["response"]) == normalise(rows[kept]["response"]):
            dropped[i] = _duplicate("exact_duplicate", rows[kept], "the same instruction and response as")
        else:
            dropped[i] = _duplicate("other_response", rows[kept], "the same instruction, with another response, as")
    return dropped


def _duplicate(name: str, kept: Row, relation: str) -> tuple[str, str, str]:
    reason = f"{relation} the kept row {kept['id']} ({kept['source_file']}, row {kept['source_row']})"
    return name, reason, kept["instruction"]


def _statistics(rows: Sequence[Row], count_tokens: CountTokens | None) -> dict[str, float]:
    """Rows, unique instructions, and median, mean and 95th percentile of the lengths."""
    found: dict[str, float] = {
        "rows": len(rows),
        "unique_instructions": len({normalise(row["instruction"]) for row in rows}),
    }
    for field in ("instruction", "response") if rows else ():
        texts = [row[field] for row in rows]
        found |= _lengths(f"{field}_words", [len(words(text)) for text in texts])
        if count_tokens:
            found |= _lengths(f"{field}_tokens", count_tokens(texts))
    return found


def _lengths(name: str, values: Sequence[int]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        f"{name}_median": float(figures.median(ordered)),
        f"{name}_mean": round(figures.fmean(ordered), 3),
        f"{name}_p95": float(ordered[-(-95 * len(ordered) // 100) - 1]),  # nearest rank
        f"{name}_max": float(ordered[-1]),
    }


def _thresholds(
    raw: InstructionDataset, kept: Sequence[Row], hits: Counter[str], statistics: Mapping[str, float], quality: Quality
) -> tuple[Threshold, ...]:
    unreadable = raw.rejected.get("unreadable", 0)
    with_delimiter = sum(
        marker in row["instruction"] or marker in row["response"] for row in kept for marker in quality.delimiters
    )
    limits = [
        ("unreadable_share", unreadable / (raw.rows + unreadable), quality.max_unreadable_share, "at most"),
        ("runaway_share", hits["runaway"] / raw.rows, quality.max_runaway_share, "at most"),
        ("truncated_share", hits["truncated"] / raw.rows, quality.max_truncated_share, "at most"),
        ("kept_share", len(kept) / raw.rows, quality.min_kept_share, "at least"),
        ("delimiters_in_kept_rows", with_delimiter, 0, "at most"),
    ]
    median = statistics.get("response_tokens_median")
    if quality.max_median_response_tokens and median is not None:
        limits.append(("median_response_tokens", median, quality.max_median_response_tokens, "at most"))
    return tuple(Threshold(name=n, value=round(v, 6), limit=limit, direction=d) for n, v, limit, d in limits)

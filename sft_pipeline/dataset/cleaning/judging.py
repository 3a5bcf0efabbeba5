"""The pass over all raw rows that applies the filters, and the verdicts that it leaves for the pass that writes."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from sft_pipeline.dataset import table
from sft_pipeline.dataset.filters import Filter, Hit, Row
from sft_pipeline.provenance.hashing import canonical_json

CountTokens = Callable[[Sequence[str]], list[int]]
"""Number of tokens of each text, by the experiment's tokenizer."""

Criticise = Callable[[Sequence[Row]], list[dict[str, dict[str, Any]]]]
"""For each row the verdict of each critic."""

_FIELDS = ("instruction", "response")

_VERDICT = pa.schema(
    [
        pa.field("filter", pa.string()),  # None where no filter matches
        pa.field("reason", pa.string()),
        pa.field("matched", pa.string()),
        pa.field("critics", pa.string()),
        *(pa.field(f"{field}_{unit}", pa.int64()) for unit in ("words", "tokens") for field in _FIELDS),
    ]
)


class Judging:
    """Judges rows batch by batch and keeps the verdicts in a file, a row for each: memory does not grow with them.

    A context manager; `verdicts` can be read when the block has ended.
    """

    def __init__(self, file: Path, count_tokens: CountTokens | None, criticise: Criticise | None) -> None:
        self.matched: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._judged: Counter[str] = Counter()
        self._accepted: Counter[str] = Counter()
        self._file = file
        self._count_tokens = count_tokens
        self._criticise = criticise
        self._writer = table.Writer(file, _VERDICT)

    def __enter__(self) -> "Judging":
        return self

    def __exit__(self, *exception: Any) -> None:
        self._writer.__exit__(*exception)

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a tokenizer."""
        return self._count_tokens is not None

    def judge(
        self, rows: list[dict[str, Any]], word_counts: Sequence[tuple[int, int]], active: Mapping[str, Filter]
    ) -> list[int]:
        """Judge a batch, whose instructions and responses have so many words.

        The rows get their numbers of tokens, and those without a verdict of critics get one, if there is a critic.

        Returns:
            Indices of the rows that no filter matches.
        """
        self._measure(rows, word_counts)
        self._ask_critics(rows)
        hits: list[list[tuple[str, Hit]]] = [[] for _ in rows]
        for name, check in active.items():
            for found, hit in zip(hits, check(rows), strict=True):
                if hit is not None:
                    found.append((name, hit))
        for row, found in zip(rows, hits):
            self.matched.update(name for name, _ in found)
            if found:
                (name, hit), *others = found
                self.dropped[name] += 1
                also = f" (also: {', '.join(other for other, _ in others)})" if others else ""
                row = {**row, "filter": name, "reason": hit.reason + also, "matched": hit.matched[: table.MATCHED]}
            self._writer.add({name: row.get(name) for name in _VERDICT.names})
        return [i for i, found in enumerate(hits) if not found]

    def acceptance(self) -> dict[str, float]:
        """Share that each critic accepted of the raw rows that carry its verdict."""
        return {critic: self._accepted[critic] / count for critic, count in sorted(self._judged.items())}

    def verdicts(self) -> Iterator[dict[str, Any]]:
        """For each row in order: filter, reason and matched text, critics' verdicts, numbers of words and tokens."""
        return (verdict for batch in table.batches(self._file) for verdict in batch)

    def _measure(self, rows: list[dict[str, Any]], word_counts: Sequence[tuple[int, int]]) -> None:
        for field, counts in zip(_FIELDS, zip(*word_counts)):
            tokens = self._count_tokens([row[field] for row in rows]) if self._count_tokens else [None] * len(rows)
            for row, count, tokens_of in zip(rows, counts, tokens, strict=True):
                row |= {f"{field}_words": count, f"{field}_tokens": tokens_of}

    def _ask_critics(self, rows: list[dict[str, Any]]) -> None:
        unjudged = [row for row in rows if row["critics"] is None]
        if self._criticise and unjudged:
            for row, verdicts in zip(unjudged, self._criticise(unjudged), strict=True):
                row["critics"] = canonical_json(verdicts)
        for critics in filter(None, (row["critics"] for row in rows)):
            for critic, verdict in json.loads(critics).items():
                self._judged[critic] += 1
                self._accepted[critic] += verdict.get("is_good") is True

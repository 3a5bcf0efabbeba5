"""The pass over all raw rows that applies the filters, and the verdicts that it leaves for the pass that writes."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sft_pipeline.dataset import filters, table
from sft_pipeline.dataset.arrays import Positions
from sft_pipeline.dataset.cleaning.fingerprints import Print, fingerprint
from sft_pipeline.dataset.duplicates.shared_text import SharedText
from sft_pipeline.dataset.duplicates.shingles import word_hashes
from sft_pipeline.dataset.filters import Filter, Hit, Row
from sft_pipeline.experiment import Data
from sft_pipeline.model import conversation
from sft_pipeline.provenance.hashing import canonical_json

CountTokens = Callable[[Sequence[str]], list[int]]
"""Number of tokens of each text, by the experiment's tokenizer."""

Criticise = Callable[[Sequence[Row]], list[dict[str, dict[str, Any]]]]
"""For each row the verdict of each critic."""

Unwritable = Callable[[Sequence[Row]], list[str]]
"""For each row why the chat template cannot write it; empty where it can."""

TEMPLATE = "chat_template"
"""Name of the filter that asks it."""

FIELDS = ("instruction", "response")

_VERDICT = pa.schema(
    [
        pa.field("filter", pa.string()),  # None where no filter matches
        pa.field("reason", pa.string()),
        pa.field("matched", pa.string()),
        pa.field("critics", pa.string()),
        *(pa.field(f"{field}_{unit}", pa.int64()) for unit in ("words", "tokens") for field in FIELDS),
    ]
)


class Batch(NamedTuple):
    """A batch of raw rows, by its number, with what the experiment's models say about it."""

    group: int
    tokens: tuple[list[int], list[int]] | None
    """Of instructions and responses; None without a tokenizer."""
    exchanged: tuple[list[int], list[int]] | None
    """The same of `exchanges`."""
    critics: list[str | None] | None
    """The verdicts of the rows; None: those that they carry."""
    unwritable: list[str] | None
    """Why the chat template cannot write the rows; None without one."""


class Judged(NamedTuple):
    """What was found of a batch."""

    verdicts: pa.Table
    matched: Counter[str]
    dropped: Counter[str]
    judged: Counter[str]
    accepted: Counter[str]
    passed: Positions
    """The rows of the batch that no filter matches."""
    print: Print
    """Theirs."""


@dataclass
class Judge:
    """Applies the filters to batches, in whichever process."""

    source: Path
    data: Data
    root: Path
    continuations: filters.Continuations
    shared: SharedText

    @cached_property
    def active(self) -> dict[str, Filter]:
        """The filters by name; each process loads its own."""
        return filters.active_filters(self.data.quality, self.continuations, self.root)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "active"}

    def judge(self, batch: Batch) -> Judged:
        """The verdicts on a batch, and the fingerprints of the rows that pass."""
        rows = table.read_group(self.source, batch.group).to_pylist()
        words = word_hashes([row[field] for row in rows for field in FIELDS])
        counts = np.diff(words.bounds).reshape(-1, 2)
        tokens = batch.tokens or ([None] * len(rows),) * 2
        for row, *lengths in zip(rows, *counts.T.tolist(), *tokens, strict=True):
            row |= zip((f"{field}_{unit}" for unit in ("words", "tokens") for field in FIELDS), lengths)
        for row, critics in zip(rows, batch.critics or ()):
            row["critics"] = critics
        parts, of = exchanges(rows)
        for row, *lengths in zip(parts, *(batch.exchanged or ([None] * len(parts),) * 2), strict=True):
            row |= zip((f"{field}_tokens" for field in FIELDS), lengths)
        found: list[dict[str, Hit]] = [{} for _ in rows]
        for name, check in self.active.items():
            for (at, answer), hit in zip(of, check(parts), strict=True):
                if hit is not None:
                    reason = f"answer {answer}: {hit.reason}" if answer else hit.reason
                    found[at].setdefault(name, hit._replace(reason=reason))
        for row, hits, reason in zip(rows, found, batch.unwritable or ()):
            if reason:
                hits[TEMPLATE] = Hit(reason, row["instruction"])
        matched, dropped = Counter(name for hits in found for name in hits), Counter[str]()
        for row, hits in zip(rows, found):
            if hits:
                (name, hit), *others = hits.items()
                dropped[name] += 1
                also = f" (also: {', '.join(other for other, _ in others)})" if others else ""
                row |= {"filter": name, "reason": hit.reason + also, "matched": hit.matched[: table.MATCHED]}
        passed = [i for i, hits in enumerate(found) if not hits]
        return Judged(
            pa.table([[row.get(name) for row in rows] for name in _VERDICT.names], schema=_VERDICT),
            matched,
            dropped,
            *_acceptance(rows),
            np.array(passed, np.int64),
            fingerprint([rows[i] for i in passed], words.take_pairs(passed), self.data.duplicates, self.shared),
        )


def judge(batch: Batch, by: Judge) -> Judged:
    """The same as a function, for `Workers.map`."""
    return by.judge(batch)


def exchanges(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[int, int]]]:
    """The rows as the filters see them, where each exchange of a conversation stands for a row.

    Returns:
        Them, and of each the index of its row and its number there, 0 where the row is no conversation.
    """
    parts, of = [], []
    for at, row in enumerate(rows):
        if not row.get("conversation"):
            parts.append(row)
            of.append((at, 0))
            continue
        for number, texts in enumerate(conversation.exchanges(conversation.of_row(row)), 1):
            parts.append({**row, **dict(zip(FIELDS, texts))})
            of.append((at, number))
    return parts, of


def asked(
    source: Path,
    count_tokens: CountTokens | None,
    criticise: Criticise | None,
    unwritable: Unwritable | None = None,
) -> Iterator[Batch]:
    """The batches of `source`; tokenizer, critic and chat template stay in this process."""
    talk = table.row_schema(source) is table.TALK
    columns = None if criticise or unwritable else (*FIELDS, *(("conversation",) if talk else ()))

    def counted(rows: Sequence[Row]) -> tuple[list[int], list[int]]:
        assert count_tokens
        instructions, responses = (count_tokens([row[field] for row in rows]) for field in FIELDS)
        return instructions, responses

    for group in range(table.group_count(source)):
        tokens, exchanged, verdicts = None, None, None
        if count_tokens or criticise or unwritable:
            rows = table.read_group(source, group, columns).to_pylist()
        if count_tokens:
            tokens = counted(rows)
            exchanged = counted(exchanges(rows)[0]) if talk else tokens
        if criticise:
            verdicts = [row["critics"] for row in rows]
            unjudged = [i for i, given in enumerate(verdicts) if given is None]
            for i, made in zip(unjudged, criticise([rows[i] for i in unjudged]) if unjudged else (), strict=True):
                verdicts[i] = canonical_json(made)
        yield Batch(group, tokens, exchanged, verdicts, unwritable(rows) if unwritable else None)


def _acceptance(rows: Sequence[Row]) -> tuple[Counter[str], Counter[str]]:
    """How often each critic judged, and accepted."""
    judged, accepted = Counter[str](), Counter[str]()
    for critics in filter(None, (row["critics"] for row in rows)):
        for critic, verdict in json.loads(critics).items():
            judged[critic] += 1
            accepted[critic] += verdict.get("is_good") is True
    return judged, accepted


class Judging:
    """The verdicts on all rows, batch by batch in a file: memory does not grow with them.

    A context manager; `verdicts` can be read when the block has ended.
    """

    def __init__(self, file: Path, counts_tokens: bool) -> None:
        self.counts_tokens = counts_tokens
        self.matched, self.dropped = Counter[str](), Counter[str]()
        self._judged, self._accepted = Counter[str](), Counter[str]()
        self._file = file
        self._writer = pa.ipc.new_file(str(file), _VERDICT)

    def __enter__(self) -> "Judging":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, found: Judged) -> None:
        """Take in what was found of the next batch."""
        self._writer.write_table(found.verdicts)
        for mine, more in (
            (self.matched, found.matched),
            (self.dropped, found.dropped),
            (self._judged, found.judged),
            (self._accepted, found.accepted),
        ):
            mine.update(more)

    def acceptance(self) -> dict[str, float]:
        """Share that each critic accepted of the raw rows that carry its verdict."""
        return {critic: self._accepted[critic] / count for critic, count in sorted(self._judged.items())}

    def verdicts(self) -> Iterator[pa.RecordBatch]:
        """For each batch in order, of each row: filter, reason and matched text, critics' verdicts, numbers of words and tokens."""
        with pa.OSFile(str(self._file)) as file:
            reader = pa.ipc.open_file(file)
            yield from (reader.get_batch(number) for number in range(reader.num_record_batches))

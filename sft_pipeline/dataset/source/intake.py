"""From the items of a source to rows, with an account of what they were."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from sft_pipeline.dataset import table
from sft_pipeline.dataset.source import mapping, schema
from sft_pipeline.dataset.source.items import SourceItem, Unreadable, excerpt, kind, printable, require_short
from sft_pipeline.dataset.source.schema import Fields
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Columns, Conversations


@dataclass
class _Plan:
    """How rows with the same fields are read, and how many there were."""

    fields: Fields | None
    rejected: bool
    context: tuple[str, ...]  # fields that change the question and are not used
    rows: int = 0


class Intake:
    """Maps items to rows (`table.ROW`), each by the schema that its own fields fit.

    Args:
        columns: the explicit mapping.
        conversations: how lists of messages are read.
        default_type: type of the rows that carry none.
        setting: the specification's field that holds the mapping, for messages.
        answered: False for evaluation items, of which only the question is wanted; None where a response is wanted of
            the rows that have one.
        compared: whether the rows are only compared: every turn of a conversation counts, and rows in the pipeline's own
            format keep their id and the file and row that they came from.
    """

    def __init__(
        self,
        columns: Columns,
        conversations: Conversations,
        default_type: str,
        setting: str,
        *,
        answered: bool | None = True,
        compared: bool = False,
    ) -> None:
        if columns.messages and (columns.instruction or columns.input or columns.response):
            raise DataError(f"{setting}: name messages, or instruction, input and response, not both")
        self._columns = columns
        self._conversations = conversations
        self._type = default_type
        self._setting = setting
        section, _, last = setting.rpartition(".")
        self._policy = f"{section}.conversations" if last == "columns" else ""  # a benchmark declares none
        self._answered = answered
        self._compared = compared
        self._recognise = {
            True: schema.recognise, None: schema.recognise_compared, False: schema.recognise_item
        }[answered]  # fmt: skip
        self._plans: dict[tuple[tuple[str, ...], tuple[str, ...]], _Plan] = {}
        self._tally: Counter[str] = Counter()

    def empty(self) -> "Intake":
        """The same without an account, for the rows of a batch."""
        other = copy(self)
        other._plans, other._tally = {}, Counter()
        return other

    def merge(self, taken: tuple[pa.Table, pa.Table, "Intake"]) -> tuple[pa.Table, pa.Table]:
        """Add the account of a batch; returns its rows and its rejected rows."""
        rows, unread, other = taken
        for key, plan in other._plans.items():
            if key in self._plans:
                self._plans[key].rows += plan.rows
            else:
                self._plans[key] = plan
        self._tally.update(other._tally)
        return rows, unread

    def unwrapped(self, items: Iterable[SourceItem]) -> Iterator[SourceItem]:
        """The items, where an object that is no row but holds rows is replaced by these."""
        for item in items:
            file, _, value, _ = item
            if isinstance(value, dict) and self._may_hold_rows(value):
                try:
                    inner = schema.rows_within(value, self._columns)
                except Unreadable as reason:
                    inner, item = None, (file, item[1], reason, excerpt(value))
                if inner is not None:
                    yield from ((file, number, row, "") for number, row in enumerate(inner, 1))
                    continue
            yield item

    def _may_hold_rows(self, value: dict[str, Any]) -> bool:
        plan = self._plan(value)
        if plan.fields is None:
            return any(isinstance(part, list | dict) for part in value.values())
        return isinstance(value.get(plan.fields.instruction or ""), list | dict)

    def rows(self, item: SourceItem) -> list[dict[str, Any]]:
        """The rows that an item is: one, or several for a conversation of several turns, which then share a group.

        Raises:
            Unreadable: it is none, with the reason.
            DataError: a field that changes the question would be left out.
        """
        file, number, value, _ = item
        if isinstance(value, Unreadable):
            raise value
        if not isinstance(value, dict):
            raise Unreadable(f"not an object but {kind(value)}")
        require_short(value)
        plan = self._plan(value)
        if plan.rejected:
            raise Unreadable("a row of a table of rejected rows; name the file with the rows instead")
        if plan.fields is None:
            raise Unreadable(schema.lacking(value, self._columns))
        self._require_context(file, number, value, plan)
        made = mapping.pairs(
            value, plan.fields, self._conversations, self._type, self._tally, self._policy, compared=self._compared
        )
        plan.rows += 1
        place = {"source_file": file, "source_row": number}
        if len(made) > 1 and not self._compared:  # of two files of one name, turns have nothing to do with each other
            for row in made:
                row["group"] = row["group"] or f"{file}, row {number}"
        rows = [{"id": table.id_of(row), **row, **place} for row in made]
        if self._compared and plan.fields.own:
            rows[0] |= _identity(value)
        return rows

    def _require_context(self, file: str, number: int, value: Mapping[str, Any], plan: _Plan) -> None:
        for name in plan.context:
            if not mapping.is_filled(value[name]):
                continue
            if self._answered is not True or self._compared:
                self._tally[f"rows have a field {name!r}, which was not compared"] += 1
                continue
            raise DataError(
                f"{file}, row {number}: the field {name!r} changes the question and would be left out. Map it "
                f"({self._setting}.input or .system), write it into the instruction, or declare that it is left out "
                f"({self._setting}.ignore: [{name}], or --columns ignore={name})"
            )

    def _plan(self, value: Mapping[str, Any]) -> _Plan:
        # A column of a table is there in every row; whether the row has the field shows in its not being null.
        absent = tuple(name for name, part in value.items() if part is None) if None in value.values() else ()
        key = (tuple(value), absent)
        if key not in self._plans:
            fields = self._recognise(value, self._columns)
            if fields is None or not fields.needed.isdisjoint(absent):
                fields = self._recognise([name for name in value if name not in absent], self._columns) or fields
            rejected = self._columns == Columns() and schema.is_rejected(value)
            context = fields.dropped_context(value, self._columns, self.keeps_whole) if fields else ()
            self._plans[key] = _Plan(fields, rejected, context)
        return self._plans[key]

    def require_columns(self, files: str) -> None:
        """Refuse a mapping to a column that no row has, which no row could tell from a fault of its own.

        Raises:
            DataError: names the column, the columns that there are, and the source.
        """
        foreign = [names for (names, _), plan in self._plans.items() if not (plan.fields and plan.fields.own)]
        there = {name: None for names in foreign for name in names}
        for role, column in self._columns.model_dump(exclude_none=True, exclude={"ignore"}).items():
            if there and column not in there:
                raise DataError(
                    f"{self._setting} ({role}): no row of {files} has the column {column!r} "
                    f"({schema.fields_of(there)}); correct the name"
                )

    @property
    def keeps_whole(self) -> bool:
        """Whether conversations stay rows as they are."""
        return self._conversations.several_turns == "keep" and not self._compared

    @property
    def row_schema(self) -> pa.Schema:
        """Columns of the rows."""
        return table.TALK if self.keeps_whole else table.ROW

    @property
    def advice(self) -> str:
        """What to do about rows that cannot be used."""
        if any(plan.fields is None for plan in self._plans.values()):
            return f"Recognised are {schema.RECOGNISED}; name other fields in {self._setting}, or with --columns"
        return "Correct them in the source, or change the setting that is named"

    @property
    def schema(self) -> str:
        """The recognised schema, or each with the number of its rows."""
        counts: Counter[str] = Counter()
        for plan in self._plans.values():
            if plan.rows:
                counts[str(plan.fields)] += plan.rows
        if len(counts) == 1:
            return next(iter(counts))
        return "; ".join(f"{name}: {rows} rows" for name, rows in counts.most_common())

    def notes(self) -> list[str]:
        """What was left out on purpose, and fields that no role was found for."""
        notes = [f"{count} {what}" for what, count in sorted(self._tally.items())]
        if self._answered and (unused := self.unused()):
            notes.append(f"fields that were not used: {unused}")
        return notes

    def unused(self) -> str:
        """The fields that no role was found for, with their rows; empty where there are none."""
        unused: Counter[str] = Counter()
        for (names, absent), plan in self._plans.items():
            if plan.rows and plan.fields:
                tools = {plan.fields.tools, "conversation" if plan.fields.own else None} if self.keeps_whole else set()
                for name in set(names) - set(absent) - plan.fields.used - tools:
                    unused[name] += plan.rows
        listed = [f"{name!r} ({rows} rows)" for name, rows in sorted(unused.items())]
        return f"{', '.join(listed[:12])}{f' and {len(listed) - 12} more' if len(listed) > 12 else ''}"


def _identity(value: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a row in the pipeline's own format."""
    for name, wanted in (("id", str), ("source_file", str), ("source_row", int)):
        if not isinstance(value[name], wanted):
            raise Unreadable(f"field {name!r} is {kind(value[name])}; the pipeline's own rows hold {wanted.__name__}")
    return {name: value[name] for name in ("id", "source_file", "source_row")}


class Faults:
    """The rows that cannot be used, reported once for each reason."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, file: str, number: int, reason: str) -> None:
        """Count one more; of more than a thousand reasons the rest counts as one."""
        reason = reason if reason in self._first or len(self._first) < 1000 else "another reason"
        self._first.setdefault(reason, f"{file} row {number}")
        self._rows[reason] += 1

    @property
    def count(self) -> int:
        """Number of rows."""
        return self._rows.total()

    def examples(self, most: int) -> tuple[str, ...]:
        """The first reasons, each with the first row that it is about and the number of the others."""
        return tuple(
            f"{place}{f' and {self._rows[reason] - 1} more' if self._rows[reason] > 1 else ''}: {reason}"
            for reason, place in list(self._first.items())[:most]
        )

    def shown(self, most: int) -> str:
        """The examples as one text."""
        return "; ".join(self.examples(most)) + (" …" if len(self._first) > most else "")


def batched(items: Iterable[SourceItem]) -> Iterator[list[SourceItem]]:
    """The items in lists of as many as make a batch."""
    batch: list[SourceItem] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item[3]) or _size(item[2])
        if len(batch) == table.BATCH or size >= table.BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(value: Any) -> int:
    """About as many characters as the texts in a value have."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list) else 0


def rejected(item: SourceItem, reason: Unreadable) -> dict[str, Any]:
    """The row of `table.REJECTED` for an item that is no row."""
    file, number, value, text = item
    return {
        "source_file": file,
        "source_row": number,
        "filter": "unreadable",
        "reason": printable(str(reason)),
        "matched": printable(text or excerpt(value))[: table.MATCHED],
    }


def all_rows(
    items: Iterable[SourceItem], intake: Intake, what: str, files: str, advice: str = ""
) -> Iterator[dict[str, Any]]:
    """The rows of a source of which none may be rejected.

    Args:
        items: the source's items.
        intake: maps them.
        what: what the rows are, for the message.
        files: the source as it is written in the specification.
        advice: what to do about it, where that is not the intake's advice.

    Raises:
        DataError: an item is no row; names the first ones. Or there are no items.
    """
    faults, count = Faults(), 0
    for item in intake.unwrapped(items):
        count += 1
        try:
            yield from intake.rows(item)
        except Unreadable as reason:
            faults.add(item[0], item[1], printable(str(reason)))
    intake.require_columns(files)
    if faults.count:
        raise DataError(
            f"{files}: {faults.count} of {count} rows cannot be read, and {what} is taken whole or not at all: "
            f"{faults.shown(5)}. {advice or intake.advice}"
        )
    if not count:
        raise DataError(f"{files}: it holds no rows")

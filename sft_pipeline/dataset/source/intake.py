"""From the items of a source to rows, with an account of what they were."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sft_pipeline.dataset import table
from sft_pipeline.dataset.source import schema
from sft_pipeline.dataset.source.items import excerpt
from sft_pipeline.dataset.source.schema import Fields
from sft_pipeline.dataset.source.unreadable import Unreadable, kind, printable
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Columns, Conversations

SourceItem = tuple[str, int, Any, str]
"""File, number, value and raw text of a row."""


@dataclass
class _Plan:
    """How rows with the same fields are read, and how many there were."""

    fields: Fields | None
    rejected: bool
    rows: int = 0


class Intake:
    """Maps items to rows (`table.ROW`), each by the schema that its own fields fit.

    Args:
        columns: the explicit mapping.
        conversations: how lists of messages are read.
        default_type: type of the rows that carry none.
        field: the specification's field that holds the mapping, for messages.
        answered: False for evaluation items, of which only the question is wanted; None where a response is wanted of
            the rows that have one.
    """

    def __init__(
        self,
        columns: Columns,
        conversations: Conversations,
        default_type: str,
        field: str,
        *,
        answered: bool | None = True,
    ) -> None:
        if columns.messages and (columns.instruction or columns.input or columns.response):
            raise DataError(f"{field}: name messages, or instruction, input and response, not both")
        self._columns = columns
        self._conversations = conversations
        self._type = default_type
        self._field = field
        section, _, last = field.rpartition(".")
        self._setting = f"{section}.conversations" if last == "columns" else ""  # a benchmark declares none
        self._answered = answered
        self._recognise = {
            True: schema.recognise, None: schema.recognise_learned, False: schema.recognise_item
        }[answered]  # fmt: skip
        self._plans: dict[tuple, _Plan] = {}
        self._tally: Counter[str] = Counter()

    def row(self, item: SourceItem) -> dict[str, Any]:
        """The row that an item is.

        Raises:
            Unreadable: it is none, with the reason.
        """
        file, number, value, _ = item
        if isinstance(value, Unreadable):
            raise value
        if not isinstance(value, dict):
            raise Unreadable(f"not an object but {kind(value)}")
        plan = self._plan(value)
        if plan.rejected:
            raise Unreadable("a row of a table of rejected rows; name the file with the rows instead")
        if plan.fields is None:
            found = schema.lacking(value, self._columns)
            if name := next((name for name, part in value.items() if self._holds_rows(part)), None):
                found += f"; the list in {name!r} holds rows: write that list alone, as a .json file"
            raise Unreadable(found)
        mapped = schema.apply(value, plan.fields, self._conversations, self._type, self._tally, self._setting)
        plan.rows += 1
        identity = table.row_id(mapped["instruction"], mapped["response"], mapped["type"], mapped["reference"])
        return {"id": identity, **mapped, "source_file": file, "source_row": number}

    def _holds_rows(self, part: Any) -> bool:
        first = part[0] if isinstance(part, list) and part else None
        return isinstance(first, dict) and self._plan(first).fields is not None

    def _plan(self, value: Mapping[str, Any]) -> _Plan:
        # A column of a table is there in every row; whether the row has the field shows in its not being null.
        absent = tuple(name for name, part in value.items() if part is None) if None in value.values() else ()
        key = (tuple(value), absent)
        if key not in self._plans:
            fields = self._recognise(value, self._columns)
            if fields is None or not fields.needed.isdisjoint(absent):
                fields = self._recognise([name for name in value if name not in absent], self._columns) or fields
            self._plans[key] = _Plan(fields, self._columns == Columns() and schema.is_rejected(value))
        return self._plans[key]

    def require_columns(self, files: str) -> None:
        """Refuse a mapping to a column that no row has, which no row could tell from a fault of its own.

        Raises:
            DataError: names the column, the columns that there are, and the source.
        """
        foreign = [names for (names, _), plan in self._plans.items() if not (plan.fields and plan.fields.own)]
        there = {name: None for names in foreign for name in names}
        for role, column in self._columns.model_dump(exclude_none=True).items():
            if there and column not in there:
                raise DataError(
                    f"{self._field} ({role}): no row of {files} has the column {column!r} "
                    f"({schema.fields_of(there)}); correct the name"
                )

    @property
    def unrecognised(self) -> bool:
        """Whether the fields of some row fit no schema."""
        return any(plan.fields is None for plan in self._plans.values())

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
        unused: Counter[str] = Counter()
        for (names, absent), plan in self._plans.items():
            if plan.rows:
                for name in set(names) - set(absent) - plan.fields.used:
                    unused[name] += plan.rows
        if unused and self._answered:
            listed = [f"{name!r} ({rows} rows)" for name, rows in sorted(unused.items())]
            more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""
            notes.append(f"fields that were not used: {', '.join(listed[:12])}{more}")
        return notes


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
    items: Iterable[SourceItem], intake: Intake, what: str, files: str, advice: str = "Correct these rows in the file"
) -> Iterator[dict[str, Any]]:
    """The rows of a source of which nothing may be set aside.

    Args:
        items: the source's items.
        intake: maps them.
        what: what the rows are, for the message.
        files: the source as it is written in the specification.
        advice: what to do about it.

    Raises:
        DataError: an item is no row; names the first ones. Or there are no items.
    """
    faults, count = [], 0
    for item in items:
        count += 1
        try:
            yield intake.row(item)
        except Unreadable as reason:
            if len(faults) < 1000:
                faults.append(f"{item[0]} row {item[1]}: {printable(str(reason))}")
    intake.require_columns(files)
    if faults:
        number = f"{len(faults)}{' and more' if len(faults) == 1000 else ''}"
        raise DataError(
            f"{files}: {number} of {count} rows cannot be read, and {what} is taken whole or not at all: "
            f"{'; '.join(faults[:5])}{' …' if len(faults) > 5 else ''}. {advice}"
        )
    if not count:
        raise DataError(f"{files}: it holds no rows")

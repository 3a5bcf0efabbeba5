"""What a quality filter takes and returns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]
"""A row of the table ROW, with `instruction_tokens` and `response_tokens` (None where there is no tokenizer)."""


class Hit(NamedTuple):
    """Why a row is rejected, and the text that shows it."""

    reason: str
    matched: str


Filter = Callable[[Sequence[Row]], list[Hit | None]]
"""A filter over one batch: for each row None to keep it, or the reason to drop it."""

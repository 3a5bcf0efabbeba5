"""What a scorer gets and what it gives."""

from dataclasses import dataclass, field
from typing import Any

from sft_pipeline.errors import DataError


@dataclass(frozen=True)
class Item:
    """A row of the test split; `reference` is what the type's scorer needs to know, read from its JSON."""

    id: str
    instruction: str
    response: str
    type: str
    reference: dict[str, Any] = field(default_factory=dict)

    def wrong(self, field: str, problem: str) -> DataError:
        """The error of an item that its scorer cannot judge."""
        return DataError(
            f"item {self.id} (type {self.type}), field {field}: {problem}. Correct the row in the source, or give the "
            "type another scorer in evaluation.scorers."
        )

    @property
    def answer(self) -> str:
        """The expected answer: reference["answer"] where it is given, else the response.

        Raises:
            DataError: the answer is empty or neither text nor a number.
        """
        if "answer" not in self.reference:
            answer, name = self.response, "response"
        else:
            answer, name = self.reference["answer"], "reference.answer"
        if isinstance(answer, bool) or not isinstance(answer, str | int | float):
            raise self.wrong(name, f"must be text or a number, not {type(answer).__name__}")
        if not str(answer).strip():
            raise self.wrong(name, "is empty, so there is nothing to compare with")
        return str(answer)


@dataclass(frozen=True)
class Score:
    """A verdict on one answer; `reason` says why it failed and is empty for a success."""

    success: bool
    reason: str = ""

"""What a scorer gets and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sft_pipeline.errors import DataError


class BadReference(DataError):
    """An item that its scorer cannot judge, whatever the answer: its reference lacks something, or cannot be read."""


@dataclass(frozen=True)
class Item:
    """A row of the test split; `reference` is what the type's scorer needs to know, read from its JSON."""

    id: str
    instruction: str
    response: str
    type: str
    reference: dict[str, Any] = field(default_factory=dict)

    def wrong(self, field: str, problem: str) -> BadReference:
        """The error of an item that its scorer cannot judge."""
        return BadReference(
            f"item {self.id} (type {self.type}), field {field}: {problem}. Correct the row in the source, or give the "
            "type another scorer in evaluation.scorers."
        )

    def setting(self, name: str, options: Mapping[str, Any]) -> Any:
        """What the scorer must know besides the answer: of this item, or by an option of all items of its type.

        Raises:
            BadReference: neither is given.
        """
        if name in self.reference:
            return self.reference[name]
        if name not in options:
            raise self.wrong(f"reference.{name}", f"is missing, and the scorer has no option {name} either")
        return options[name]

    def wrong_setting(self, name: str, problem: str) -> DataError:
        """The error of a `setting` that cannot be used; names the place that it came from.

        An option is one of all items of the type, so that it is no matter of one item.
        """
        if name in self.reference:
            return self.wrong(f"reference.{name}", problem)
        return DataError(str(self.wrong(f"option {name} of its scorer", problem)))

    @property
    def answer(self) -> str:
        """The expected answer: reference["answer"] where it is given, else the response.

        Raises:
            BadReference: the answer is empty or neither text nor a number.
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
    """A verdict on one answer.

    Attributes:
        success: None where it is not known: a judgement that is missing, a judge that could not be reached.
        reason: why it failed or is not known; empty for a success.
        labels: categories that a report counts, such as `format_failure`; they may overlap.
        evidence: what a judge was asked and what it said, as JSON; kept beside the report.
        readable: whether the scorer found an answer in the output at all, be it a wrong one. False where `choice` finds no
            choice, `numeric` no number, `code` no program, `json_record` no JSON, where a judge's reply holds no verdict:
            such a failure says more about the format, or about the choice of the scorer, than about the model.
    """

    success: bool | None
    reason: str = ""
    labels: tuple[str, ...] = ()
    evidence: dict[str, Any] | None = None
    readable: bool = True

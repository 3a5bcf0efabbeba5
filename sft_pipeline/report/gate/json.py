"""What gate.json says: the published form of a gate report, with everything that the verdict rests on.

docs/reference/gate_report.schema.json is its JSON schema; `python -m sft_pipeline.report.gate.json` prints it.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from sft_pipeline.artifacts import (
    Agreement,
    ComparatorResult,
    Frozen,
    GateReport,
    GroupResult,
    LengthAdjusted,
    LengthRule,
    ModelComparison,
    ProtectedResult,
    Reason,
    Sensitivity,
    TokenCost,
)
from sft_pipeline.experiment import Gate


class LengthCheck(Frozen):
    """How success depends on the length of the answers."""

    adjusted: LengthAdjusted | None = Field(description="null with fewer than five discordant pairs.")
    rule: LengthRule | None = Field(description="null where most wins are known not to be of length.")


class Quantiles(Frozen):
    """Quantiles of a distribution."""

    p05: float
    p25: float
    p50: float
    p75: float
    p95: float
    max: float


class Lengths(Frozen):
    """Lengths of the answers in characters: `base[k]` of them lie between `edges[k]` and `edges[k + 1]`."""

    edges: tuple[int, ...]
    base: tuple[int, ...]
    sft: tuple[int, ...]
    quantiles: dict[Literal["base", "sft"], Quantiles]


class Repetition(Frozen):
    """Answers, of `n` each, in which repeated 4-grams make up over half of the text."""

    base: int
    sft: int
    n: int


class AnswerStatistics(Frozen):
    """The answers of one model; every mean is null where nothing is known to take it of."""

    n: int
    correct: int
    incorrect: int = Field(description="The others could not be judged.")
    formatted: int = Field(description="Judged answers by a scorer that knows of a format (think_answer).")
    format_accuracy: float | None = Field(description="Share of `formatted` without a format failure.")
    wrong_answer_rate: float | None = Field(description="Share of `formatted` in the right format and wrong.")
    format_failure_rate: float | None
    tokens: float | None = Field(description="Mean length in generated tokens.")
    tokens_correct: float | None
    tokens_incorrect: float | None
    logprob: float | None = Field(
        description="Mean over the answers of the mean log-probability of their tokens, in nats: higher is surer."
    )
    logprob_correct: float | None
    logprob_incorrect: float | None


class Truncation(Frozen):
    """Shares of the answers that were cut at the limit of new tokens."""

    base: float
    sft: float


class PowerCurve(Frozen):
    """Probability `power[k]` that the deciding test finds the true lift `lifts[k]` with these items."""

    n: int
    discordance: float = Field(description="Observed share of discordant pairs.")
    alpha: float
    test: str
    planned_lift: float
    lifts: tuple[float, ...]
    power: tuple[float, ...]


class FlipRates(Frozen):
    """Shares of repeated answers that were judged otherwise; null where nothing was repeated."""

    base: float | None = None
    sft: float | None = None


class GateJson(Frozen):
    """A gate report."""

    verdict: Literal["pass", "fail", "refused"]
    overall: GroupResult
    types: tuple[GroupResult, ...]
    protected: tuple[ProtectedResult, ...]
    reasons: tuple[Reason, ...]
    test: str = Field(description="The McNemar test that decides: exact, midp or corrected.")
    alpha: float
    missing: int = Field(description="Pairs left out because one side could not be judged.")
    sensitivity: tuple[Sensitivity, ...]
    agreement: Agreement | None = Field(description="With human labels, where there are some.")
    labels: dict[str, dict[str, int]] = Field(description="Answers by model (base, sft) and label of the scorer.")
    comparators: tuple[ComparatorResult, ...] = Field(
        (), description="The prompted base, or other models given beside it."
    )
    comparisons: tuple[ModelComparison, ...] = Field(
        (), description="Every pair of models, with Holm over all of them; empty without comparators."
    )
    costs: dict[str, TokenCost] = Field({}, description="By model (base, sft, comparators); empty without comparators.")
    answers: dict[Literal["base", "sft"], AnswerStatistics]
    length: LengthCheck | None = Field(description="null where the answers are not known.")
    lengths: Lengths | None = Field(description="null where the answers are not known.")
    repetition: Repetition | None = Field(description="null where the answers are not known.")
    truncation: Truncation | None = Field(description="null where it is not known which answers were cut.")
    power_curve: PowerCurve | None = Field(description="null without judged pairs.")
    gate: Gate = Field(description="The criteria.")
    sources: dict[str, str] = Field({}, description="What was compared and who judged: files or models, and scorers.")
    inputs: dict[str, str] = Field(description="Hash of everything that was used, by name.")
    origin: dict[str, str] = Field(
        {},
        description="Hash of what the inputs were made from, by asset, and of the training rows (`training_rows`, as the "
        "leakage proof and the adapter name them); empty where the answers are external.",
    )
    conditions: dict[str, str] = Field(description="What both models' answers have in common.")
    trained_on: dict[str, str] = Field(description="dtype and quantization of the base in training, where known.")
    flip_rates: FlipRates

    @classmethod
    def of(cls, report: GateReport, facts: Mapping[str, Any]) -> "GateJson":
        """The report with the figures that it does not carry itself."""
        own = set(cls.model_fields) & set(GateReport.model_fields)
        every = {**report.model_dump(mode="json", include=own), **facts}
        return cls.model_validate_json(json.dumps(every, allow_nan=False))

    def text(self) -> str:
        """The content of gate.json."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def schema() -> str:
    """The JSON schema of gate.json, as it is published."""
    return json.dumps(GateJson.model_json_schema(mode="serialization"), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema(), end="")

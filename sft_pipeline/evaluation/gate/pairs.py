"""Both models' answers to one item with their judgements: what is decided on, and what the report shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sft_pipeline.evaluation.scorers import Item
from sft_pipeline.evaluation.scorers.text import bare
from sft_pipeline.evaluation.scoring.score import PAIRWISE, Judged, item
from sft_pipeline.evaluation.statistics.kappa import Model
from sft_pipeline.experiment import ScorerSpec
from sft_pipeline.provenance.hashing import canonical_json

MODELS: tuple[Model, ...] = ("base", "sft")

LOOKS_FOR = {"contains", "answer"}
"""Scorers to which an answer is right that holds the expected one, whatever else it holds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of one model with its judgement.

    Attributes:
        output: the text; None where it is not known.
        success: None where it could not be judged.
        reason: why it failed.
        labels: categories of its scorer.
        evidence: what a judge was asked and said.
        tokens: generated tokens; None where not known.
        cut: whether it was cut at the limit of new tokens; None where not known.
        mean_logprob: mean log-probability of its tokens in nats.
        lenient: whether it succeeds, be it without what stands around it (scoring/lenient.py); None where its scorer does
            not take the whole output.
        readable: whether its scorer found an answer in it at all.
    """

    output: str | None
    success: bool | None
    reason: str = ""
    labels: tuple[str, ...] = ()
    evidence: dict[str, Any] | None = None
    tokens: int | None = None
    cut: bool | None = None
    mean_logprob: float | None = None
    lenient: bool | None = None
    readable: bool = True

    @classmethod
    def of(
        cls, judged: Judged, output: str, tokens: int | None, cut: bool | None, mean_logprob: float | None = None
    ) -> "Answer":
        """An answer with the judgement of its scorer."""
        known = (judged.success, judged.reason, judged.labels, judged.evidence)
        return cls(output, *known, tokens, cut, mean_logprob, judged.cut_success, judged.readable)


@dataclass(frozen=True, slots=True)
class Pair:
    """Both answers to one item.

    Attributes:
        id: of the item.
        type: of the item.
        base: the base's answer.
        sft: the fine-tuned model's answer.
        instruction: of the item, empty where it is not known.
        expected: the expected answer (reference.record as JSON, reference.answer, or the response), empty where unknown.
        cluster: of the item; None is a cluster of its own.
        verified: whether a verifier judged, which checks against a ground truth; None where success was supplied.
        compared: whether a judge saw both answers, so that success belongs to the pair and not to the answer.
        length_free: the scorer cannot measure length, because it compares with expected content or looks for phrases.
        looks_for: whether the scorer finds an answer right that holds the expected one, whatever else it holds.
        chooses: whether the scorer looks for one of several choices.
        thinks: whether the scorer reads only what stands inside <answer> (think_answer); "opened" where the prompt ends in
            <think>.
    """

    id: str
    type: str
    base: Answer
    sft: Answer
    instruction: str = ""
    expected: str = ""
    cluster: str | None = None
    verified: bool | None = None
    compared: bool = False
    length_free: bool = False
    looks_for: bool = False
    chooses: bool = False
    thinks: bool | Literal["opened"] = False

    @classmethod
    def of(
        cls, row: Mapping[str, Any], judged: Judged | None, spec: ScorerSpec | None, base: Answer, sft: Answer
    ) -> "Pair":
        """The answers to a row of an instruction dataset (dataset/table.py).

        Args:
            row: the item; its group is the cluster.
            judged: a judgement of the scorer; None where success was supplied.
            spec: the scorer that judged; None where success was supplied.
            base: the base's answer.
            sft: the fine-tuned model's answer.
        """
        kind, options = (spec.kind, spec.options) if spec else ("", {})
        reference = item(row).reference
        expected = reference.get("answer", row["response"])
        if isinstance(reference.get("record"), dict):
            expected = canonical_json(reference["record"])
        thinks = kind == "think_answer"
        verified = judged.verifier if judged else None
        if kind == "regex" and _format_only(item(row), options):
            verified = False
        return cls(
            id=row["id"],
            type=row["type"],
            base=base,
            sft=sft,
            instruction=row["instruction"],
            expected=str(expected) if isinstance(expected, str | int | float) else "",
            cluster=row["group"],
            verified=verified,
            compared=kind in PAIRWISE,
            length_free=judged is not None and judged.length_free,
            looks_for=kind in LOOKS_FOR and not options.get("any_answer"),
            chooses=kind == "choice",
            thinks="opened" if thinks and options.get("prompt_opens_think") else thinks,
        )

    @property
    def answers(self) -> tuple[tuple[Model, Answer], ...]:
        """Both answers with the name of their model."""
        return ("base", self.base), ("sft", self.sft)

    @property
    def missing(self) -> bool:
        """Whether one side could not be judged."""
        return self.base.success is None or self.sft.success is None

    def judged_outputs(self) -> list[tuple[Model, str, str, bool | None]]:
        """Model, id, output and success of both answers, where success belongs to the answer."""
        if self.compared:
            return []
        return [(model, self.id, a.output, a.success) for model, a in self.answers if a.output is not None]

    def answer_part(self, answer: Answer) -> str:
        """The part of an output in which the expected answer is looked for: what its scorer takes for the answer.

        Without <answer> that is what follows </think>, or all of it where nothing is marked.
        """
        output = answer.output or ""
        if not self.thinks:
            return output
        if self.thinks == "opened" and not output.lstrip().startswith("<think>"):
            output = "<think>" + output
        _, marked, inside = output.partition("</answer>")[0].rpartition("<answer>")
        if marked:
            return inside
        _, ended, rest = output.rpartition("</think>")
        return rest if ended else output.partition("<think>")[0]

    def row(self) -> dict[str, Any]:
        """The row of items.parquet."""
        row: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "instruction": self.instruction,
            "verifier": self.verified,
        }
        row["cluster"] = self.cluster
        for name, answer in self.answers:
            row |= columns(name, answer) | {f"{name}_output": answer.output or ""}
        return row


def columns(name: str, answer: Answer) -> dict[str, Any]:
    """The columns of an answer in items.parquet."""
    return {
        f"{name}_output": answer.output,
        f"{name}_success": answer.success,
        f"{name}_reason": answer.reason,
        f"{name}_labels": list(answer.labels),
        f"{name}_tokens": answer.tokens,
        f"{name}_cut": answer.cut,
    }


def _format_only(asked: Item, options: Mapping[str, Any]) -> bool:
    """Whether a regular expression looks at the form alone: it is one for all items, or lacks the known expected answer."""
    pattern = str(asked.reference.get("pattern", options.get("pattern", "")))
    expected = bare(str(asked.reference.get("answer", asked.response)))
    if expected:
        return expected not in pattern.replace("\\", "").casefold()
    return "pattern" not in asked.reference

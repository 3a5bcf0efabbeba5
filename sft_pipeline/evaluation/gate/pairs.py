"""Both models' answers to one item with their judgements: what the report shows, and what the verdict takes from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sft_pipeline.artifacts import GroupResult
from sft_pipeline.dataset.text import word_count
from sft_pipeline.evaluation.scorers.choice import SEVERAL
from sft_pipeline.evaluation.scorers.text import bare, holds, repetitive
from sft_pipeline.evaluation.scoring.score import PAIRWISE, Judged, item
from sft_pipeline.evaluation.statistics.kappa import Model
from sft_pipeline.evaluation.statistics.paired import paired
from sft_pipeline.experiment import ScorerSpec
from sft_pipeline.provenance.hashing import canonical_json

LOOKED_FOR = 8
"""An expected answer of at most this many words is looked for in an output."""

ONE_WORDING = 3
"""Of at most this many words an expected answer is so short that a right output has to hold it; a longer one may be said in
other words, so that its absence proves nothing where no verifier judged."""

MODELS: tuple[Model, ...] = ("base", "sft")

AS_OFTEN = 0.8
"""Where failed answers hold the expected answers of other items at least this many times as often as their own, holding
one says nothing: they name all choices, or many numbers. Not 1, because both shares are of a sample."""

OTHERS = 10
"""Expected answers of other items that are looked for in an answer."""

LOOKS_FOR = {"contains", "answer"}
"""Scorers to which an answer is right that holds the expected one, whatever else it holds."""


@dataclass(frozen=True)
class Answer:
    """An answer of one model with its judgement; `output`, `tokens`, `cut` and `mean_logprob` are None where not known.

    `mean_logprob` is that of `Completion`, `cut_success` and `length_free` are those of `Judged`.
    """

    output: str | None
    success: bool | None
    reason: str = ""
    labels: tuple[str, ...] = ()
    evidence: dict[str, Any] | None = None
    tokens: int | None = None
    cut: bool | None = None
    mean_logprob: float | None = None
    cut_success: bool | None = None
    length_free: bool = False


@dataclass(frozen=True)
class AnswerPair:
    """Both answers to one item.

    Attributes:
        id: of the item.
        type: of the item.
        instruction: of the item, empty where it is not known.
        expected: the expected answer (reference.record as JSON, reference.answer, or the response), empty where it is not
            known.
        cluster: of the item, where it belongs to one.
        verifier: whether a verifier judged; None where success was brought.
        compared: whether a judge saw both answers, so that success belongs to the pair and not to the answer.
        looks_for: whether the scorer finds an answer right that holds the expected one, whatever else it holds.
        thinks: whether the scorer reads only what stands inside <answer> (think_answer); "opened" where the prompt ends in
            <think>.
        base: the base's answer.
        sft: the fine-tuned model's answer.
    """

    id: str
    type: str
    instruction: str
    expected: str
    cluster: str | None
    verifier: bool | None
    compared: bool
    looks_for: bool
    thinks: bool | Literal["opened"]
    base: Answer
    sft: Answer

    @classmethod
    def of(
        cls, row: Mapping[str, Any], verifier: bool | None, spec: ScorerSpec | None, base: Answer, sft: Answer
    ) -> "AnswerPair":
        """The pair of answers to a row of an instruction dataset (dataset/table.py).

        Args:
            row: the item; its group is the cluster.
            verifier: whether a verifier judged.
            spec: the scorer that judged; None where success was brought.
            base: the base's answer.
            sft: the fine-tuned model's answer.
        """
        thinks: bool | Literal["opened"] = spec is not None and spec.kind == "think_answer"
        if thinks and spec.options.get("prompt_opens_think"):
            thinks = "opened"
        reference = item(row).reference
        expected = reference.get("answer", row["response"])
        if isinstance(reference.get("record"), dict):
            expected = canonical_json(reference["record"])
        return cls(
            id=row["id"],
            type=row["type"],
            instruction=row["instruction"],
            expected=str(expected) if isinstance(expected, str | int | float) else "",
            cluster=row["group"],
            verifier=verifier,
            compared=spec is not None and spec.kind in PAIRWISE,
            looks_for=spec is not None and spec.kind in LOOKS_FOR and not spec.options.get("any_answer"),
            thinks=thinks,
            base=base,
            sft=sft,
        )

    def judged_outputs(self) -> list[tuple[Model, str, str, bool | None]]:
        """Model, id, output and success of both answers, where success belongs to the answer."""
        if self.compared:
            return []
        both = [(model, getattr(self, model)) for model in MODELS]
        return [(model, self.id, a.output, a.success) for model, a in both if a.output is not None]

    def looked_at(self, answer: Answer) -> str:
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
        row = {"id": self.id, "type": self.type, "instruction": self.instruction, "verifier": self.verifier}
        row["cluster"] = self.cluster
        for name, answer in (("base", self.base), ("sft", self.sft)):
            row |= {
                f"{name}_output": answer.output or "",
                f"{name}_success": answer.success,
                f"{name}_reason": answer.reason,
                f"{name}_labels": list(answer.labels),
                f"{name}_tokens": answer.tokens,
                f"{name}_cut": answer.cut,
            }
        return row


def scored(
    judged: Judged, output: str, tokens: int | None, cut: bool | None, mean_logprob: float | None = None
) -> Answer:
    """An answer with the judgement of its scorer."""
    return Answer(
        output,
        judged.success,
        judged.reason,
        judged.labels,
        judged.evidence,
        tokens,
        cut,
        mean_logprob,
        judged.cut_success,
        judged.length_free,
    )


@dataclass(frozen=True)
class Pair:
    """Both models' outcomes on one item.

    Attributes:
        id: of the item.
        type: of the item.
        base: success of the base; None where it could not be judged.
        sft: the same of the fine-tuned model. A pair with a None is missing: it is left out of the statistics.
        base_length: characters of the base's answer without surrounding space.
        sft_length: the same of the fine-tuned model.
        same_text: both models gave the same text.
        base_words: words between white space; None where they were not counted, as in the next three.
        sft_words: the same of the fine-tuned model.
        base_tokens: generated tokens.
        sft_tokens: the same of the fine-tuned model.
        base_has_answer: whether the base's output holds the expected answer, whatever its scorer thinks: a verifier finds it
            right, be it in a part of the output, or it stands there as whole words; None where there is no short expected
            answer to look for.
        sft_has_answer: the same of the fine-tuned model.
        base_cut_success: whether the base's answer succeeds, be it without what stands around it (form.py); None where its
            scorer does not take the whole output.
        sft_cut_success: the same of the fine-tuned model.
        base_unclear: the base's answer names the right one among others, so that its scorer cannot tell which it means.
        sft_unclear: the same of the fine-tuned model.
        verified: whether a verifier judged, which checks against a ground truth; None where success was brought.
        length_free: the scorer cannot measure length, because it compares with expected content or looks for phrases.
        compared: a judge saw both answers.
        expected: the expected answer, empty where it is not known.
        base_text: the base's answer; None where it is not known.
        sft_text: the same of the fine-tuned model.
        cluster: of the item; None is a cluster of its own.
        tied: a judge that compared both answers found none better.
        base_repetitive: repeated n-grams make up over half of the base's answer, and the expected one has no such form.
        sft_repetitive: the same of the fine-tuned model.
        base_cut: the base's answer was cut at the limit of new tokens; None where that is not known.
        sft_cut: the same of the fine-tuned model.
    """

    id: str
    type: str
    base: bool | None
    sft: bool | None
    base_length: int
    sft_length: int
    base_has_answer: bool | None = None
    verified: bool | None = None
    sft_has_answer: bool | None = None
    base_cut_success: bool | None = None
    sft_cut_success: bool | None = None
    base_unclear: bool = False
    sft_unclear: bool = False
    length_free: bool = False
    compared: bool = False
    expected: str = ""
    base_text: str | None = None
    sft_text: str | None = None
    cluster: str | None = None
    tied: bool = False
    same_text: bool = False
    base_words: int | None = None
    sft_words: int | None = None
    base_tokens: int | None = None
    sft_tokens: int | None = None
    base_repetitive: bool = False
    sft_repetitive: bool = False
    base_cut: bool | None = None
    sft_cut: bool | None = None

    @property
    def missing(self) -> bool:
        """Whether one side could not be judged."""
        return self.base is None or self.sft is None

    @property
    def won(self) -> bool:
        """Whether only the fine-tuned model succeeds."""
        return self.sft is True and self.base is False


def group(name: str, pairs: Sequence[Pair]) -> GroupResult:
    """The paired statistics of judged pairs."""
    return paired(name, [p.base for p in pairs], [p.sft for p in pairs])


def pairs(made: Sequence[AnswerPair]) -> list[Pair]:
    """What the verdict needs to know of both answers, by item.

    That a failed answer holds the expected one tells something only where failed answers of the same type and model do not
    hold those of other items as often: reasoning over choices names them all.
    """
    types = sorted({m.type for m in made})
    others = {type: _sample([m for m in made if m.type == type and m.looks_for]) for type in types}
    found = [_pair(m, others[m.type]) for m in made]
    vague = {(model, type) for type in types for model in MODELS if _vague([m for m in made if m.type == type], model)}
    if not vague:
        return found
    return [
        replace(p, **{f"{m}_has_answer": None for m in MODELS if (m, p.type) in vague and _only_held(getattr(a, m), a)})
        for p, a in zip(found, made, strict=True)
    ]


def _pair(made: AnswerPair, others: Sequence[str]) -> Pair:
    base, sft = (a.output or "" for a in (made.base, made.sft))
    natural = repetitive(made.expected)  # where the right answer repeats itself, repetition is no fault
    return Pair(
        id=made.id,
        type=made.type,
        base=made.base.success,
        sft=made.sft.success,
        base_length=len(base.strip()),
        sft_length=len(sft.strip()),
        base_has_answer=_has_answer(made.base, made),
        sft_has_answer=_has_answer(made.sft, made),
        base_cut_success=made.base.cut_success,
        sft_cut_success=made.sft.cut_success,
        base_unclear=_unclear(made.base, made, others),
        sft_unclear=_unclear(made.sft, made, others),
        verified=made.verifier,
        length_free=made.base.length_free,
        compared=made.compared,
        expected=made.expected,
        base_text=made.base.output,
        sft_text=made.sft.output,
        cluster=made.cluster,
        tied="tie" in made.base.labels and "tie" in made.sft.labels,
        same_text=made.base.output is not None and made.base.output == made.sft.output,
        base_words=len(base.split()),
        sft_words=len(sft.split()),
        base_tokens=made.base.tokens,
        sft_tokens=made.sft.tokens,
        base_repetitive=not natural and repetitive(base),
        sft_repetitive=not natural and repetitive(sft),
        base_cut=made.base.cut,
        sft_cut=made.sft.cut,
    )


def _has_answer(answer: Answer, made: AnswerPair) -> bool | None:
    if _known_right(answer, made):
        return True
    words = word_count(made.expected)
    if not 0 < words <= LOOKED_FOR:
        return None
    found = holds(made.looked_at(answer), made.expected)
    return found if found or made.verifier or words <= ONE_WORDING else None


def _known_right(answer: Answer, made: AnswerPair) -> bool:
    return bool(answer.cut_success or (made.verifier and answer.success))


def _only_held(answer: Answer, made: AnswerPair) -> bool:
    """Whether an answer failed and only seems to be right because it holds the expected one."""
    return answer.success is False and not _known_right(answer, made) and _has_answer(answer, made) is True


def _vague(made: Sequence[AnswerPair], model: str) -> bool:
    """Whether failed answers of a model hold the expected answers of other items about as often as their own."""
    short = [m for m in made if 0 < word_count(m.expected) <= LOOKED_FOR]
    failed = [m for m in short if getattr(m, model).success is False]
    own = sum(_only_held(getattr(m, model), m) for m in failed)
    if not own:
        return False
    expected = _spread(sorted(m.expected for m in short))
    held = looked = 0
    for m in failed:
        text = m.looked_at(getattr(m, model))
        others = [other for other in expected if bare(other) != bare(m.expected)]
        held += sum(holds(text, other) for other in others)
        looked += len(others)
    return looked > 0 and held / looked >= AS_OFTEN * own / len(failed)


def _sample(made: Sequence[AnswerPair]) -> list[str]:
    """Different expected answers of the items of a type."""
    return _spread(
        sorted({bare(m.expected): m.expected for m in made if 0 < word_count(m.expected) <= LOOKED_FOR}.values())
    )


def _spread(ordered: Sequence[str]) -> list[str]:
    return [ordered[k * len(ordered) // OTHERS] for k in range(OTHERS)] if len(ordered) > OTHERS else list(ordered)


def _unclear(answer: Answer, made: AnswerPair, sample: Sequence[str]) -> bool:
    """Whether an answer names the right one among others, so that its scorer cannot tell which of them it means.

    Of a scorer that looks for the expected answer it does where it holds over half of the other ones of its type.
    """
    if SEVERAL in answer.labels:
        return True
    others = [other for other in sample if bare(other) != bare(made.expected)]
    if not made.looks_for or not answer.success or not others:
        return False
    return 2 * sum(holds(made.looked_at(answer), other) for other in others) > len(others)

"""Both models' answers to one item with their judgements: what the report shows, and what the verdict takes from it."""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sft_pipeline.evaluation.criteria.repetition import repetitive
from sft_pipeline.evaluation.pair import Pair
from sft_pipeline.evaluation.scorers.text import bare, folded, has_words
from sft_pipeline.evaluation.scoring import Judged, item
from sft_pipeline.provenance.hashing import canonical_json

LOOKED_FOR = 8
"""An expected answer of at most this many words is looked for in an output."""

ONE_WORDING = 3
"""Of at most this many words an expected answer is so short that a right output has to hold it; a longer one may be said in
other words, so that its absence proves nothing where no verifier judged."""

# Kana and ideographs; Thai, Lao, Tibetan, Myanmar and Khmer. Hangul has spaces.
_UNSPACED = {
    2: re.compile("[\u3005-\u3007\u3040-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
    5: re.compile("[\u0e00-\u109f\u1780-\u17ff]"),
}
"""Characters of scripts written without spaces between words, by about how many of them a word has."""


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
    base: Answer
    sft: Answer

    @classmethod
    def of(
        cls, row: Mapping[str, Any], verifier: bool | None, compared: bool, base: Answer, sft: Answer
    ) -> "AnswerPair":
        """The pair of answers to a row of an instruction dataset (dataset/table.py)."""
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
            compared=compared,
            base=base,
            sft=sft,
        )

    def judged_outputs(self) -> list[tuple[str, str, bool | None]]:
        """Id, output and success of both answers, where success belongs to the answer."""
        if self.compared:
            return []
        return [(self.id, a.output, a.success) for a in (self.base, self.sft) if a.output is not None]

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


def pair(made: AnswerPair) -> Pair:
    """What the verdict needs to know of both answers."""
    base, sft = (a.output or "" for a in (made.base, made.sft))
    natural = repetitive(made.expected)  # where the right answer repeats itself, repetition is no fault
    return Pair(
        id=made.id,
        type=made.type,
        base=made.base.success,
        sft=made.sft.success,
        base_length=len(base.strip()),
        sft_length=len(sft.strip()),
        base_has_answer=_has_answer(made.base, made.expected, made.verifier),
        sft_has_answer=_has_answer(made.sft, made.expected, made.verifier),
        base_cut_success=made.base.cut_success,
        sft_cut_success=made.sft.cut_success,
        verified=made.verifier,
        length_free=made.base.length_free,
        compared=made.compared,
        expected=made.expected,
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


def _has_answer(answer: Answer, expected: str, verifier: bool | None) -> bool | None:
    if answer.cut_success or (verifier and answer.success):
        return True
    return _holds(answer.output or "", expected, verifier)


def _holds(output: str, expected: str, verifier: bool | None) -> bool | None:
    words = _words(expected)
    if not 0 < words <= LOOKED_FOR:
        return None
    found = has_words(folded(output), bare(expected))
    return found if found or verifier or words <= ONE_WORDING else None


def _words(text: str) -> int:
    """The number of words, which has to be guessed from the length where no spaces tell them apart."""
    parts = unicodedata.normalize("NFKC", text).split()
    guesses = (sum(len(script.findall(part)) / length for length, script in _UNSPACED.items()) for part in parts)
    return sum(max(1, math.ceil(guess)) for guess in guesses)

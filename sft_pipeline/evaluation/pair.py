"""Both models' outcomes on one item: all that the verdict needs to know of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sft_pipeline.artifacts import GroupResult
from sft_pipeline.evaluation.statistics import paired


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

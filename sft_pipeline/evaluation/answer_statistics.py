"""What the answers of one model look like beside their successes: format, lengths, certainty."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from sft_pipeline.evaluation.answer_pairs import Answer
from sft_pipeline.evaluation.scorers.think_answer import CORRECT, FORMAT, WRONG
from sft_pipeline.report.gate_json import AnswerStatistics


def answer_statistics(answers: Sequence[Answer]) -> AnswerStatistics:
    """Counts, shares and means over the answers of one model, of what is known of them."""
    right, wrong = ([a for a in answers if a.success is success] for success in (True, False))
    labels = Counter(label for a in answers for label in a.labels)
    formatted = labels[CORRECT] + labels[WRONG] + labels[FORMAT]

    def share(count: int) -> float | None:
        return count / formatted if formatted else None

    return AnswerStatistics(
        n=len(answers),
        correct=len(right),
        incorrect=len(wrong),
        formatted=formatted,
        format_accuracy=share(labels[CORRECT] + labels[WRONG]),
        wrong_answer_rate=share(labels[WRONG]),
        format_failure_rate=share(labels[FORMAT]),
        tokens=_mean([a.tokens for a in answers]),
        tokens_correct=_mean([a.tokens for a in right]),
        tokens_incorrect=_mean([a.tokens for a in wrong]),
        logprob=_mean([a.mean_logprob for a in answers]),
        logprob_correct=_mean([a.mean_logprob for a in right]),
        logprob_incorrect=_mean([a.mean_logprob for a in wrong]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None

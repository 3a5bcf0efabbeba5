"""What the answers of one model look like beside their successes: format, lengths, certainty, categories."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sft_pipeline.evaluation.scorers.think_answer import CORRECT, FORMAT, WRONG
from sft_pipeline.evaluation.scoring import Judged


@dataclass(frozen=True)
class AnswerStatistics:
    """Means over the answers of one model; None where there is nothing to take a mean of.

    Attributes:
        n: answers.
        correct, incorrect: how many of them were judged so; the others could not be judged.
        formatted: answers by a scorer that knows of a format (think_answer) and were judged.
        format_accuracy, wrong_answer_rate, format_failure_rate: shares of `formatted`; the last two and the success rate
            of these answers add up to 1.
        tokens, tokens_correct, tokens_incorrect: mean lengths in generated tokens.
        logprob, logprob_correct, logprob_incorrect: mean over the answers of the mean log-probability of their tokens,
            in nats: a model that is less sure has a lower one.
        labels: answers by label of their scorer.
    """

    n: int
    correct: int
    incorrect: int
    formatted: int
    format_accuracy: float | None
    wrong_answer_rate: float | None
    format_failure_rate: float | None
    tokens: float | None
    tokens_correct: float | None
    tokens_incorrect: float | None
    logprob: float | None
    logprob_correct: float | None
    logprob_incorrect: float | None
    labels: dict[str, int]


def answer_statistics(
    judged: Sequence[Judged], tokens: Sequence[int], mean_logprobs: Sequence[float | None]
) -> AnswerStatistics:
    """Statistics of answers that stand in one order in all three arguments.

    Args:
        judged: verdicts.
        tokens: generated tokens of each answer.
        mean_logprobs: mean log-probability of each answer's tokens in nats; None for an empty answer.
    """
    rows = list(zip(judged, tokens, mean_logprobs, strict=True))
    right, wrong = ([row for row in rows if row[0].success is success] for success in (True, False))
    labels = Counter(label for j in judged for label in j.labels)
    formatted = labels[CORRECT] + labels[WRONG] + labels[FORMAT]

    def share(count: int) -> float | None:
        return count / formatted if formatted else None

    return AnswerStatistics(
        n=len(rows),
        correct=len(right),
        incorrect=len(wrong),
        formatted=formatted,
        format_accuracy=share(labels[CORRECT] + labels[WRONG]),
        wrong_answer_rate=share(labels[WRONG]),
        format_failure_rate=share(labels[FORMAT]),
        tokens=_mean(row[1] for row in rows),
        tokens_correct=_mean(row[1] for row in right),
        tokens_incorrect=_mean(row[1] for row in wrong),
        logprob=_mean(row[2] for row in rows),
        logprob_correct=_mean(row[2] for row in right),
        logprob_incorrect=_mean(row[2] for row in wrong),
        labels=dict(sorted(labels.items())),
    )


def _mean(values) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None

"""The training rows in a plan: lengths, padding, what is cut, and how often each row is seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sft_pipeline.artifacts import Finding
from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Evaluation, Experiment, Training
from sft_pipeline.training import schedule

WASTE = 0.3
"""Share of padding from which on another batching is worth a warning."""


@dataclass(frozen=True)
class Rows:
    """The training rows as a plan sees them.

    Attributes:
        count: rows that are trained on.
        masked: fully masked rows, which are left out; counted nowhere else but in `cut`.
        tokens: tokens of one pass, after cutting.
        longest: tokens of the longest row, after cutting.
        padding: share of padding in the batches; 0 where it is not known.
        cut: rows longer than the limit.
        findings: findings about the lengths.
        top: tokens of the longest rows, after cutting, the longest first; empty where lengths are not known.
    """

    count: int
    masked: int
    tokens: int
    longest: int
    padding: float
    cut: int
    findings: tuple[Finding, ...]
    top: tuple[int, ...] = ()

    def largest_pass(self, training: Training) -> int:
        """Positions of the largest forward pass: rows padded to the longest, or the longest rows one after the other."""
        if training.packed_length is not None:
            return max(training.packed_length, self.longest)
        size = training.batch_size
        padded = size * self.longest
        if training.batching != "packed":
            return padded
        if not self.top:  # lengths that scatter as much as their mean, and four standard deviations of their sum
            return min(padded, round(self.tokens / self.count * (size + SCATTER * math.sqrt(size))))
        return sum(self.top[:size]) + max(0, size - len(self.top)) * self.top[-1]


TOP = 1024
"""Longest rows whose lengths are kept."""

SCATTER = 4
"""Standard deviations by which the largest of some thousand packed passes may lie above the mean."""


def measured(lengths: Sequence[tuple[int, int]], training: Training) -> Rows:
    """The rows by the tokens of prompt and response of each."""
    limit = training.max_length
    # A row whose prompt fills the limit has no label left: tokenization.encode leaves it out.
    cut = [min(prompt + response, limit) for prompt, response in lengths if prompt < limit]
    padding = schedule.padding_share(cut, training)
    longer = sum(prompt + response > limit for prompt, response in lengths)
    return Rows(
        len(cut),
        len(lengths) - len(cut),
        sum(cut),
        max(cut, default=0),
        padding,
        longer,
        (*_cut(lengths, training), *_waste(padding, cut, training)),
        tuple(sorted(cut, reverse=True)[:TOP]),
    )


def expected(experiment: Experiment) -> Rows:
    """The rows as `data.expected` of the specification states them.

    Raises:
        PreconditionError: it is missing.
    """
    known, limit = experiment.data.expected, experiment.training.max_length
    if known is None:
        raise PreconditionError(
            "the plan needs the training split or data.expected (train_rows, mean_tokens, test_rows) in the specification"
        )
    longest = min(limit, round(4 * known.mean_tokens))
    unknown = Finding(
        rule="lengths_unknown",
        severity="info",
        evidence=f"lengths are those of data.expected: mean {known.mean_tokens:g} tokens, longest taken as "
        f"{longest}; padding and rows above max_length are not known",
    )
    found = [unknown]
    if known.mean_tokens > limit:
        evidence = (
            f"the mean length of {known.mean_tokens:g} tokens is above max_length {limit}: most rows would be cut"
        )
        remedy = f"set training.max_length to {math.ceil(2 * known.mean_tokens)} or more"
        found.append(Finding(rule="truncated_rows", severity="blocking", evidence=evidence, remedy=remedy))
    tokens = round(known.train_rows * min(known.mean_tokens, limit))
    return Rows(known.train_rows, 0, tokens, longest, 0.0, 0, tuple(found))


def _cut(lengths: Sequence[tuple[int, int]], training: Training) -> list[Finding]:
    """Rows longer than the sequence limit."""
    limit = training.max_length
    cut = sum(prompt + response > limit for prompt, response in lengths)
    if not cut:
        return []
    bare = sum(prompt >= limit for prompt, _ in lengths)
    share, longest = cut / len(lengths), max(prompt + response for prompt, response in lengths)
    remedy = f"set training.max_length to {longest} or more, remove the rows, or allow training."
    found = [
        Finding(
            rule="truncated_rows",
            severity="blocking" if share > training.max_truncated_share else "warning",
            evidence=f"{cut:,} of {len(lengths):,} rows ({share:.1%}) are longer than max_length {limit}; "
            f"{bare:,} of them would be fully masked",
            remedy=f"{remedy}max_truncated_share",
        )
    ]
    if bare:
        evidence = (
            f"{bare:,} of {len(lengths):,} rows ({bare / len(lengths):.1%}) are fully masked: their prompt alone "
            f"reaches max_length {limit}. They are left out: this plan covers the other {len(lengths) - bare:,}"
        )
        severity = "blocking" if bare / len(lengths) > training.max_masked_share else "warning"
        found.append(
            Finding(rule="masked_rows", severity=severity, evidence=evidence, remedy=f"{remedy}max_masked_share")
        )
    return found


def _waste(padding: float, lengths: Sequence[int], training: Training) -> list[Finding]:
    """Padding that another batching would save."""
    if padding < WASTE or training.batching != "plain":
        return []
    grouped = schedule.padding_share(lengths, training.model_copy(update={"batching": "grouped"}))
    return [
        Finding(
            rule="padding",
            severity="warning",
            evidence=f"{padding:.0%} of all positions are padding with batching: plain; grouped by length it is {grouped:.0%}",
            remedy="set training.batching to grouped, or leave it to the plan",
        )
    ]


def comparators(rows: int, evaluation: Evaluation) -> list[Finding]:
    """Comparators that want more examples than there are training rows: their answers would fail after the training."""
    return [
        Finding(
            rule="comparator_examples",
            severity="blocking",
            evidence=f"evaluation.comparators.{name} wants {spec.examples:,} examples, but there are {rows:,} training rows",
            remedy="ask for at most as many",
        )
        for name, spec in evaluation.comparators.items()
        if spec.examples > rows
    ]


def batches(rows: int, training: Training) -> list[Finding]:
    """How often the rows are seen, whether a batch can be filled, and which rows several processes repeat."""
    found = []
    steps, seen = schedule.total_steps(rows, training), schedule.samples_seen(rows, training)
    coverage, per_epoch = seen / rows, schedule.steps_per_epoch(rows, training)
    batch = training.effective_batch
    size = f"{training.batch_at(0)} to {batch}" if training.grows else batch
    product = f"{steps:,} steps × {size}" + ("" if seen == steps * batch else " (the last of each pass is smaller)")
    evidence = f"coverage {coverage:.3g} epochs: {product} = {seen:,} of {rows:,} rows"
    if coverage < training.min_coverage:
        needed = _steps(training.min_coverage, rows, training)
        remedy = (
            f"set epochs, or at least {needed:,} steps"
            if training.max_steps
            else f"set epochs to {training.min_coverage:g} or more"
        )
        found.append(Finding(rule="coverage", severity="blocking", evidence=evidence, remedy=remedy))
    if coverage > training.max_coverage:
        most = _steps(training.max_coverage, rows, training)
        remedy = f"expect overfitting; {training.max_coverage:g} epochs are {most:,} steps"
        found.append(Finding(rule="coverage_high", severity="warning", evidence=evidence, remedy=remedy))
    if batch > rows:
        found.append(
            Finding(
                rule="batch_exceeds_rows",
                severity="blocking",
                evidence=f"the effective batch of {batch} is larger than the {rows} training rows",
                remedy="lower batch_size × gradient_accumulation × processes, or provide more rows",
            )
        )
    repeated = schedule.repeated_rows(rows, training)
    if repeated and steps >= per_epoch:
        evidence = (
            f"{rows:,} rows are no multiple of {training.processes} processes × {training.batch_size}: at the end of each "
            f"pass accelerate reads {repeated:,} of them again, so that every process has as many; coverage and tokens "
            "leave them out, and a single process would not repeat them"
        )
        found.append(Finding(rule="rows_repeated", severity="info", evidence=evidence))
    return found


def _steps(epochs: float, rows: int, training: Training) -> int:
    """Steps of so many passes."""
    return schedule.total_steps(rows, training.model_copy(update={"max_steps": None, "epochs": epochs}))

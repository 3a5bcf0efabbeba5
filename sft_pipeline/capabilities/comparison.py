"""What base and fine-tuned model scored on the same items, metric by metric: rates, paired differences, verdicts."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from sft_pipeline.artifacts import BenchmarkResult, CapabilityVerdict, ModelScore
from sft_pipeline.capabilities.harness import ItemScore
from sft_pipeline.evaluation.statistics.paired import holm, paired, tango, wilson
from sft_pipeline.evaluation.statistics.power import best_lower_bound
from sft_pipeline.evaluation.statistics.scores import PairedScores, paired_scores
from sft_pipeline.experiment import Capabilities
from sft_pipeline.provenance.hashing import hash_value

SAMPLES = 9_999
"""Samples of the bootstrap of scores."""

MOST_ITEMS = 10_000_000
"""Beyond this number of items nothing is said about how many would decide."""


class Measured(NamedTuple):
    """A metric of a benchmark as the models scored it.

    Attributes:
        facts: name, benchmark, task, version, metric, filter, shots and available of the result.
        margin: largest tolerated loss; None where the metric is reported only.
        base: the reference's scores by item; of one model alone its own.
        sft: the fine-tuned model's; None of one model alone.
        hashes: SHA-256 over the hashes of items, prompts and targets.
    """

    facts: dict[str, Any]
    margin: float | None
    base: Sequence[float]
    sft: Sequence[float] | None
    hashes: dict[str, str]


def compare(measured: Sequence[Measured], spec: Capabilities) -> tuple[BenchmarkResult, ...]:
    """The results of all metrics; Holm's adjustment is over those that decide."""
    results = [_result(one, spec.seed) for one in measured]
    deciding = [at for at, one in enumerate(measured) if one.margin is not None and one.sft is not None]
    adjusted = dict(zip(deciding, holm([results[at].p or 0.0 for at in deciding]), strict=True))
    return tuple(
        _judged(result, one, adjusted[at], spec.alpha) if at in adjusted else result
        for at, (result, one) in enumerate(zip(results, measured, strict=True))
    )


def is_binary(*scores: Sequence[float] | None) -> bool:
    """Whether every item is right or wrong."""
    return all(value in (0.0, 1.0) for values in scores for value in values or ())


def _result(one: Measured, seed: int) -> BenchmarkResult:
    binary = is_binary(one.base, one.sft)
    fields: dict[str, Any] = {**one.facts, "n": len(one.base), "hashes": one.hashes, "margin": one.margin}
    for name, scores in (("base", one.base), ("sft", one.sft)):
        if scores is not None:
            fields[name] = _score(scores, binary, seed)
    if one.sft is None:
        return BenchmarkResult(**fields)
    if binary:
        group = paired(one.facts["name"], [bool(s) for s in one.base], [bool(s) for s in one.sft])
        fields |= {"lost": group.lost, "won": group.won, "difference": group.lift, "p": group.p_exact}
        return BenchmarkResult(**fields, difference_interval=group.lift_interval)
    found = _scores(one.base, one.sft, seed)
    return BenchmarkResult(**fields, difference=found.difference, difference_interval=found.interval, p=found.p)


def _score(scores: Sequence[float], binary: bool, seed: int) -> ModelScore:
    mean = math.fsum(scores) / len(scores)
    if not binary:
        low, high = _scores([0.0] * len(scores), scores, seed).interval
        return ModelScore(mean=mean, interval=(max(0.0, low), min(1.0, high)))
    successes = round(sum(scores))
    return ModelScore(mean=mean, interval=wilson(successes, len(scores)), successes=successes)


def _scores(base: Sequence[float], sft: Sequence[float], seed: int) -> PairedScores:
    """Compare scores from 0 to 1; the interval is no narrower than Tango's of as many items without any change.

    A bootstrap of a few equal differences has no width, and would rule out every loss.
    """
    found = paired_scores(base, sft, [None] * len(base), SAMPLES, seed)
    (low, high), least = found.interval, best_lower_bound(len(base))
    bounds = max(-1.0, min(low, found.difference + least)), min(1.0, max(high, found.difference - least))
    return found._replace(interval=bounds)


def _judged(result: BenchmarkResult, one: Measured, p: float, alpha: float) -> BenchmarkResult:
    """With a verdict: see `BenchmarkResult.verdict`.

    A loss is shown where it is significant among all deciding metrics, or where the whole interval lies beyond the margin.
    """
    assert one.margin is not None
    assert result.difference is not None
    assert result.difference_interval is not None
    low, high = result.difference_interval
    verdict: CapabilityVerdict = "held" if low > -one.margin else "undecided"
    if (p <= alpha and result.difference < 0) or high < -one.margin:
        verdict = "regressed"
    needed = _items_to_decide(result, one) if verdict == "undecided" else None
    return result.model_copy(update={"p_adjusted": p, "verdict": verdict, "items_to_decide": needed})


def _items_to_decide(result: BenchmarkResult, one: Measured) -> int | None:
    """Fewest items whose interval would lie above the margin if all shares stayed as observed.

    None where the observed loss itself reaches the margin: then more items would not show that it is tolerable.
    """
    margin, difference = one.margin, result.difference
    assert margin is not None
    assert difference is not None
    if difference <= -margin:
        return None
    if result.lost is not None and result.won is not None:
        lost, won = result.lost / result.n, result.won / result.n

        def holds(n: int) -> bool:
            return tango(lost * n, won * n, n)[0] > -margin
    else:
        assert result.difference_interval is not None
        half = (difference - result.difference_interval[0]) * math.sqrt(result.n)

        def holds(n: int) -> bool:
            return difference - half / math.sqrt(n) > -margin

    low, high = result.n, 2 * result.n
    while not holds(high):
        low, high = high, 2 * high
        if high > MOST_ITEMS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def aligned(base: Sequence[ItemScore], sft: Sequence[ItemScore], name: str) -> None:
    """Make sure that both models were asked the same.

    Raises:
        ValueError: items, prompts or targets differ: a fault of the program.
    """
    for first, second in zip(base, sft, strict=True):
        if (first.task, first.position, first.hashes) != (second.task, second.position, second.hashes):
            raise ValueError(f"{name}: the models were not asked the same item {first.position} of {first.task}")


def digests(scored: Sequence[ItemScore]) -> dict[str, str]:
    """SHA-256 over the harness's hashes of items, prompts and targets, in the order of the items."""
    return {part: hash_value([one.hashes[at] for one in scored]) for at, part in enumerate(("doc", "prompt", "target"))}

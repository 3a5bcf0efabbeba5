"""The capability report in a plan: what each benchmark can decide, and how much there is to read."""

from collections.abc import Mapping

from sft_pipeline.artifacts import Finding, PlannedBenchmark
from sft_pipeline.capabilities.items import kind_of, known
from sft_pipeline.evaluation.statistics.power import best_lower_bound, items_to_decide, largest_tolerable_loss
from sft_pipeline.experiment import Experiment

CHARACTERS_PER_TOKEN = 4
"""Of English text, as tokenizers with large vocabularies have it."""


def planned(
    experiment: Experiment, available: Mapping[str, int] | None, rate: float | None
) -> tuple[tuple[PlannedBenchmark, ...], float | None, list[Finding]]:
    """What the declared benchmarks can decide, the seconds of reading them, and findings.

    A forward pass alone takes at most half of what a training step takes for a token, and two models read the items.

    Args:
        experiment: the specification.
        available: items in the files, by benchmark; None takes the published numbers.
        rate: tokens per second of the training, where it is known or estimated.
    """
    spec = experiment.evaluation.capabilities
    found, findings = [], []
    for name, benchmark in (spec.benchmarks if spec else {}).items():
        facts = known().get(kind_of(name, benchmark))
        count = available[name] if available else facts.published if facts else None
        if count is None:
            evidence = (
                f"benchmark {name}: how many items its files hold is not known here, so neither what it can decide"
            )
            findings.append(Finding(rule="benchmark_unknown", severity="info", evidence=evidence))
            continue
        items = min(count, benchmark.limit or count)
        shots = facts.shots if facts and benchmark.shots is None else benchmark.shots or 0
        per_item = facts.characters * (1 + shots) / (1 + facts.shots) if facts else 0
        asked = PlannedBenchmark(
            name=name,
            items=items,
            margin=benchmark.margin,
            smallest_loss=-best_lower_bound(items),
            tolerable=largest_tolerable_loss(items, benchmark.margin),
            tokens=round(items * per_item / CHARACTERS_PER_TOKEN),
            new_tokens=items * facts.new_tokens if facts else 0,
        )
        found.append(asked)
        if spec and asked.tolerable < 0:
            findings.append(
                Finding(
                    rule="benchmark_undecidable",
                    severity="blocking" if spec.blocking == "undecided" else "warning",
                    evidence=f"benchmark {name}: even where no result changes, {items:,} items only rule out a loss of "
                    f"{100 * asked.smallest_loss:.1f} points; tolerated are {100 * benchmark.margin:g}",
                    remedy=f"ask {items_to_decide(benchmark.margin):,} items or more, or tolerate more",
                )
            )
    tokens = sum(benchmark.tokens for benchmark in found)
    return tuple(found), tokens / rate if rate and tokens else None, findings

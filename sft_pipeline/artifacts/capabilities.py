"""What a model can do besides its task, before and after the fine-tuning."""

from typing import ClassVar, Literal

from pydantic import Field

from sft_pipeline.artifacts.artifact import Artifact, Frozen

CapabilityVerdict = Literal["held", "regressed", "undecided"]


class ModelScore(Frozen):
    """One model on the items of a benchmark."""

    mean: float = Field(description="Mean score, from 0 to 1: the success rate where every item is right or wrong.")
    interval: tuple[float, float] = Field(description="95 % interval: Wilson's of a rate, a bootstrap's of scores.")
    successes: int | None = Field(None, description="Items that succeeded; None where an item's score is a number.")


class BenchmarkResult(Frozen):
    """One metric of a benchmark, and where there are two models their paired comparison on the same items."""

    name: str = Field(description="Name of the metric in the report, such as mmlu or truthfulqa_mc2.")
    benchmark: str = Field(description="Name of the benchmark in evaluation.capabilities.")
    task: str = Field(description="Task of lm-evaluation-harness.")
    version: str = Field(description="Version of the task's definition.")
    metric: str = Field(description="Metric of the task, such as acc_norm.")
    filter: str = Field(description="The task's filter of the answers, such as strict-match.")
    shots: int = Field(description="Examples in the prompt.")
    n: int = Field(description="Items that were asked.")
    available: int = Field(description="Items in the files.")
    hashes: dict[str, str] = Field(description="SHA-256 over the items, prompts and targets (doc, prompt, target).")
    base: ModelScore
    sft: ModelScore | None = Field(None, description="None where one model alone was measured.")
    lost: int | None = Field(None, description="Items that only the base got right.")
    won: int | None = Field(None, description="Items that only the fine-tuned model got right.")
    difference: float | None = Field(None, description="Mean score, fine-tuned minus base.")
    difference_interval: tuple[float, float] | None = Field(
        None, description="95 % interval: Tango's of paired rates, a paired bootstrap's of scores."
    )
    p: float | None = Field(
        None, description="Two-sided p of no difference: McNemar's exact test, of scores a sign-flip test."
    )
    p_adjusted: float | None = Field(None, description="By Holm over the deciding metrics; None where it is not one.")
    margin: float | None = Field(None, description="Largest tolerated loss; None where the metric does not decide.")
    verdict: CapabilityVerdict | None = Field(
        None,
        description="held: a loss as large as the margin is ruled out and none is shown. regressed: a loss is shown. "
        "undecided: neither. None where the metric does not decide.",
    )
    items_to_decide: int | None = Field(
        None, description="Items that would decide at the observed shares of lost and won ones; only where undecided."
    )


class Perplexity(Frozen):
    """Perplexity of the dev split's responses, given their prompts in the training format."""

    rows: int
    tokens: int
    base: float | None = Field(
        None, description="Of the base, or as the baseline records it; None where the baseline records none."
    )
    sft: float | None = Field(None, description="None where the base alone was measured.")
    limit: float = Field(description="Highest perplexity of the fine-tuned model, or of the base where it is alone.")

    @property
    def judged(self) -> float:
        """The perplexity of the fine-tuned model, or of the base where it is alone."""
        value = self.base if self.sft is None else self.sft
        assert value is not None
        return value

    @property
    def within(self) -> bool:
        """Whether the limit holds."""
        return self.judged <= self.limit


class CapabilityReport(Artifact):
    """Benchmarks of base and fine-tuned model: `capabilities.json`, `capabilities.html`, `capabilities.txt`,
    `baseline_metrics.json` (the fine-tuned model's results item by item, to compare a later model with), `items.parquet`
    (every item of every metric), and `differences.png`.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = ("capabilities.html", "*.png")
    BASELINE: ClassVar[str] = "baseline_metrics.json"

    verdict: CapabilityVerdict | None = Field(
        description="regressed: some deciding metric regressed, or the perplexity is over its limit. undecided: none "
        "regressed, some are undecided. None where one model alone was measured."
    )
    results: tuple[BenchmarkResult, ...]
    perplexity: Perplexity | None = Field(None, description="None where there is no dev split.")
    alpha: float = Field(description="Level at which a loss counts as shown, of the p-values adjusted by Holm.")
    blocking: Literal["none", "regressed", "undecided"] = Field(
        description="What keeps an adapter from being released, as declared: nothing, a regression, or also what the "
        "items could not decide."
    )
    problems: tuple[str, ...] = Field((), description="What keeps the adapter from being released, a sentence each.")
    notes: tuple[str, ...] = Field((), description="What a reader must know, such as a figure outside its usual range.")
    sources: dict[str, str] = Field({}, description="SHA-256 of each benchmark file, by its name in the report.")
    conditions: dict[str, str] = Field(
        {}, description="Engine, decoding, precision, versions: the same for both models."
    )
    compared_with: str = Field("base", description="base, or the name of the baseline file that stands for it.")

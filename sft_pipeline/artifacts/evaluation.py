"""Answers, the checkpoint series, and everything that a verdict says."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from sft_pipeline.artifacts.artifact import Artifact, Frozen


class Generations(Artifact):
    """Answers of one model to one split, in `generations.parquet`.

    Its columns are id, prompt, output, tokens, finish_reason and mean_logprob (mean log-probability in nats of the
    generated tokens under the model itself; null for an empty answer). `conditions` is what base and fine-tuned model
    must have in common for a comparison to mean anything.
    """

    ROWS: ClassVar[str] = "generations.parquet"

    model: Literal["base", "sft"]
    rows: int
    conditions: dict[str, str] = Field(description="Items, prompt, decoding, engine, precision, quantisation.")
    truncated_share: float
    mean_tokens: float
    mean_logprob: float | None = Field(
        None, description="Mean over the answers of their mean log-probability, in nats."
    )
    flip_rate: float | None = Field(None, description="Share of repeated items whose text differed in the second run.")
    trained_on: dict[str, str] = Field(
        {},
        description="Only of a fine-tuned model: dtype and quantization of the base that the adapter was trained on.",
    )


class PromptedAnswers(Frozen):
    """The answers of one comparator, in `NAME.parquet`: as those of `Generations`, with the tokens and examples of each prompt."""

    label: str = Field(description="What it is, such as a prompt with 4 examples.")
    conditions: dict[str, str] = Field(
        description="As those of Generations; `prompt` and the stop strings are its own."
    )
    rows: int
    unasked: tuple[str, ...] = Field((), description="Items whose prompt leaves no room for an answer.")
    notes: tuple[str, ...] = ()
    prompt_tokens: float = Field(description="Mean tokens of a prompt.")
    mean_tokens: float = Field(description="Mean tokens of an answer.")
    truncated_share: float


class ComparatorGenerations(Artifact):
    """Answers of the base with other prompts; `none.txt` where the specification declares none."""

    comparators: dict[str, PromptedAnswers] = {}
    prompt_tokens: float | None = Field(
        None, description="Mean tokens of the prompts that base and fine-tuned model get."
    )


class SeriesPoint(Frozen):
    """One checkpoint on the items of the series."""

    step: int
    n: int
    successes: int
    low: float
    high: float
    labels: dict[str, int] = Field({}, description="Answers by label of their scorer, such as format_failure.")
    types: dict[str, tuple[int, int]] = Field({}, description="Successes and judged answers by type of item.")
    mean_tokens: float | None = None
    truncated: int = Field(0, description="Answers cut at the limit of new tokens.")


class GroupResult(Frozen):
    """Paired results of a group of items (all, one type, one guarantee): see evaluation/statistics/paired.py."""

    name: str
    n: int
    base_successes: int
    sft_successes: int
    lost: int = Field(description="Pairs in which only the base succeeded (b).")
    won: int = Field(description="Pairs in which only the fine-tuned model succeeded (c).")
    base_rate: float
    base_interval: tuple[float, float]
    sft_rate: float
    sft_interval: tuple[float, float]
    lift: float
    lift_interval: tuple[float, float] = Field(description="Tango's score interval of the paired difference.")
    p_exact: float
    p_midp: float
    p_corrected: float
    cohens_h: float
    odds_ratio: float | None = Field(None, description="Conditional odds ratio won / lost; None without lost pairs.")
    odds_ratio_interval: tuple[float, float | None] = Field(
        (0.0, None), description="Exact 95 % interval of the odds ratio; None as upper end is infinite."
    )
    p_adjusted: float | None = Field(
        None,
        description="Benjamini–Hochberg over the types, of the deciding test; of checkpoints Holm over all pairs, of the exact one.",
    )
    clusters: int | None = Field(None, description="Clusters of the items, where some items share one.")
    cluster_interval: tuple[float, float] | None = Field(
        None, description="95 % bootstrap interval of the lift that draws whole clusters."
    )
    cluster_p: float | None = Field(
        None, description="Exact two-sided p of the sign-flip test over whole clusters, to within 1e-15."
    )
    power: float | None = Field(
        None, description="Power to find the planned lift with these n at the observed share of discordant pairs."
    )
    detectable: float | None = Field(
        None, description="Smallest true lift found with 80 % power, with these n and this share of discordant pairs."
    )


class SeriesComparison(Frozen):
    """Two checkpoints on the items that were judged at both; the earlier one of `steps` stands in the base's place."""

    steps: tuple[int, int]
    result: GroupResult


class SeriesReport(Artifact):
    """Success at the base (step 0) and at each kept checkpoint, on the same items.

    `answers.parquet` has every answer with its judgement, `series.md` and `series.png` are the table and the picture.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = ("*.png",)

    split: str
    points: tuple[SeriesPoint, ...]
    rule: str = Field("most_successes", description="The declared rule of the best checkpoint.")
    comparisons: tuple[SeriesComparison, ...] = Field(
        (), description="Every later checkpoint against the base, and every other one against the best."
    )
    notes: tuple[str, ...] = Field((), description="What a reader must know, such as a choice on the test split.")

    @property
    def best(self) -> SeriesPoint:
        """The checkpoint that the declared rule chooses; the base is none."""
        tuned = [p for p in self.points if p.step] or list(self.points)
        most = max(tuned, key=lambda p: (p.successes / (p.n or 1), -p.step))
        if self.rule == "most_successes" or not most.n:
            return most
        rate = most.successes / most.n
        error = (rate * (1 - rate) / most.n) ** 0.5
        return min((p for p in tuned if p.successes / (p.n or 1) >= rate - error), key=lambda p: p.step)


class ProtectedResult(Frozen):
    """A non-inferiority guarantee and how it came out."""

    name: str
    types: tuple[str, ...]
    margin: float
    result: GroupResult
    verdict: Literal["held", "violated", "undecided"]
    overlap_rule: bool = Field(description="The seeds' rule, reported beside it: the Wilson intervals overlap.")


class Sensitivity(Frozen):
    """The overall result under another treatment of what could not be judged."""

    treatment: Literal["left_out", "failures", "successes", "worst", "best", "ties_halved"]
    name: str = Field(description="Such as missing pairs left out, or missing answers of the base as successes.")
    n: int
    base_successes: int
    sft_successes: int
    lift: float
    lift_interval: tuple[float, float]
    p: float = Field(description="p-value of the deciding test.")


class Agreement(Frozen):
    """Agreement of the scorers with human labels over the same outputs."""

    n: int
    agreed: int
    kappa: float | None = Field(description="Cohen's kappa; None where one side gives one label only.")
    interval: tuple[float, float] | None = Field(description="95 % interval of kappa.")
    base_n: int = Field(0, description="Of the `n`, answers of the base; one that both models gave is of both.")
    base_agreed: int = 0
    sft_n: int = 0
    sft_agreed: int = 0


class Figures(Frozen):
    """A result in short: before or after a stress test."""

    n: int
    won: int
    lost: int
    lift: float
    lift_interval: tuple[float, float]
    p: float = Field(description="p-value of the deciding test, or of the test over whole clusters where it is larger.")


class Reason(Frozen):
    """One criterion of the gate and how it came out (docs/reference/gate_criteria.md)."""

    id: str = Field("", description="Stable name of the criterion.")
    criterion: str = Field(description="Its title; of one that is applied to several things, with the thing.")
    kind: str = Field("precondition", description="What kind of criterion it is.")
    outcome: Literal["pass", "fail", "refused", "info"]
    detail: str
    remedy: str = Field("", description="What to do where it refuses or fails.")
    thresholds: dict[str, float] = Field({}, description="Fields of evaluation.gate that it reads, with their values.")
    waived: bool = Field(False, description="It would refuse, but human labels agree with the scores.")
    before: Figures | None = Field(None, description="The result as judged; only of a stress test.")
    after: Figures | None = Field(None, description="The result under the stress test.")


class LengthRule(Frozen):
    """The best rule "a success has at most (`shorter`) or at least `limit` units"."""

    unit: Literal["characters", "words", "tokens"]
    limit: int
    shorter: bool
    recalls: tuple[float, float] = Field(description="Shares of all successes and of all failures that it predicts.")
    base_recalls: tuple[float, float] = Field(description="The same among the base's answers.")
    within: float | None = Field(description="The base's success rate within the limit.")
    within_n: int = Field(description="The base's answers within the limit.")
    fits: bool = Field(description="It predicts nearly every success and failure, in all answers and in the base's.")


class LengthAdjusted(Frozen):
    """Logistic regression of winning on the log ratio of lengths, over the discordant pairs."""

    n: int
    preference: float = Field(description="Log odds that the fine-tuned model wins at equal length.")
    preference_error: float
    slope: float = Field(description="Of the tanh of the log ratio, in units of the factor that counts as similar.")
    slope_error: float


class ModelComparison(Frozen):
    """One of several models against another, on the same items."""

    baseline: str
    model: str
    result: GroupResult = Field(
        description="`base_…` is the baseline, `sft_…` the model, and the lift is that of the model."
    )
    p: float = Field(description="p-value of the deciding test, or of the test over whole clusters where it is larger.")
    p_adjusted: float = Field(description="The same, adjusted by Holm over all comparisons of the report.")


class ComparatorResult(Frozen):
    """What a prompt alone, or another model, does on the same items beside the fine-tuned model."""

    name: str
    label: str = Field(description="What it is, such as a prompt with 4 examples.")
    n: int = Field(description="Items of which its answer was judged by itself.")
    successes: int
    interval: tuple[float, float] = Field(description="Wilson's 95 % interval of the rate.")
    types: dict[str, tuple[int, int]] = Field({}, description="Successes and judged answers by type of item.")
    missing: int = Field(
        description="Items without a judged answer of it and of the fine-tuned model; these two are compared without them."
    )
    finding: Literal["beaten", "same", "better", "undecided"] = Field(
        description="beaten: the fine-tuned model is significantly better. better: the comparator is. same: neither is, and the "
        "fine-tuned model is ahead by less than the planned lift, by the upper end of the 95 % interval. undecided: none of these, "
        "or its answers were made under other conditions, which refuses the gate."
    )
    decides_at: int | None = Field(
        None,
        description="About how many items would decide what is undecided, if the shares of won and lost ones stay.",
    )
    truncated: float | None = Field(None, description="Share of its answers cut at the limit of new tokens.")
    notes: tuple[str, ...] = ()


class TokenCost(Frozen):
    """Mean tokens of an answer; null where they are not known."""

    prompt: float | None
    completion: float | None


class GateReport(Artifact):
    """The verdict: `gate.json`, `gate.txt`, `gate.html`, `items.parquet`, `judgements.jsonl` where a judge was asked,
    `environment.json`, and pictures.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = ("gate.html", "*.png", "environment.json")

    verdict: Literal["pass", "fail", "refused"]
    overall: GroupResult
    types: tuple[GroupResult, ...]
    protected: tuple[ProtectedResult, ...]
    reasons: tuple[Reason, ...]
    test: str = Field(description="The McNemar test that decides.")
    alpha: float
    missing: int = Field(0, description="Pairs left out because one side could not be judged.")
    sensitivity: tuple[Sensitivity, ...] = Field((), description="Empty where every pair was judged.")
    agreement: Agreement | None = Field(None, description="Only where there are human labels.")
    labels: dict[str, dict[str, int]] = Field(
        {}, description="Answers by model (base, sft) and label of the scorer, such as format_failure."
    )
    comparators: tuple[ComparatorResult, ...] = Field(
        (), description="The prompted base, where some are declared or given."
    )
    comparisons: tuple[ModelComparison, ...] = Field(
        (), description="Every pair of models with Holm over all of them; empty without comparators."
    )
    costs: dict[str, TokenCost] = Field({}, description="By model (base, sft, comparators); empty without comparators.")

    @property
    def p(self) -> float:
        """p-value of the deciding test over all items."""
        return {"exact": self.overall.p_exact, "midp": self.overall.p_midp, "corrected": self.overall.p_corrected}[
            self.test
        ]


class ModelRate(Frozen):
    """How often one of several models succeeds."""

    model: str
    type: str | None = Field(description="Type of the items; None for all of them.")
    n: int
    successes: int
    interval: tuple[float, float] = Field(description="Wilson's 95 % interval of the rate.")


class ComparisonReport(Frozen):
    """More than two models on the same items: what `sft-pipeline compare` writes."""

    models: tuple[str, ...]
    n: int
    missing: int = Field(description="Items left out because the answer of at least one model could not be judged.")
    unjudged: dict[str, int] = Field(
        {}, description="Answers that could not be judged, by model, where there are some."
    )
    repeated: int = Field(0, description="Items without a group that ask the same question as another one.")
    baseline: str | None = Field(description="What every model is compared with; None: every pair is compared.")
    test: str = Field(description="The McNemar test that decides.")
    alpha: float
    cochran_q: float = Field(description="Cochran's Q over all models, chi-squared with one degree less than models.")
    cochran_p: float
    rates: tuple[ModelRate, ...]
    comparisons: tuple[ModelComparison, ...]
    inputs: dict[str, str] = Field(description="SHA-256 of each model's file.")
    notes: tuple[str, ...] = Field((), description="What the files were read as, where they are a harness's logs.")


class MeanScore(Frozen):
    """Mean score of one of several models."""

    model: str
    n: int
    mean: float


class ScoreComparison(Frozen):
    """Scores of one of several models against another's, on the same items."""

    baseline: str
    model: str
    difference: float = Field(description="Mean of the model's scores minus the baseline's.")
    interval: tuple[float, float] = Field(
        description="95 % bootstrap interval over clusters; infinite for fewer than two."
    )
    better: int = Field(description="Items on which the model's score is higher.")
    worse: int
    p: float = Field(description="Two-sided p-value of the sign-flip test over clusters.")
    p_adjusted: float = Field(description="The same, adjusted by Holm over all comparisons of the report.")


class ScoreReport(Frozen):
    """Scores that are no booleans: what `sft-pipeline compare` writes where no threshold is declared."""

    metric: str
    models: tuple[str, ...]
    n: int
    missing: int = Field(description="Items left out because at least one model has no score.")
    clusters: int
    baseline: str | None
    alpha: float
    means: tuple[MeanScore, ...]
    comparisons: tuple[ScoreComparison, ...]
    inputs: dict[str, str] = Field(description="SHA-256 of each model's file.")
    notes: tuple[str, ...] = ()


class SpecificationDifference(Frozen):
    """A field in which the specifications of experiments differ."""

    path: str = Field(description="Its path, such as training.learning_rate.")
    values: dict[str, Any] = Field(
        description="By experiment; one that has no such field, or does not set it, is missing."
    )


class ComparedExperiment(Frozen):
    """What is stored of one of several experiments; None and empty where nothing is."""

    name: str
    description: str = ""
    plan: dict[str, float] = Field({}, description="Figures of the plan: rows, steps, sequences per step, passes.")
    training: dict[str, float] = Field({}, description="Figures of the training and of its diagnosis.")
    healthy: bool | None = None
    verdict: str | None = Field(None, description="The gate's.")
    overall: GroupResult | None = Field(None, description="The gate's, of all items.")
    p: float | None = Field(None, description="p-value of the gate's deciding test.")
    curves: dict[str, tuple[tuple[float, float], ...]] = Field(
        {}, description="Training loss, dev loss and token accuracy over the axis of the comparison."
    )
    series: tuple[tuple[float, float, int], ...] = Field(
        (), description="Axis, share of successes and judged answers of each point of the checkpoint series."
    )
    problems: tuple[str, ...] = Field((), description="What is missing, damaged, or does not belong together.")


class ExperimentComparison(Frozen):
    """Two and more experiments side by side: what `sft-pipeline compare-experiments` writes."""

    experiments: tuple[ComparedExperiment, ...]
    differences: tuple[SpecificationDifference, ...]
    axis: Literal["step", "rows"] = Field(
        description="Of the curves: rows trained on where batches differ, so that a step is not the same everywhere."
    )
    alpha: float
    test: str = Field(description="The McNemar test that decides.")
    comparisons: tuple[ModelComparison, ...] = Field(
        description="Of the fine-tuned models, for every pair of experiments with common items; Holm over these pairs."
    )
    apart: dict[str, str] = Field(description="Pairs that cannot be compared, as `A, B`, and why.")
    notes: tuple[str, ...] = ()

"""How answers are judged and when the verdict is positive."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from sft_pipeline.experiment.capabilities import Capabilities
from sft_pipeline.experiment.section import Positive, Section, Seed, Share, once


class ScorerSpec(Section):
    """Which scorer judges a type of item, with its options."""

    kind: Literal[
        "exact",
        "numeric",
        "contains",
        "choice",
        "regex",
        "json_record",
        "json_schema",
        "item_list",
        "math",
        "think_answer",
        "ifeval",
        "code",
        "refusal",
        "answer",
        "judge",
        "judgements",
    ] = Field(description="Name of the scorer: one file in evaluation/scorers/.")
    options: dict[str, JsonValue] = Field({}, description="Options of that scorer.")


class Protected(Section):
    """Types that the fine-tuned model must not do worse at: non-inferiority by the lower bound of Tango's interval."""

    name: str = Field(description="Name of the guarantee in the report, such as safety.")
    types: tuple[str, ...] = Field(min_length=1, description="Item types, taken together; each needs test items.")
    margin: float = Field(gt=0, lt=1, description="Largest tolerated loss, as a difference of proportions.")

    @model_validator(mode="after")
    def _types_once(self) -> "Protected":
        once(self.types, "types")
        return self


class Comparator(Section):
    """The base with another prompt, beside base and fine-tuned model: what could a prompt alone do?"""

    examples: int = Field(
        4, ge=0, description="Examples from the training split in front of each item; 0 is the template alone."
    )
    choose: Literal["seed", "nearest"] = Field(
        "seed",
        description="seed: the same examples for every item, drawn by `seed`. nearest: for each item those whose instructions "
        "share most word shingles with it (data.duplicates.ngram), the most similar one last.",
    )
    seed: Seed = Field(11, description="Seed of the draw, and of the order among equally similar examples.")
    template: str | None = Field(
        None,
        description="The whole prompt, with {instruction} once, and {examples} once where there are some. Nothing else in it is "
        "interpreted. Default: the examples, then the experiment's own prompt.",
    )
    example: str | None = Field(
        None,
        description="An example, with {instruction} and {response} once each. Default: the experiment's own prompt with the "
        "response.",
    )
    separator: str = Field("\n\n", min_length=1, description="What follows each example.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None,
        description="Where an answer ends besides generation.stop. Default: where the base would go on with a further example, "
        "which is `separator` with the text of `example` in front of its instruction.",
    )

    @model_validator(mode="after")
    def _placeholders(self) -> "Comparator":
        if not self.examples and self.template is None:
            raise ValueError("without examples and without a template it is the base itself: set one of them")
        wanted = {"template": ("instruction", *(["examples"] if self.examples else []))}
        for field, names in (wanted | {"example": ("instruction", "response")}).items():
            text = getattr(self, field)
            for name in names if text is not None else ():
                if text.count(f"{{{name}}}") != 1:
                    raise ValueError(f"{field} must contain {{{name}}} exactly once")
        if not self.examples and "{examples}" in (self.template or ""):
            raise ValueError("template contains {examples}, but examples is 0")
        return self


ComparatorName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]  # the name of a file and of columns


class Gate(Section):
    """When the adapter counts as better than its base."""

    alpha: float = Field(0.01, gt=0, lt=1, description="Significance level of the paired test over all items.")
    test: Literal["exact", "midp", "corrected"] = Field("exact", description="Which McNemar test decides.")
    min_lift: float = Field(
        0.0, ge=0, lt=1, description="Lift (difference of proportions) that must at least be reached."
    )
    max_interval_width: float = Field(0.25, gt=0, le=2, description="Widest acceptable 95 % interval of the lift.")
    false_discovery_rate: float = Field(0.10, gt=0, lt=1, description="Level of Benjamini–Hochberg over the types.")
    max_base_success: Share = Field(
        0.95, description="Headroom: a base that succeeds more often than this stops the run."
    )
    max_truncated_share: Share = Field(
        0.10, description="Answers of the fine-tuned model cut at max_new_tokens; above this the gate is refused."
    )
    max_base_truncated_share: Share = Field(
        0.50,
        description="The same for the base, which often goes on until it is cut: a limit of its own, for a cut answer "
        "must not be what makes the base fail. Whatever the share, a lift that is not there where neither answer was cut is "
        "refused.",
    )
    max_repetitive_share: Share = Field(
        0.10,
        description="Answers of the fine-tuned model of which repeated 4-grams make up over half; above this the gate is "
        "refused where the lift depends on them.",
    )
    max_unreadable_share: Share = Field(
        0.50,
        description="Answers of either model in which the scorer finds no answer; above this the gate is refused. A base that "
        "honestly lacks the format needs 1.",
    )
    max_void_share: Share = Field(
        0.10,
        description="Answers of either model that say nothing (blank, special tokens, echoes, error messages, one text for "
        "everything); above this the gate is refused where the lift is not significant without them.",
    )
    max_support_p: Share = Field(
        0.2,
        description="Two-sided p up to which a positive lift among the items that no heuristic judged supports a significant one "
        "over all: four wins without a loss, exactly. At alpha instead most sound experiments with few verified items would be "
        "refused; at 1 a lift of the heuristics alone would mostly pass (benchmarks/gate_error.py, table support).",
    )
    max_missing_share: Share = Field(
        0.05, description="Pairs without a judgement on both sides; above this the gate is refused."
    )
    max_bad_reference_share: Share = Field(
        0.01,
        description="Items whose reference their scorer cannot use, such as a number that is none: they are left out for both "
        "models and reported. Above this share of the items nothing is judged; up to it no rate can move by more than a "
        "point.",
    )
    may_worsen: tuple[str, ...] = Field(
        (), description="Item types that may be significantly worse without failing the gate; the report says so."
    )
    flip_rate: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Share of the items on which a repeated run of the same model is judged differently, where it was measured "
        "elsewhere; the lift must lie above it. The lineage measures its own by judging the repeated answers.",
    )
    similar_length: float = Field(
        1.5, gt=1, description="Factor between two answers' characters up to which they are of similar length."
    )
    length_explains: Share = Field(
        0.85,
        description="Share of the successes, and of the failures, that one limit of length must predict for the score to be one "
        "of length. Not 1, for such a scorer may err; judged solutions of GSM8K come to 0.58 and 0.66.",
    )
    expected_words: Positive = Field(
        8, description="An expected answer of at most this many words is looked for in an output."
    )
    certain_words: Positive = Field(
        3,
        description="An expected answer of at most this many words can hardly be said in other words, so that a success without "
        "it contradicts it.",
    )
    contained_by_chance: Share = Field(
        0.8,
        description="An expected answer in a failed one tells nothing where failed answers contain those of other items at least "
        "this many times as often, as reasoning over all choices does.",
    )
    min_kappa: float = Field(
        0.7, ge=-1, le=1, description="Cohen's kappa of the scorers with human_labels that is required."
    )
    min_labels: Positive = Field(20, description="Human labels from which kappa is taken to say something.")
    min_labels_each: Positive = Field(
        10,
        description="Labels of each model from which they support its scores: where a quarter of a model's answers are "
        "misjudged, ten labels show one of them with a probability of 94 %.",
    )
    people: Literal["prefer", "not_worse"] | None = Field(
        None,
        description="What a human review must show besides: that people prefer the fine-tuned model, by a sign test below "
        "alpha; or that it is not worse, by the lower bound of their net preference above -people_margin.",
    )
    people_margin: float = Field(
        0.10, gt=0, lt=1, description="Largest tolerated net preference for the base, where people say not_worse."
    )
    bootstrap_samples: Positive = Field(2000, description="Samples of the bootstrap by cluster.")
    bootstrap_seed: Seed = Field(11, description="Seed of that bootstrap.")
    protected: tuple[Protected, ...] = Field((), description="Non-inferiority guarantees.")
    undecided: Literal["fails", "passes"] = Field(
        "fails",
        description="What a guarantee that the items cannot decide does to the verdict, and so under beat_comparators.",
    )
    beat_comparators: bool = Field(
        False,
        description="Whether the gate fails where a comparator does as well as the fine-tuned model. Off: the gate's question is "
        "whether the adapter is better than its base, and a prompt that does the same has its price in every answer; the "
        "headline and the costs in tokens say it. On where an adapter is only worth serving if no prompt does the same.",
    )
    expected_discordance: float = Field(
        0.2, gt=0, le=1, description="Share of discordant pairs that the power is planned for."
    )
    planned_lift: float = Field(0.10, gt=0, lt=1, description="True lift that the gate should be able to detect.")
    min_power: Share = Field(0.8, description="Power at planned_lift below which the plan is refused.")

    @model_validator(mode="after")
    def _guarantees_once(self) -> "Gate":
        once(tuple(guarantee.name for guarantee in self.protected), "protected")
        return self


class Live(Section):
    """The checkpoint series measured in the step of the training: a process of its own evaluates complete checkpoints."""

    device: Literal["auto", "own", "same", "after"] = Field(
        "auto",
        description="own: a device beside those of the training; on the CPU the cores that the training leaves. same: the "
        "training's device, and the training waits at each checkpoint. after: that device, once the training has ended. auto: "
        "own where the machine has a device more than the training needs, otherwise after.",
    )
    at_end: Literal["drain", "drop"] = Field(
        "drain",
        description="What becomes of checkpoints that are not evaluated when the training ends: drain evaluates them before "
        "the step ends, drop leaves them to checkpoint_series.",
    )

    @model_validator(mode="after")
    def _something_to_evaluate(self) -> "Live":
        if (self.device, self.at_end) == ("after", "drop"):
            raise ValueError(
                "device: after evaluates at the end, and at_end: drop evaluates nothing then: leave one out"
            )
        return self


class Series(Section):
    """The checkpoint series: which items, and which checkpoint counts as the best."""

    split: Literal["dev", "test"] = Field(
        "dev",
        description="dev, because a checkpoint that was chosen on the test split is judged on items that chose it.",
    )
    best: Literal["most_successes", "within_one_standard_error"] = Field(
        "most_successes",
        description="The earliest checkpoint with the most successes, or the earliest whose success rate lies within one "
        "standard error of it.",
    )
    live: Live | None = Field(
        None,
        description="Measure the series while the training runs: results go to the trackers as eval/… and are reused by "
        "checkpoint_series. Default: it alone measures, afterwards.",
    )

    @model_validator(mode="after")
    def _training_reads_no_test_items(self) -> "Series":
        if self.live and self.split != "dev":
            raise ValueError("live: a training reads no test items: set split: dev, or leave live out")
        return self


class Review(Section):
    """A human review: what people are shown, and where their answers are found."""

    returned: str = Field(
        description="Folder for the files that raters return, relative to the project's root, for this experiment alone."
    )
    guide: str = Field(
        "Read the instruction, then both answers. An answer succeeds if it does what the instruction asks and what it says "
        "is true. Then say which answer is better, or that neither is. Length and style count only as far as they help "
        "whoever asked.",
        min_length=1,
        description="What raters read before they begin.",
    )
    raters: Positive = Field(2, description="People who judge; all of them see the same items, each in another order.")
    items_per_rater: int = Field(100, ge=4, description="Pairs on a page, with repeats and catch trials.")
    repeated: float = Field(
        0.1, ge=0, le=0.5, description="Share of the page that shows a pair again, with its sides exchanged."
    )
    catch_trials: float = Field(0.05, ge=0, le=0.5, description="Share of the page that shows one text twice.")
    oversample: float = Field(
        3.0,
        ge=1,
        description="How much likelier a pair is drawn that the scorers judge differently or cannot judge. Weights undo it.",
    )
    seed: Seed = Field(11, description="Seed of the draw and of every order.")

    @model_validator(mode="after")
    def _something_to_judge(self) -> "Review":
        if self.repeated + self.catch_trials > 0.5:
            raise ValueError("repeated and catch_trials are more than half of the page")
        return self


class Evaluation(Section):
    """How answers are judged and when the verdict is positive."""

    scorers: dict[str, ScorerSpec] = Field(description="Scorer by item type; the key `default` serves all others.")
    human_labels: str | None = Field(
        None,
        description="JSONL of id, output and success by humans, relative to the project's root: agreement of the scorers "
        "with it is part of the gate.",
    )
    review: Review | None = Field(
        None,
        description="A human review of the answers; its labels count as human_labels, its preference for gate.people.",
    )
    human_preference: str | None = Field(
        None,
        description="review.json of `sft-pipeline review read`, relative to the project's root, for gate.people where the "
        "answers are files.",
    )
    run_code: bool = Field(
        False, description="Let the scorer `code` run what a model wrote. Off by default: it is foreign code."
    )
    comparators: dict[ComparatorName, Comparator] = Field(
        {},
        description="By name, prompts with which the base is compared besides: would a few examples in the prompt have done the "
        "same? They are judged by the same scorers.",
    )
    series: Series = Field(Series(), description="The checkpoint series.")
    gate: Gate = Field(Gate(), description="The decision.")
    capabilities: Capabilities | None = Field(
        None, description="What must not be forgotten: benchmarks of base and fine-tuned model. Default: not measured."
    )

    @model_validator(mode="after")
    def _comparators_are_others(self) -> "Evaluation":
        if taken := {"base", "sft"} & self.comparators.keys():
            raise ValueError(
                f"comparators.{taken.pop()} is the name of a model that is compared anyway: take another one"
            )
        return self

    @model_validator(mode="after")
    def _code_may_run(self) -> "Evaluation":
        named = self.capabilities.benchmarks.items() if self.capabilities else ()
        if not self.run_code and (code := [name for name, b in named if (b.task or name) == "humaneval"]):
            raise ValueError(f"capabilities.benchmarks.{code[0]} runs what a model wrote: set run_code: true")
        return self


class EvaluationOnly(Section):
    """A file with nothing but the evaluation, for outputs that were made elsewhere."""

    description: str = Field("", description="What the comparison is for.")
    evaluation: Evaluation = Field(description="How answers are judged and when the verdict is positive.")

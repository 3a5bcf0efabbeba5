"""The frozen values that travel between assets.

An artifact is small: it names files by path and hash and carries the figures that a reader wants first. Weights and
rows stay in the files. Two artifacts with the same content have the same `digest`, whatever time they took and on
whatever machine they were made: timings stand in `measurements` and in the files of `VOLATILE`, which are checked for
integrity but are no part of the identity.
"""

from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from sft_pipeline.provenance.hashing import files_below, hash_file, hash_value


class Frozen(BaseModel):
    """A value that cannot be changed and has no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class FileRef(Frozen):
    """A file of an artifact: POSIX path relative to the artifact's root, SHA-256 and size in bytes."""

    path: str
    sha256: str
    bytes: int


class Artifact(Frozen):
    """Base of everything that an IO manager stores."""

    VOLATILE: ClassVar[tuple[str, ...]] = ()
    """Patterns of the files that differ between two identical runs (logs with times, environment records)."""

    root: Path = Field(exclude=True, description="Folder that holds the files; set anew wherever it is read.")
    files: dict[str, FileRef] = {}
    upstream: dict[str, str] = Field({}, description="Digest of every artifact that this one was made from, by asset.")
    measurements: dict[str, float | int | str] = Field(
        {}, description="Timings, throughput, peak memory: not part of the digest."
    )
    key: str = Field("", description="Hash of all that the producing step depended on: not part of the digest.")

    @classmethod
    def seal(cls, root: Path, **fields: Any) -> Self:
        """Hash every file below `root` and return the artifact that consists of them.

        Args:
            root: folder in which the producing step has written all files of the artifact, and nothing else.
            fields: the fields of the artifact's type.
        """
        refs = {}
        for path in files_below(root):
            name = path.relative_to(root).as_posix()
            refs[name] = FileRef(path=name, sha256=hash_file(path), bytes=path.stat().st_size)
        return cls(root=root, files=refs, **fields)

    def path(self, name: str) -> Path:
        """Absolute path of the artifact's file `name`.

        Raises:
            KeyError: the artifact has no such file.
        """
        return self.root / self.files[name].path

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: type, fields and stable files."""
        content = self.model_dump(mode="json", exclude={"files", "measurements", "key"})
        stable = {n: f.sha256 for n, f in self.files.items() if not any(fnmatch(n, p) for p in self.VOLATILE)}
        return hash_value({"type": type(self).__name__, "content": content, "files": stable})

    @property
    def version(self) -> str:
        """What downstream depends on, and the Dagster data version: the digest, unless a type says otherwise."""
        return self.digest

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(ref.bytes for ref in self.files.values())


# ---------------------------------------------------------------------------------------------------------------- data


class Threshold(Frozen):
    """A figure of the data against its declared limit."""

    name: str
    value: float
    limit: float
    direction: Literal["at most", "at least"]

    @property
    def passed(self) -> bool:
        """Whether the value keeps the limit; a value equal to it does."""
        return self.value <= self.limit if self.direction == "at most" else self.value >= self.limit


class LeakedPair(Frozen):
    """A test item and the training row that comes nearest to it by one tier of the comparison."""

    tier: Literal["exact", "near", "group", "contained", "semantic"]
    test_id: str
    train_id: str
    similarity: float = Field(description="Jaccard, contained share or cosine, after the tier; 1 for exact and group.")
    test_text: str
    train_text: str = Field(description="The instruction; where n-grams are contained, instruction and response.")
    matched: str = Field("", description="The longest run of words that both hold, cut to 300 characters.")
    test_source: str = Field("", description="File and row of the test item, where they are known.")
    train_source: str = Field("", description="File and row of the training row, where they are known.")


class LeakageProof(Frozen):
    """What was compared between training rows and test items, how, and what was found; counts are of test items.

    `exact`, `near` and `groups` must be 0, and so must `contained_over_limit` and, where it decides, `semantic`.
    Everything in it can be recomputed from the two files whose hashes it names.
    """

    against: str = Field(description="Names of the compared sides, such as train+dev → test.")
    train_rows: int
    test_rows: int
    train_sha256: str = Field(
        "", description="Hash of the normalised instruction, the response and the group of each training row, in order."
    )
    test_sha256: str = Field(
        "", description="Hash of the normalised instruction and the group of each test row, in order."
    )
    ngram: int
    threshold: float
    containment_ngram: int
    max_contained_share: float
    exact: int
    near: int = Field(description="Near-duplicates that are not exact.")
    groups: int
    contained: int = Field(description="Test items that share a word n-gram with a training instruction.")
    contained_over_limit: int = Field(
        description="Test items of which more than max_contained_share stands in training, responses included."
    )
    semantic: int | None = Field(None, description="Test items at or above the semantic threshold; None: not compared.")
    semantic_model: str = ""
    semantic_threshold: float | None = None
    semantic_decides: bool = False
    leaks: tuple[LeakedPair, ...] = Field((), description="The leaks, the first hundred of each tier.")
    nearest: tuple[LeakedPair, ...] = Field((), description="The most similar pairs of each tier, leaks or not.")

    @property
    def clean(self) -> bool:
        """Whether no test item leaks by any of the tiers that decide."""
        leaks = self.exact + self.near + self.groups + self.contained_over_limit
        return leaks + ((self.semantic or 0) if self.semantic_decides else 0) == 0


class LengthDistribution(Frozen):
    """Lengths of a text field of the kept rows, with a histogram (`counts[i]` rows from `edges[i]` to `edges[i+1]`)."""

    name: str = Field(description="Such as response_tokens.")
    median: float
    mean: float
    p95: float
    largest: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class FilterOutcome(Frozen):
    """What one filter did: `objected` rows it had a reason against, `dropped` those that it was the first to object to."""

    name: str
    objected: int
    dropped: int


class RejectedSample(Frozen):
    """A dropped row for the report; the texts are cut."""

    filter: str
    reason: str
    matched: str
    instruction: str
    response: str
    source_file: str
    source_row: int


class DuplicateClusters(Frozen):
    """Clusters of duplicates on one level, of two rows and more."""

    level: Literal["exact", "pair", "instruction"]
    clusters: int
    rows: int = Field(description="Rows in them.")
    largest: int
    dropped: int


class QualityManifest(Frozen):
    """Everything that the quality stage has to say about a dataset: `manifest.json`, and the report made from it."""

    source: str
    source_schema: str
    rows_read: int
    rows_unreadable: int
    rows_kept: int
    types: dict[str, int]
    unique_instructions: int
    filters: tuple[FilterOutcome, ...]
    duplicates: tuple[DuplicateClusters, ...]
    lengths: tuple[LengthDistribution, ...]
    thresholds: tuple[Threshold, ...]
    acceptance: dict[str, float] = Field({}, description="Share that each critic accepted of the rows it judged.")
    samples: tuple[RejectedSample, ...] = ()
    libraries: dict[str, str] = Field({}, description="Libraries that decided something, with their versions.")
    notes: tuple[str, ...] = ()


class InstructionDataset(Artifact):
    """Instruction rows in `rows.parquet` (schema: dataset/table.py) and, beside them, the rows set aside.

    `rejected.parquet` holds every dropped row with the filter, the reason and the matched text. A raw dataset also
    carries what was brought beside it: `test.parquet` and `benchmarks/NAME.parquet`. A clean one carries
    `duplicates.parquet` (every cluster, and which member was kept and why), `manifest.json` and `report.html`.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = ("report.html", "*.png")
    ROWS: ClassVar[str] = "rows.parquet"
    REJECTED: ClassVar[str] = "rejected.parquet"
    TEST: ClassVar[str] = "test.parquet"
    DUPLICATES: ClassVar[str] = "duplicates.parquet"
    MANIFEST: ClassVar[str] = "manifest.json"
    REPORT: ClassVar[str] = "report.html"
    CROISSANT: ClassVar[str] = "croissant.json"

    stage: Literal["raw", "clean", "train", "dev", "test"]
    rows: int
    rejected: dict[str, int] = Field({}, description="Rows set aside, by reason.")
    types: dict[str, int] = Field({}, description="Rows by item type.")
    source: str = Field("", description="Where the rows came from, with the SHA-256 of the bytes that were read.")
    source_schema: str = Field("", description="Recognised schema or mapping.")
    statistics: dict[str, float] = Field({}, description="Length statistics: name → value.")
    thresholds: tuple[Threshold, ...] = ()
    proof: LeakageProof | None = Field(None, description="Only on dev and test: the leakage proof against training.")
    notes: tuple[str, ...] = Field((), description="What a reader should know, such as a smaller test set and why.")

    @property
    def brought_test(self) -> Path | None:
        """Rows of the test file that was brought beside a raw dataset, if one was."""
        return self.path(self.TEST) if self.TEST in self.files else None

    @property
    def benchmarks(self) -> dict[str, Path]:
        """Items of the protected benchmarks that were read beside a raw dataset, by name."""
        found = (Path(name) for name in self.files)
        return {path.stem: self.path(path.as_posix()) for path in found if path.parent == Path("benchmarks")}


# --------------------------------------------------------------------------------------------------------------- model


class ModelSnapshot(Artifact):
    """A base model's files: config.json, safetensors weights and tokenizer."""

    source: str = Field(description="Kind and name or path of the source.")
    revision: str = Field(description="Commit, recipe hash or content hash.")
    architecture: str
    parameters: int
    vocabulary: int


class SentinelResult(Frozen):
    """A sentinel's answer and its verdict."""

    name: str
    mode: Literal["raw", "format"]
    expect: Literal["fails", "works"]
    prompt: str
    answer: str
    succeeded: bool
    passed: bool
    blocking: bool


class GuardReport(Artifact):
    """Whether the base is a base: template, token-id and delta checks, sentinels raw and in the training format."""

    checks: dict[str, str] = Field(description="Name of each structural check → '' when it passed, else what is wrong.")
    sentinels: tuple[SentinelResult, ...]
    loader: dict[str, str] = Field(description="Provenance of the loading: loader version, model, quantisation, …")

    @property
    def version(self) -> str:
        """Only the outcome: another sentinel that the base passes too must not make anybody train again."""
        return hash_value({"passed": self.passed, "loader": self.loader})

    @property
    def passed(self) -> bool:
        """Whether nothing stops the run."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that stops the run, a sentence each."""
        structural = tuple(f"{name}: {problem}" for name, problem in self.checks.items() if problem)
        return structural + tuple(
            f"sentinel {s.name} ({s.mode}) should {'fail' if s.expect == 'fails' else 'work'} but "
            f"{'succeeded' if s.succeeded else 'failed'}: {s.answer!r}"
            for s in self.sentinels
            if s.blocking and not s.passed
        )


# ------------------------------------------------------------------------------------------------------------ training


class Finding(Frozen):
    """Something that a plan or a diagnosis has to say, with the numbers it rests on and the remedy."""

    rule: str
    severity: Literal["info", "warning", "blocking"]
    evidence: str
    remedy: str = ""


class TrainingPlan(Artifact):
    """What the training will do and whether it can work, before any step is made."""

    VOLATILE: ClassVar[tuple[str, ...]] = ("schedule.png",)

    train_rows: int
    effective_batch: int
    steps: int
    warmup_steps: int
    coverage: float = Field(description="Passes over the training rows.")
    learning_rates: tuple[float, ...] = Field(description="Learning rate at 0, 10, …, 100 % of the steps.")
    tokens_per_epoch: int
    padding_share: float = Field(description="Expected share of padding in the batches.")
    cut_rows: int = Field(0, description="Rows longer than the sequence limit.")
    longest: int = Field(0, description="Tokens of the longest row, after cutting.")
    negligible_from: int | None = Field(
        None, description="Step from which on the learning rate is below 1 % of its peak, if there is one."
    )
    seconds: float | None = Field(None, description="Estimated training time, where the throughput is declared.")
    lora_scaling: float = Field(0.0, description="Factor of the adapter's output.")
    trainable_parameters: int
    total_parameters: int
    memory_bytes: dict[str, int] = Field(description="Estimated memory by part, in bytes.")
    base_success: float | None = Field(None, description="The base's success on the dev split in the training format.")
    test_items: dict[str, int] = {}
    power: dict[str, float] = Field({}, description="Power and minimum detectable effect by name of the test.")
    findings: tuple[Finding, ...] = ()

    @property
    def version(self) -> str:
        """Only what the training rests on: another gate makes another plan, but no other adapter."""
        return hash_value([self.train_rows, self.effective_batch, self.steps, self.warmup_steps, self.learning_rates])

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """Findings that refuse the plan."""
        return tuple(f for f in self.findings if f.severity == "blocking")


class AdapterSnapshot(Artifact):
    """A trained adapter in `adapter/`, kept checkpoints in `checkpoints/<step>/`, logs and training manifest.

    `log_history.json` holds the trainer's log rows without times; `training_manifest.json` and `TRAINING_SUCCESS` hold
    times and the environment.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = (
        "training_manifest.json",
        "TRAINING_SUCCESS",
        "trainer_state.json",
        "loss.png",
        "mask_audit.html",
        "training_log.jsonl",
        "validation_samples.jsonl",  # made with the decoding of the generations, on which the adapter does not depend
        "trackers.json",
        "tensorboard/*",
        "wandb/*",
        "mlflow/*",
    )

    steps: int = Field(description="Steps that were made: fewer than planned where the dev loss no longer fell.")
    step: int = Field(description="Step whose weights the adapter holds.")
    epochs: float
    trainable_parameters: int
    loss_first: float
    loss_last: float
    dev_loss: float | None = Field(None, description="Dev loss at `step`, or at the last evaluation before it.")
    checkpoints: tuple[int, ...] = Field((), description="Steps of the kept checkpoints, without that of the adapter.")
    masked_rows: int = Field(0, description="Training rows that carry no loss at all.")


class TrainingReport(Artifact):
    """The diagnosis of a training from its logs."""

    VOLATILE: ClassVar[tuple[str, ...]] = ("curves.png",)

    findings: tuple[Finding, ...]
    metrics: dict[str, float] = {}

    @property
    def healthy(self) -> bool:
        """Whether no finding says that the training is sick."""
        return not any(f.severity == "blocking" for f in self.findings)


# ---------------------------------------------------------------------------------------------------------- evaluation


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


class SeriesReport(Artifact):
    """Success at the base (step 0) and at each kept checkpoint, on the same items.

    `answers.parquet` has every answer with its judgement, `series.md` and `series.png` are the table and the picture.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = ("*.png",)

    split: str
    points: tuple[SeriesPoint, ...]
    rule: str = Field("most_successes", description="The declared rule of the best checkpoint.")
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


class GroupResult(Frozen):
    """Paired results of a group of items (all, one type, one guarantee): see evaluation/statistics.py."""

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
    p_adjusted: float | None = Field(None, description="Benjamini–Hochberg over the types, of the deciding test.")
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
    kappa: float | None = Field(description="Cohen's kappa; None where both sides give one and the same label only.")
    interval: tuple[float, float] | None = Field(description="95 % interval of kappa.")


class Reason(Frozen):
    """One criterion of the gate and how it came out."""

    criterion: str
    outcome: Literal["pass", "fail", "refused", "info"]
    detail: str


class GateReport(Artifact):
    """The verdict: `gate.json`, `gate.txt`, `gate.html`, `items.parquet`, `judgements.jsonl` where a judge was asked, and
    pictures.
    """

    VOLATILE: ClassVar[tuple[str, ...]] = ("gate.html", "*.png")

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


class ModelComparison(Frozen):
    """One of several models against another, on the same items."""

    baseline: str
    model: str
    result: GroupResult = Field(
        description="`base_…` is the baseline, `sft_…` the model, and the lift is that of the model."
    )
    p: float = Field(description="p-value of the deciding test.")
    p_adjusted: float = Field(description="The same, adjusted by Holm over all comparisons of the report.")


class ComparisonReport(Frozen):
    """More than two models on the same items: what `sft-pipeline compare` writes."""

    models: tuple[str, ...]
    n: int
    missing: int = Field(description="Items left out because the answer of at least one model could not be judged.")
    baseline: str | None = Field(description="What every model is compared with; None: every pair is compared.")
    test: str = Field(description="The McNemar test that decides.")
    alpha: float
    cochran_q: float = Field(description="Cochran's Q over all models, chi-squared with one degree less than models.")
    cochran_p: float
    rates: tuple[ModelRate, ...]
    comparisons: tuple[ModelComparison, ...]
    inputs: dict[str, str] = Field(description="SHA-256 of each model's file.")

"""Plan, adapter and diagnosis."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sft_pipeline.artifacts.artifact import Artifact, Frozen

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


class Finding(Frozen):
    """Something that a plan or a diagnosis has to say, with the numbers it rests on and the remedy."""

    rule: str
    severity: Literal["info", "warning", "blocking"]
    evidence: str
    remedy: str = ""


class PlannedBenchmark(Frozen):
    """What a benchmark of the capability report can decide."""

    name: str
    items: int = Field(description="Items that each model is asked.")
    margin: float
    smallest_loss: float = Field(description="Loss that the items rule out where no result changes.")
    tolerable: int = Field(
        description="Most items that may be lost with none won; -1 where the margin cannot be shown."
    )
    tokens: int = Field(
        description="Tokens that each model reads, at four characters a token; 0 where it is not known."
    )
    new_tokens: int = Field(0, description="Most tokens that each model writes.")


class TrainingPlan(Artifact):
    """What the training will do and whether it can work, before any step is made."""

    VOLATILE: ClassVar[tuple[str, ...]] = ("schedule.png",)

    train_rows: int = Field(description="Rows of the training split.")
    masked_rows: int = Field(
        0, description="Fully masked rows of it, whose prompt alone reaches the limit: they are left out."
    )
    effective_batch: int = Field(description="Sequences per step; of a batch that grows, the largest.")
    steps: int
    warmup_steps: int
    coverage: float = Field(description="Passes over the rows that are trained on.")
    learning_rates: tuple[float, ...] = Field(description="Learning rate at 0, 10, …, 100 % of the steps.")
    batches: tuple[int, ...] = Field((), description="Sequences per step there, of a batch that grows.")
    tokens_per_epoch: int
    padding_share: float = Field(description="Expected share of padding in the batches.")
    cut_rows: int = Field(0, description="Rows longer than the sequence limit.")
    longest: int = Field(0, description="Tokens of the longest row, after cutting.")
    negligible_from: int | None = Field(
        None, description="Step from which on the learning rate is below 1 % of its peak, if there is one."
    )
    settings: dict[str, Any] = Field(
        {}, description="Fields of the training that the specification leaves to the plan, with what it chose."
    )
    seconds: float | None = Field(None, description="Estimated training time, where there is a throughput.")
    tokens_per_second: float | None = Field(None, description="Throughput that the time rests on.")
    rate_basis: Literal["declared", "measured", "estimated"] | None = Field(
        None, description="Whether it was declared, measured by an earlier training, or estimated for the card."
    )
    lora_scaling: float = Field(0.0, description="Factor of the adapter's output.")
    trainable_parameters: int
    total_parameters: int
    memory_bytes: dict[str, int] = Field(description="Estimated memory by part, in bytes.")
    base_success: float | None = Field(None, description="The base's success on the dev split in the training format.")
    test_items: dict[str, int] = {}
    power: dict[str, float] = Field({}, description="Power and minimum detectable effect by name of the test.")
    benchmarks: tuple[PlannedBenchmark, ...] = ()
    benchmark_seconds: float | None = Field(
        None, description="Estimated time of reading the benchmarks, where there is a throughput."
    )
    findings: tuple[Finding, ...] = ()

    @property
    def identity(self) -> list[Any]:
        """Only what the training rests on: another gate makes another plan, but no other adapter."""
        batch = self.batches or self.effective_batch
        decisive = {name: value for name, value in sorted(self.settings.items()) if name != "eval_batch_size"}
        return [self.train_rows, batch, self.steps, self.warmup_steps, self.learning_rates, decisive]

    def applied(self, experiment: "Experiment") -> "Experiment":
        """The specification with what the plan chose: nothing is left open."""
        return experiment.model_copy(update={"training": experiment.training.completed(self.settings)})

    @property
    def trained_rows(self) -> int:
        """Rows that are not fully masked: what an epoch reads."""
        return self.train_rows - self.masked_rows

    @property
    def blocking(self) -> tuple[Finding, ...]:
        """Findings that refuse the plan."""
        return tuple(f for f in self.findings if f.severity == "blocking")


class AdapterSnapshot(Artifact):
    """A trained adapter in `adapter/`, kept checkpoints in `checkpoints/<step>/`, logs and training manifest.

    `log_history.json` holds the trainer's log rows without times; `training_manifest.json` and `TRAINING_SUCCESS` hold
    times and the environment.
    """

    SERIES: ClassVar[str] = "live_series"
    """Name of the live series' results (.jsonl), and of the folder with its answers by checkpoint."""

    VOLATILE: ClassVar[tuple[str, ...]] = (
        "training_manifest.json",
        "TRAINING_SUCCESS",
        "trainer_state.json",
        "loss.png",
        "mask_audit.html",
        "training_log.jsonl",
        "validation_samples.jsonl",  # made with the decoding of the generations, on which the adapter does not depend
        "live_series.jsonl",
        "live_series/*",  # likewise, and what is missing there checkpoint_series measures
        "trackers.json",
        "tensorboard/*",
        "wandb/*",
        "mlflow/*",
    )

    steps: int = Field(description="Steps that were made: fewer than planned where the dev loss no longer fell.")
    step: int = Field(description="Step whose weights the adapter holds.")
    epochs: float = Field(description="Passes over the rows that are not fully masked, in these steps.")
    trainable_parameters: int
    loss_first: float
    loss_last: float
    dev_loss: float | None = Field(None, description="Dev loss at `step`, or at the last evaluation before it.")
    checkpoints: tuple[int, ...] = Field((), description="Steps of the kept checkpoints, without that of the adapter.")
    masked_rows: int = Field(0, description="Fully masked training rows.")
    training_data: tuple[str, ...] = Field(
        (), description="Hashes of the training rows, and of these with the dev rows, as leakage proofs name them."
    )


class TrainingReport(Artifact):
    """The diagnosis of a training from its logs."""

    VOLATILE: ClassVar[tuple[str, ...]] = ("curves.png",)

    findings: tuple[Finding, ...]
    metrics: dict[str, float] = {}

    @property
    def healthy(self) -> bool:
        """Whether no finding says that the training is unhealthy."""
        return not any(f.severity == "blocking" for f in self.findings)

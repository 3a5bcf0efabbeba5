"""The fine-tuning; named as in the field, translated to TRL in training/trl_config.py."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeInt, model_validator

from sft_pipeline.experiment.section import Positive, Section, Seed, Share, once


class Lora(Section):
    """The low-rank adapter."""

    r: Positive = Field(16, description="Rank.")
    alpha: Positive = Field(16, description="Scale: alpha / r, or alpha / sqrt(r) with rslora.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="Dropout before the adapter.")
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all-linear"] = Field(
        "all-linear", description="Names of the adapted modules, or all-linear."
    )
    rslora: bool = Field(False, description="Rank-stabilised scaling.")
    bias: Literal["none"] = Field(
        "none",
        description="Always none: trained biases would change the base under its adapter, and the gate compares the two.",
    )

    @model_validator(mode="after")
    def _modules_once(self) -> "Lora":
        if isinstance(self.target_modules, tuple):
            once(self.target_modules, "target_modules")
        return self


class EarlyStopping(Section):
    """Stop when dev loss or success (`best_by`) no longer improves; the adapter is then the one of the best evaluation."""

    patience: Positive = Field(3, description="Evaluations without an improvement after which the training stops.")
    min_delta: float = Field(
        0.0,
        ge=0,
        description="Fall of the dev loss (nats), or rise of the share of successes, that counts as an improvement.",
    )


class ScheduleOptions(Section):
    """What a schedule leaves open; each belongs to the schedules that its description names."""

    min_lr_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Lowest rate as a share of the peak: of cosine_with_min_lr, polynomial and warmup_stable_decay.",
    )
    num_cycles: Positive = Field(1, description="Half cosines, each from the peak: of cosine_with_restarts.")
    power: float = Field(1.0, gt=0, description="Exponent of polynomial; 1 is a straight line.")
    decay_ratio: Annotated[float, Field(gt=0, le=1)] = Field(
        0.2, description="Share of all steps in which warmup_stable_decay falls, at the end."
    )
    decay_type: Literal["linear", "cosine", "1-sqrt"] = Field(
        "linear", description="Course of that fall of warmup_stable_decay."
    )


SCHEDULE_OPTIONS: dict[str, set[str]] = {
    "cosine": set(),
    "linear": set(),
    "constant": set(),
    "cosine_with_min_lr": {"min_lr_ratio"},
    "cosine_with_restarts": {"num_cycles"},
    "polynomial": {"min_lr_ratio", "power"},
    "warmup_stable_decay": {"min_lr_ratio", "decay_ratio", "decay_type"},
}
"""Options of each schedule."""


class SuccessCriteria(Section):
    """What a training must have reached to be called a success; each that is left out is not asked for."""

    min_loss_drop: float | None = Field(None, ge=0, description="Fall of the training loss from start to end, in nats.")
    min_dev_loss_drop: float | None = Field(None, ge=0, description="Fall of the dev loss, in nats.")
    min_accuracy_gain: Share | None = Field(None, description="Gain of the token accuracy, as a difference of shares.")
    max_perplexity: float | None = Field(None, gt=1, description="Perplexity on the dev split: exp of the dev loss.")


class Training(Section):
    """Hyperparameters of the fine-tuning; named as in the field, translated to TRL in training/trl_config.py."""

    KEY_INDEPENDENT: ClassVar[frozenset[str]] = frozenset(
        {
            # These stop, warn or judge: what they let through is trained the same.
            "max_truncated_share",
            "max_masked_share",
            "min_coverage",
            "max_coverage",
            "minimum",
            "optimal",
            "tokens_per_second",  # the plan's estimate of the time
            "report_to",  # where else the series go; they are no part of the adapter's digest
        }
    )
    """Fields that decide nothing of the adapter: another value neither starts another training nor refuses to resume."""

    lora: Lora = Field(Lora(), description="The adapter.")
    epochs: float | None = Field(
        None, gt=0, description="Passes over the training rows; exactly one of epochs and max_steps."
    )
    max_steps: Positive | None = Field(None, description="Optimiser steps; exactly one of epochs and max_steps.")
    batch_size: Positive = Field(8, description="Sequences per device and forward pass.")
    eval_batch_size: Positive | None = Field(
        None,
        description="Sequences per device in the evaluations on the dev split; default: as many as are worth it and fit, by the "
        "plan; batch_size where the memory is not known.",
    )
    gradient_accumulation: (
        Positive | Literal["auto"] | Annotated[dict[NonNegativeInt, Positive], Field(min_length=1)]
    ) = Field(
        "auto",
        description="Forward passes of batch_size sequences per optimiser step; or a batch that grows, as passes by the step "
        "from which they apply: {0: 1, 200: 4}. auto: a step has batch_size sequences per device, and the plan divides them "
        "into as many passes as the device's memory asks for, one where it is not known.",
    )
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate.")
    schedule: Literal[
        "cosine",
        "linear",
        "constant",
        "cosine_with_min_lr",
        "cosine_with_restarts",
        "polynomial",
        "warmup_stable_decay",
    ] = Field("cosine", description="Course of the learning rate after the warm-up, by its name in transformers.")
    schedule_options: ScheduleOptions = Field(ScheduleOptions(), description="What the schedule leaves open.")
    warmup_ratio: Share = Field(
        0.03, description="Warm-up as a share of all steps; ignored when warmup_steps is given."
    )
    warmup_steps: int | None = Field(None, ge=0, description="Warm-up in steps.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    optimizer: Literal["auto", "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"] = Field(
        "auto",
        description="Optimiser; auto: adamw_torch_fused on CUDA devices, which updates all weights in one kernel, adamw_torch on "
        "the CPU.",
    )
    max_length: Positive = Field(
        1024, description="Longest prompt + response in tokens; longer rows stop the run, see max_truncated_share."
    )
    max_truncated_share: Share = Field(0.0, description="Share of training rows that may be cut at max_length.")
    batching: Literal["auto", "plain", "grouped", "packed"] = Field(
        "auto",
        description="plain: rows as they are drawn; grouped: rows of similar length in one batch, less padding; packed: "
        "the rows of a batch one after the other in one sequence, without seeing each other and without padding; auto: packed "
        "on CUDA devices, grouped on the CPU.",
    )
    packed_length: Positive | None = Field(
        None,
        description="Longest sequence that rows are packed into, in tokens; the rows of a step are divided into as few of them "
        "as hold them, one forward pass each. Default: one sequence for batch_size rows, however long.",
    )
    packed_attention: Literal["varlen", "mask"] = Field(
        "varlen",
        description="How sdpa keeps packed rows apart: varlen computes each row's attention alone (torch.nn.attention.varlen on "
        "CUDA devices in bfloat16), mask that of the whole sequence under a block-diagonal mask.",
    )
    gradient_checkpointing: bool | Literal["auto"] = Field(
        "auto",
        description="Recompute activations: less memory, more time. auto: only where they would not fit the device's memory.",
    )
    compile: bool = Field(
        False,
        description="Compile the layers with torch.compile, for sequences of any length: minutes first, then faster steps.",
    )
    liger: bool = Field(
        False, description="Liger's kernels for norms, rotary positions and activations: CUDA devices, extra liger."
    )
    logging_steps: Positive = Field(10, description="Steps between two log rows.")
    eval_steps: Positive | None = Field(
        None, description="Steps between two evaluations on the dev split; default: save_steps."
    )
    save_steps: Positive = Field(100, description="Steps between two checkpoints.")
    keep_checkpoints: Literal["all", "best_and_last", "last"] = Field(
        "all", description="Which checkpoints stay beside the adapter: the series shows those that are kept."
    )
    adapter: Literal["last", "best"] = Field(
        "last", description="Which state is the result: the last, or the best one by `best_by`."
    )
    best_by: Literal["dev_loss", "dev_success"] = Field(
        "dev_loss",
        description="What makes a checkpoint the best, and what early stopping looks at: the lowest dev loss, or success on "
        "dev by the rule of evaluation.series.best, for which evaluation.series.live is needed.",
    )
    early_stopping: EarlyStopping | None = Field(None, description="Stop before the end; needs adapter: best.")
    validation_prompts: int = Field(
        3, ge=0, description="Prompts of the dev split that are answered at each evaluation, and kept."
    )
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        ("tensorboard",), description="Where the series of the training go, beside its own files."
    )
    processes: Positive = Field(
        1, description="Processes, each with a device of its own; where several nodes train, an equal share on each."
    )
    fsdp: bool = Field(False, description="Shard the model over the processes (FSDP-QLoRA); needs CUDA devices.")
    max_masked_share: Share = Field(0.0, description="Share of training rows that may lose all their labels.")
    tokens_per_second: float | None = Field(
        None, gt=0, description="Throughput that the plan's time estimate rests on, where it is known."
    )
    minimum: SuccessCriteria = Field(SuccessCriteria(), description="Without this the training counts as failed.")
    optimal: SuccessCriteria = Field(SuccessCriteria(), description="Short of this the report says so, no more.")
    seed: Seed = Field(
        11, description="Seed of the adapter's initial weights, of dropout and of the order of the rows."
    )
    max_coverage: float = Field(20.0, gt=0, description="Planned passes over the data above which the plan warns.")
    min_coverage: float = Field(1.0, gt=0, description="Planned passes over the data below which the plan is refused.")

    @model_validator(mode="after")
    def _length_of_run(self) -> "Training":
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError("give exactly one of epochs and max_steps")
        once(self.report_to, "report_to")
        if self.early_stopping and self.adapter != "best":
            raise ValueError("early_stopping keeps the best state: set adapter: best")
        best_is_kept = self.adapter == "best" or self.keep_checkpoints == "best_and_last"
        if best_is_kept and self.save_steps % self.eval_interval:
            raise ValueError(
                f"the best checkpoint needs an evaluation at every checkpoint: save_steps ({self.save_steps}) must be a "
                f"multiple of eval_steps ({self.eval_interval})"
            )
        if self.best_by != "dev_loss" and not best_is_kept:
            raise ValueError("best_by chooses nothing: set adapter: best, or keep_checkpoints: best_and_last")
        given = self.schedule_options.model_dump(exclude_defaults=True)
        if unused := given.keys() - SCHEDULE_OPTIONS[self.schedule]:
            raise ValueError(f"schedule {self.schedule} has no option {', '.join(sorted(unused))}")
        if self.schedule == "cosine_with_min_lr" and not self.schedule_options.min_lr_ratio:
            raise ValueError("cosine_with_min_lr falls to a floor: set schedule_options.min_lr_ratio")
        if isinstance(self.gradient_accumulation, dict):
            if min(self.gradient_accumulation) != 0:
                raise ValueError("gradient_accumulation by step must begin with step 0")
            passes = [count for _, count in sorted(self.gradient_accumulation.items())]
            if any(later <= earlier for earlier, later in itertools.pairwise(passes)):
                raise ValueError(f"gradient_accumulation by step must grow: {self.gradient_accumulation}")
            if self.processes > 1:
                raise ValueError("a batch that grows is trained in one process: give gradient_accumulation as a number")
        if self.packed_length is not None:
            if self.batching != "packed":
                raise ValueError("packed_length belongs to batching: packed")
            if self.processes > 1:
                raise ValueError("packed_length divides steps by tokens, which is done in one process: leave it out")
            if self.packed_length < self.max_length:
                raise ValueError(
                    f"packed_length ({self.packed_length}) must hold the longest row: max_length ({self.max_length})"
                )
        if self.fsdp and self.processes == 1:
            raise ValueError("fsdp shards over processes: set processes to the number of devices")
        return self

    @property
    def cache_key(self) -> dict[str, Any]:
        """The fields that decide weights, log or files of the adapter, as plain values.

        Among them what is only kept or shown of a run (`adapter`, `keep_checkpoints`, `validation_prompts`, the
        intervals): a resumed run has to leave the same folder as an uninterrupted one.
        """
        return self.model_dump(mode="json", exclude=set(self.KEY_INDEPENDENT))

    def completed(self, settings: Mapping[str, Any]) -> "Training":
        """These hyperparameters with what a plan chose, where they leave it open; a division of another batch is not taken."""
        chosen = {name: value for name, value in settings.items() if getattr(self, name) in ("auto", None)}
        rows, passes = settings.get("batch_size"), chosen.get("gradient_accumulation")
        if rows and passes and rows * passes == self.batch_size:
            chosen["batch_size"] = rows
        return self.model_copy(update=chosen)

    @property
    def eval_interval(self) -> int:
        """Steps between two evaluations on the dev split."""
        return self.eval_steps or self.save_steps

    def batch_at(self, step: int) -> int:
        """Sequences of the optimiser step with that 0-based index, over all processes."""
        passes = self.gradient_accumulation
        if isinstance(passes, dict):
            return self.batch_size * passes[max(first for first in passes if first <= step)] * self.processes
        return self.effective_batch

    @property
    def grows(self) -> bool:
        """Whether the batch depends on the step."""
        return isinstance(self.gradient_accumulation, dict)

    @property
    def divided_here(self) -> bool:
        """Whether a step's rows come whole and are divided into forward passes by the trainer of this package."""
        return self.grows or self.packed_length is not None

    @property
    def passes(self) -> int:
        """Forward passes per optimiser step; of a batch that grows, the most."""
        declared = self.gradient_accumulation
        if isinstance(declared, dict):
            return max(declared.values())
        return 1 if declared == "auto" else declared

    @property
    def effective_batch(self) -> int:
        """Sequences per optimiser step over all processes; of a batch that grows, the largest."""
        return self.batch_size * self.passes * self.processes

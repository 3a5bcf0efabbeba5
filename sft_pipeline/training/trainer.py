"""Trains the LoRA adapter with TRL's SFTTrainer on the guarded base.

The trainer takes the plan's steps, the schedule's order of rows and the encoding of tokenization.py; a killed run resumes at
its newest complete checkpoint, and on the CPU ends with the very bytes of an uninterrupted one.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    GuardReport,
    InstructionDataset,
    ModelSnapshot,
    TrainingPlan,
    eligibility,
)
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import PreconditionError, TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.model.loader import CleanTokenizer, load_model, load_tokenizer
from sft_pipeline.training import callbacks, checkpoints, distributed, export, mask_audit, schedule, tokenization
from sft_pipeline.training.trl_config import lora, options

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer

logger = logging.getLogger("sft_pipeline.training")


def train(
    experiment: Experiment,
    base: ModelSnapshot,
    guard: GuardReport,
    plan: TrainingPlan,
    train: InstructionDataset,
    dev: InstructionDataset,
    work: Path,
    out: Path,
    *,
    on_log: Callable[[dict[str, Any]], None] | None = None,
) -> AdapterSnapshot:
    """Train the adapter and leave it with its logs, checkpoints and manifest in `out`.

    Args:
        experiment: the specification.
        base: the base model's files.
        guard: the guard's report on that base.
        plan: the plan made for these rows.
        train: training rows.
        dev: rows for the evaluations during training; no row, no evaluation.
        work: folder of this training alone that outlives a killed process.
        out: empty folder for the artifact.
        on_log: called with each log record as it comes.

    Raises:
        PreconditionError: guard, plan or split do not allow a training.
        TrainingError: the rows cannot be trained on, a checkpoint belongs to another training, the run was
            aborted or interrupted, or memory or disk space have run out.
    """
    check(guard, plan, train, dev)
    callbacks.require(experiment.training)
    tokenizer = load_tokenizer(base.root)
    encoded = tokenization.encode(experiment, tokenizer, read_table(train.path(train.ROWS)))
    dev_encoded = tokenization.encode(experiment, tokenizer, read_table(dev.path(dev.ROWS)))
    work.mkdir(parents=True, exist_ok=True)
    with callbacks.resource_errors(experiment, work):
        mask_audit.run(encoded, tokenizer, experiment.training, work, out)
    if not dev_encoded.examples:
        logger.warning("every dev row is fully masked, or there is none: no evaluation during training")

    run = checkpoints.fingerprint(experiment, base, plan, train, dev)
    callbacks.refuse_aborted(work, run)
    if experiment.training.processes > 1:
        distributed.await_killed(work)
    start = checkpoints.newest(work, run)
    job = distributed.Job(experiment, base, plan, train, dev, work, start)
    if start is None or not start.final:
        if experiment.training.processes > 1:
            distributed.launch(job, on_log)
        else:
            _run(job, tokenizer, encoded, dev_encoded, on_log)
    end = checkpoints.newest(work, run)
    if end is None or not end.final:
        raise TrainingError(f"the training ended without its last checkpoint (step {plan.steps}) in {work}")
    with callbacks.resource_errors(experiment, work):
        callbacks.export_logs(work, out)
        return export.export(job, guard, tokenizer, encoded, end, out)


def train_here(job: distributed.Job, on_log: Callable[[dict[str, Any]], None] | None) -> None:
    """This process's part of a training over several, see distributed.py."""
    tokenizer = load_tokenizer(job.base.root)
    encoded, dev_encoded = (
        tokenization.encode(job.experiment, tokenizer, read_table(split.path(split.ROWS)))
        for split in (job.train, job.dev)
    )
    _run(job, tokenizer, encoded, dev_encoded, on_log)


def check(guard: GuardReport, plan: TrainingPlan, train: InstructionDataset, dev: InstructionDataset) -> None:
    """Refuse to start on a base, a plan or a split that did not pass.

    Raises:
        PreconditionError: naming what did not pass.
    """
    problems = eligibility.guard_problems(guard) + eligibility.plan_problems(plan, train.rows)
    eligibility.require("training", problems + eligibility.split_problems(dev, export.training_data(train, dev)[:1]))


def check_targets(model: "PreTrainedModel", experiment: Experiment) -> None:
    """Refuse target modules that the loaded model lacks: PEFT would adapt the others and say nothing.

    Raises:
        PreconditionError: naming them and the modules that there are.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    targets = experiment.training.lora.target_modules
    kinds = (torch.nn.Linear, torch.nn.Embedding, Conv1D)
    names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    if isinstance(targets, str):
        return
    if missing := [t for t in targets if not any(name == t or name.endswith("." + t) for name in names)]:
        known = sorted({name.rpartition(".")[2] for name in names})
        raise PreconditionError(
            f"training.lora.target_modules: the model has no linear module or embedding named {', '.join(missing)}; "
            f"choose from {', '.join(known)}, or all-linear"
        )


def build(
    experiment: Experiment,
    base: ModelSnapshot,
    plan: TrainingPlan,
    tokenizer: CleanTokenizer,
    encoded: tokenization.Encoded,
    dev_encoded: tokenization.Encoded,
    work: Path,
) -> "SFTTrainer":
    """The SFTTrainer, ready to train, with the adapter on the base.

    Args:
        experiment: the specification.
        base: the base model's files.
        plan: steps and warm-up.
        tokenizer: the clean tokenizer.
        encoded: training rows.
        dev_encoded: dev rows; none of them, no evaluation.
        work: folder for checkpoints.
    """
    from datasets import Dataset
    from transformers import set_seed
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    class Trainer(SFTTrainer):
        """SFTTrainer that reads the rows in the planned order and writes no model card into its checkpoints."""

        def _get_train_sampler(self, train_dataset: Any = None) -> schedule.RowSampler:
            return schedule.RowSampler(encoded.lengths, experiment.training)

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            pass

    set_seed(experiment.training.seed)
    evaluate = bool(dev_encoded.examples)
    model = load_model(base.root, experiment.model, sharded=experiment.training.fsdp)
    check_targets(model, experiment)
    trainer = Trainer(
        model=model,
        args=SFTConfig(output_dir=str(work), **options(experiment, plan, evaluate)),
        train_dataset=Dataset.from_list(encoded.examples),
        eval_dataset=Dataset.from_list(dev_encoded.examples) if evaluate else None,
        processing_class=tokenizer.inner,
        peft_config=lora(experiment),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _run(
    job: distributed.Job,
    tokenizer: CleanTokenizer,
    encoded: tokenization.Encoded,
    dev_encoded: tokenization.Encoded,
    on_log: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Train from the job's checkpoint, or from the beginning, to the plan's last step."""
    experiment, plan, work, start = job.experiment, job.plan, job.work, job.start
    with callbacks.resource_errors(experiment, work):
        trainer = build(experiment, job.base, plan, tokenizer, encoded, dev_encoded, work)
    if start:
        logger.info("resuming at step %d of %d", start.step, plan.steps)
    with callbacks.training_session(trainer, experiment, tokenizer, job.dev, work, job.fingerprint, start, on_log):
        trainer.train(resume_from_checkpoint=str(start.folder) if start else None)

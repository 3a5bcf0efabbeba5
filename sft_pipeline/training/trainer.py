"""Trains the LoRA adapter with TRL's SFTTrainer on the guarded base.

The trainer takes the plan's steps, the schedule's order of rows and the encoding of tokenization.py; a killed run resumes at
its newest complete checkpoint, and on the CPU ends with the very bytes of an uninterrupted one.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
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
from sft_pipeline.experiment import Experiment, Training
from sft_pipeline.model import quantisation
from sft_pipeline.model.loader import load_model
from sft_pipeline.model.tokenizer import CleanTokenizer, load_tokenizer
from sft_pipeline.provenance import files
from sft_pipeline.training import (
    adapter,
    callbacks,
    checkpoints,
    distributed,
    export,
    kernels,
    live,
    mask_audit,
    packing,
    tokenization,
    varlen,
)
from sft_pipeline.training.child import free_memory
from sft_pipeline.training.export import LOADED
from sft_pipeline.training.sft_trainer import trainer_class
from sft_pipeline.training.trl_config import options

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer

logger = logging.getLogger("sft_pipeline.training")

ROUNDING = {"float32": 1e-3, "bfloat16": 0.03}
"""Share of the largest logit by which two computations of a logit may differ: some hundred units of float32's last place,
some of bfloat16's, whose eight bits hold a logit to 0.4 %."""


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
    evaluator: live.Evaluator | None = None,
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
        evaluator: evaluates checkpoints beside the training or after it; nothing that happens to it fails the training.

    Raises:
        PreconditionError: guard, plan or split do not allow a training, or success on dev shall choose and nothing
            measures it.
        TrainingError: the rows cannot be trained on, a checkpoint belongs to another training, the run was
            aborted or interrupted, or memory or disk space have run out.
    """
    check(guard, plan, train, dev)
    experiment = plan.applied(experiment)
    if experiment.training.best_by == "dev_success" and evaluator is None:
        raise PreconditionError(
            "training.best_by: dev_success needs an evaluator of the live series, and dev rows to ask"
        )
    callbacks.require(experiment.training)
    tokenizer = load_tokenizer(base.root, experiment.model, experiment.prompt)
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
    with live.evaluating(evaluator, work, start.step if start else 0) if evaluator else nullcontext() as series:
        if start is None or not start.final:
            if experiment.training.processes > 1:
                distributed.launch(job, on_log)
            else:
                _run(job, tokenizer, encoded, dev_encoded, on_log)
        end = checkpoints.newest(work, run)
        if end is None or not end.final:
            raise TrainingError(f"the training ended without its last checkpoint (step {plan.steps}) in {work}")
        if series:
            free_memory()
            callbacks.finish_series(series, experiment, plan.steps, work, run, end.step, on_log)
    with callbacks.resource_errors(experiment, work):
        callbacks.export_logs(work, out)
        return export.export(job, guard, tokenizer, encoded, end, out)


def train_here(job: distributed.Job, on_log: Callable[[dict[str, Any]], None] | None) -> None:
    """This process's part of a training over several, see distributed.py."""
    tokenizer = load_tokenizer(job.base.root, job.experiment.model, job.experiment.prompt)
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

    Raises:
        PreconditionError: the adapter cannot be built, or the model with it gives no loss.
    """
    from datasets import Dataset
    from transformers import set_seed
    from transformers.trainer_callback import PrinterCallback
    from trl import SFTConfig

    training = plan.applied(experiment).training
    set_seed(training.seed)
    evaluate = bool(dev_encoded.examples)
    model = load_model(base.root, experiment.model, sharded=training.fsdp)
    loaded = {"weights": quantisation.weights(model), "dropout": _dropout(model)}
    if loaded["dropout"]:
        logger.warning("the base's own dropout is active in training: %s", loaded["dropout"])
    text = model.config.get_text_config()
    if not hasattr(text, "num_experts") and (experts := getattr(text, "num_local_experts", None)):
        text.num_experts = experts  # the name by which TRL asks for the router's auxiliary loss
    packed = training.batching == "packed"
    if packed:
        packed, loaded["batching"] = _packed(model, encoded, training, experiment.model.dtype)
    if training.liger:
        kernels.liger(model)
    trainer = trainer_class(encoded.lengths, training)(
        model=adapter.adapt(model, training.lora),
        args=SFTConfig(output_dir=str(work), **options(experiment, plan, evaluate, packed)),
        train_dataset=Dataset.from_list(encoded.examples),
        eval_dataset=Dataset.from_list(dev_encoded.examples) if evaluate else None,
        processing_class=tokenizer.inner,
    )
    if training.fsdp and not trainer.is_fsdp_enabled:
        raise PreconditionError(
            "training.fsdp is declared, but accelerate does not shard here: the model would be copied"
        )
    if not training.fsdp:  # under which no process holds the model yet
        _require_loss(trainer, encoded.examples[:2], experiment.model.dtype)
    if training.compile:
        kernels.compile_layers(model)
    trainer.remove_callback(PrinterCallback)
    if trainer.is_world_process_zero():
        files.write(work / LOADED, json.dumps(loaded, indent=1))
    return trainer


def _packed(
    model: "PreTrainedModel", encoded: tokenization.Encoded, training: Training, dtype: str
) -> tuple[bool, dict[str, Any]]:
    """Whether rows can be packed with this model, and what was measured; otherwise they are padded, which trains the same."""
    if training.fsdp:
        found: dict[str, Any] = {"apart": False, "error": "under fsdp no process holds the model before the training"}
    else:
        own = model.config._attn_implementation
        ways = [varlen.NAME] if own == "sdpa" and training.packed_attention == "varlen" else []
        for attention in (*ways, own):
            rows = [example["input_ids"] for example in encoded.examples]
            found = packing.keeps_apart(model, rows, attention, ROUNDING[dtype])
            if found["apart"]:
                break
            logger.warning("packed rows are not kept apart by the attention %s: %s", attention, found)
    if not found["apart"]:
        logger.warning("batching: packed is not kept by %s (%s): rows are padded instead", type(model).__name__, found)
    return found["apart"], {"declared": "packed", "used": "packed" if found["apart"] else "padded", "probe": found}


def _require_loss(trainer: "SFTTrainer", examples: Sequence[Mapping[str, list[int]]], dtype: str) -> None:
    """Compute one loss before the first step, and compare it with the model's own logits; this leaves no trace.

    What the libraries cannot do together shows here. TRL multiplies the last hidden state with the output layer by itself:
    where an architecture does more in between (BERT's decoders transform it), another function would be trained.

    Raises:
        PreconditionError: there is no loss, or it is not that of the model.
    """
    import torch

    model, device = trainer.model, trainer.args.device
    short = [example["input_ids"][: packing.TOKENS] for example in examples]
    batch = trainer._prepare_inputs(trainer.data_collator([{"input_ids": ids, "labels": ids} for ids in short]))
    kind = type(model.get_base_model()).__name__
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            fused = model(**batch, use_cache=False, fused_lm_head=True)
            del batch["labels"]
            logits = model(**batch, use_cache=False).logits.float()[:, :-1]
    except Exception as error:
        if callbacks.is_memory(error):
            raise
        raise PreconditionError(
            f"{kind} with this adapter cannot be trained here: {type(error).__name__}: {error}. Set model.attention to eager, "
            "or choose other training.lora.target_modules; if neither helps, the libraries (trl, peft, transformers) cannot "
            "train this architecture"
        ) from error
    finally:
        model.train()
    own = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    difference = float(((fused.log_probs - own) * fused.label_mask).abs().max())
    if not difference <= ROUNDING[dtype] * max(1.0, float(logits.abs().max())) and bool(own.isfinite().all()):
        raise PreconditionError(
            f"the loss that TRL computes for {kind} is not that of the model's own logits (a token differs by {difference:.3g} "
            "nats): this architecture does more between its last hidden state and its output layer, so it cannot be trained "
            "here"
        )


def _dropout(model: "PreTrainedModel") -> dict[str, float]:
    """Dropout that the base's own configuration sets above 0: it is active in training, beside the adapter's."""
    heads = ("classifier", "summary")  # of models for classification
    return {
        name: value
        for name, value in model.config.get_text_config().to_dict().items()
        if "drop" in name and not name.startswith(heads) and isinstance(value, float) and value > 0
    }


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

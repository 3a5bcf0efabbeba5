"""The specification translated to TRL; nothing that matters is left to a default of theirs."""

from typing import Any

from sft_pipeline.artifacts import TrainingPlan
from sft_pipeline.experiment import Experiment
from sft_pipeline.training import schedule

FSDP = {
    "version": 2,  # fully_shard, parameter by parameter; transformers 5.20 has no other
    "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "reshard_after_forward": True,
    "state_dict_type": "FULL_STATE_DICT",  # one adapter file, as without FSDP
    "cpu_ram_efficient_loading": False,  # it cannot load 4-bit parameters
}
"""Sharding over devices. On CUDA devices it has not been run: there was no machine with several of them."""


def options(experiment: Experiment, plan: TrainingPlan, evaluate: bool, packed: bool) -> dict[str, Any]:
    """The keywords of TRL's SFTConfig.

    Args:
        experiment: the specification.
        plan: steps and warm-up.
        evaluate: whether there are dev rows.
        packed: whether the rows of a batch stand in one sequence: see packing.py.
    """
    training, model = plan.applied(experiment).training, experiment.model
    cpu = model.device == "cpu"
    # Paging moves optimiser states out of GPU memory: without a GPU there is nothing to page, and the plan says so.
    optimizer = {"auto": "adamw_torch", "paged_adamw_8bit": "adamw_8bit"}.get(training.optimizer) if cpu else None
    recompute = training.gradient_checkpointing is True and not training.fsdp  # which does it by itself
    return {
        "max_steps": plan.steps,
        "warmup_steps": plan.warmup_steps,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(training.schedule, training.schedule),
        "lr_scheduler_kwargs": schedule.lr_scheduler_kwargs(plan.steps, plan.warmup_steps, training),
        "per_device_train_batch_size": training.batch_size,
        "per_device_eval_batch_size": training.eval_batch_size or training.batch_size,
        # Some batches come whole: sft_trainer.py divides them into forward passes.
        "gradient_accumulation_steps": 1 if training.divided_here else training.passes,
        "optim": optimizer or training.optimizer,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "gradient_checkpointing": recompute,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if recompute else None,
        "use_cpu": cpu,
        "bf16": model.dtype == "bfloat16",
        "fp16": False,
        "tf32": None,
        "seed": training.seed,
        "data_seed": training.seed,
        "logging_steps": training.logging_steps,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if evaluate else "no",
        "eval_steps": training.eval_interval,
        "save_strategy": "steps",
        "save_steps": training.save_steps,
        "save_total_limit": None,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": not cpu,
        "max_length": None,  # tokenization.py has cut what is longer
        "packing": False,  # packed rows stay rows: the sampler draws them, the collator joins those of a batch
        "padding_free": packed,
        "pad_to_multiple_of": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "push_to_hub": False,
        **(_fsdp(training.gradient_checkpointing is True) if training.fsdp else {}),
    }


def _fsdp(recompute: bool) -> dict[str, Any]:
    return {"fsdp": True, "fsdp_config": {**FSDP, "activation_checkpointing": recompute}}

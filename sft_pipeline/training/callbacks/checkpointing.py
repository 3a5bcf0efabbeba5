"""Complete checkpoints, and a log that is the same whether or not the run was interrupted."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.training import checkpoints
from sft_pipeline.training.callbacks.early_stopping import Ending

if TYPE_CHECKING:
    import torch
    from transformers import TrainerCallback, TrainingArguments
    from trl import SFTTrainer


def checkpointing(
    trainer: "SFTTrainer", run: str, start: checkpoints.Checkpoint | None, ending: Ending
) -> "TrainerCallback":
    """A callback that finalizes every checkpoint, and makes a resumed log equal to an uninterrupted one.

    A log record averages over the steps since the last one. What has gathered since then is no part of the trainer's own
    checkpoint, and is kept beside it in `pending-<process>.json`.

    Args:
        trainer: the trainer that it is added to.
        run: fingerprint of the training.
        start: the checkpoint that the run resumes from.
        ending: says whether early stopping has ended the run.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    started = time.monotonic() - (start.seconds if start else 0.0)
    precisions = {name: weight.dtype for name, weight in trainer.model.named_parameters() if weight.requires_grad}

    class Checkpointing(TrainerCallback):
        planned = False

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            if start is None:
                return
            if not args.fsdp:  # which decides itself what its shards are kept in
                _restore(trainer, precisions)
            pending = json.loads((start.folder / _pending(args)).read_text())
            trainer._tr_loss.fill_(pending["loss"])
            trainer._globalstep_last_logged = pending["last_logged"]
            trainer._total_train_tokens = pending["tokens"]
            trainer.norms[:] = pending.get("norms", [])  # an older checkpoint has none
            for name, values in pending["metrics"].items():
                trainer._metrics["train"][name].extend(values)

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            # A checkpoint that nobody planned, on an interruption, must leave no trace in the log.
            self.planned = control.should_save
            if control.should_save:
                control.should_log = True

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            pending = {
                "loss": trainer._tr_loss.item(),
                "last_logged": trainer._globalstep_last_logged,
                "tokens": trainer._total_train_tokens,
                "metrics": trainer._metrics["train"],
                "norms": [float(norm) for norm in trainer.norms],
            }
            (folder / _pending(args)).write_text(json.dumps(pending))
            trainer.accelerator.wait_for_everyone()  # each process writes its own random state
            if not state.is_world_process_zero:
                return
            checkpoints.finalize(
                folder,
                state.global_step,
                run,
                time.monotonic() - started,
                final=ending.early or state.global_step == state.max_steps,
                keep=ending.early or self.planned,
            )

    return Checkpointing()


def _restore(trainer: "SFTTrainer", precisions: Mapping[str, "torch.dtype"]) -> None:
    """Give the weights and the optimiser's states the precision back that they were saved with.

    On a quantised base the adapter is trained in bfloat16. PEFT makes float32 of it when it reads a checkpoint, and the
    resumed run would be another training than the one that was killed. bitsandbytes keeps float32 states whatever the
    weights are: those have come back unharmed, because the weights were float32 when they were read.
    """
    for name, weight in trainer.model.named_parameters():
        if precisions.get(name, weight.dtype) != weight.dtype:
            weight.data = weight.data.to(precisions[name])
            state = trainer.optimizer.state[weight]
            for moment in {"exp_avg", "exp_avg_sq"} & state.keys():  # torch's AdamW has them in the weights' precision
                state[moment] = state[moment].to(weight.dtype)


def _pending(args: "TrainingArguments") -> str:
    return f"pending-{args.process_index}.json"

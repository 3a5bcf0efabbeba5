"""What happens while the trainer runs: progress, the watchdog, and sealed checkpoints."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import EarlyStopping
from sft_pipeline.training import checkpoints

if TYPE_CHECKING:
    from transformers import TrainerCallback
    from trl import SFTTrainer

logger = logging.getLogger("sft_pipeline.training")

LOST_ROWS = 5
"""Log rows in a row with a gradient norm of exactly 0 after which a run is lost."""


def sealing(trainer: "SFTTrainer", run: str, seconds: float) -> "TrainerCallback":
    """A callback that seals every checkpoint, and makes a resumed log equal to an uninterrupted one.

    Args:
        trainer: the trainer that it is added to.
        run: fingerprint of the training.
        seconds: training time of earlier processes.
    """
    from transformers import TrainerCallback

    started = time.monotonic()

    class Sealing(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            # TRL counts tokens from 0 in every process.
            counts = (row["num_tokens"] for row in reversed(state.log_history) if "num_tokens" in row)
            trainer._total_train_tokens = next(counts, 0)

        def on_step_end(self, args, state, control, **kwargs):
            # A log row averages over the steps since the last one; the memory of them is not part of a checkpoint.
            if control.should_save:
                control.should_log = True

        def on_save(self, args, state, control, **kwargs):
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            trainer.accelerator.wait_for_everyone()  # each process writes its own random state
            if not state.is_world_process_zero:
                return
            final = control.should_training_stop or state.global_step == state.max_steps
            checkpoints.seal(folder, state.global_step, run, seconds + time.monotonic() - started, final=final)

    return Sealing()


def reporting(on_log: Callable[[dict[str, Any]], None] | None) -> "TrainerCallback":
    """A callback that hands every log row on, as a log line and to `on_log`."""
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            row = {"step": state.global_step, "steps": state.max_steps, **(logs or {})}
            logger.info(" ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))
            if on_log is not None:
                on_log(row)

    return Reporting()


def early_stopping(rules: EarlyStopping) -> "TrainerCallback":
    """A callback that ends the training when the dev loss no longer falls.

    It looks at the logged evaluations alone, so that a resumed run stops where an uninterrupted one does.
    """
    from transformers import TrainerCallback

    class Stopping(TrainerCallback):
        def on_evaluate(self, args, state, control, **kwargs):
            losses = [row["eval_loss"] for row in state.log_history if "eval_loss" in row]
            if without_improvement(losses, rules.min_delta) >= rules.patience:
                logger.info("the dev loss has not fallen for %d evaluations: the training ends", rules.patience)
                control.should_training_stop = True
                control.should_save = True

    return Stopping()


def without_improvement(losses: Sequence[float], min_delta: float) -> int:
    """Evaluations since the last one that fell more than `min_delta` (nats) below the best before it."""
    best, count = math.inf, 0
    for loss in losses:
        if loss < best - min_delta:
            best, count = loss, 0
        else:
            count += 1
    return count


def watchdog() -> "TrainerCallback":
    """A callback that stops a run that is lost: a loss that is no number, or a gradient that stays exactly 0.

    Its attribute `reason` says why it stopped the run; it is empty for a run that went to its end.
    """
    from transformers import TrainerCallback

    class Watchdog(TrainerCallback):
        reason = ""
        zeros = 0

        def on_log(self, args, state, control, logs=None, **kwargs):
            logs = logs or {}
            for name in ("loss", "eval_loss"):
                if name in logs and not math.isfinite(logs[name]):
                    self.reason = f"{name} is {logs[name]} at step {state.global_step}"
            if "grad_norm" in logs:
                self.zeros = self.zeros + 1 if logs["grad_norm"] == 0.0 else 0
                if self.zeros == LOST_ROWS:
                    self.reason = (
                        f"the gradient norm is exactly 0 in {LOST_ROWS} log rows up to step {state.global_step}"
                    )
            if self.reason:
                control.should_training_stop = True
                # What is saved now would be taken up by the next attempt.
                control.should_save = False

    return Watchdog()

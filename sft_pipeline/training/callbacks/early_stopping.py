"""Why a training ends before its last step, and early stopping: dev loss or success on dev no longer improves."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import Training
from sft_pipeline.training import live

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainingArguments

logger = logging.getLogger("sft_pipeline.training")


@dataclass
class Ending:
    """Why the training ends before its last step; the callbacks write it and read each other's part.

    Attributes:
        aborted: reason of the watchdog, empty unless it stopped the run.
        early: whether early stopping has ended the run.
        signal: name of the signal that came, empty where none did.
        interrupted_at: step at which the run stopped for a signal.
    """

    aborted: str = ""
    early: bool = False
    signal: str = ""
    interrupted_at: int | None = None

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the run, and nothing else."""
        return self.interrupted_at is not None and not self.early


def early_stopping(training: Training, ending: Ending, work: Path) -> "TrainerCallback":
    """A callback that ends the training when dev loss, or success on dev, no longer improves; without rules it never does.

    It looks at the logged evaluations alone, so that a resumed run stops where an uninterrupted one does; where success
    decides, at what the live series in `work` has measured by the time of a checkpoint.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    rules, by_success = training.early_stopping, training.best_by == "dev_success"

    class Stopping(TrainerCallback):
        def on_evaluate(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            # An interruption must not hide the end: the evaluation is not repeated after resuming.
            if ending.aborted or by_success:  # that state is not saved
                return
            losses = [row["eval_loss"] for row in state.log_history if "eval_loss" in row]
            if rules and without_improvement(losses, rules.min_delta) >= rules.patience:
                logger.info("the dev loss has not fallen for %d evaluations: the training ends", rules.patience)
                ending.early = True
                control.should_training_stop = True
                control.should_save = True

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
            if not rules or not by_success or ending.interrupted_at is not None:
                return
            losses = [-success for success in live.successes(live.results(work)).values()]
            if anywhere(without_improvement(losses, rules.min_delta) >= rules.patience, args):
                logger.info("success on dev has not risen for %d checkpoints: the training ends", rules.patience)
                ending.early = True
                control.should_training_stop = True

    return Stopping()


def anywhere(flag: bool, args: "TrainingArguments") -> bool:
    """Whether the flag is set in any of the training's processes; each of them has to ask at the same step."""
    if args.world_size == 1:
        return flag
    import torch

    found = torch.tensor(int(flag), device=args.device)
    torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    return bool(found)


def without_improvement(losses: Sequence[float], min_delta: float) -> int:
    """Evaluations since the last one that fell more than `min_delta` (nats) below the best before it."""
    best, count = math.inf, 0
    for loss in losses:
        if loss < best - min_delta:
            best, count = loss, 0
        else:
            count += 1
    return count

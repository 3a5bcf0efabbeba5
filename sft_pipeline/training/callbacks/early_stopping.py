"""Why a training ends before its last step, and early stopping: the dev loss no longer falls."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import EarlyStopping

if TYPE_CHECKING:
    from transformers import TrainerCallback

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


def early_stopping(rules: EarlyStopping | None, ending: Ending) -> "TrainerCallback":
    """A callback that ends the training when the dev loss no longer falls; without rules it never does.

    It looks at the logged evaluations alone, so that a resumed run stops where an uninterrupted one does.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Stopping(TrainerCallback):
        def on_evaluate(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            # An interruption must not hide the end: the evaluation is not repeated after resuming.
            if ending.aborted:  # that state is not saved
                return
            losses = [row["eval_loss"] for row in state.log_history if "eval_loss" in row]
            if rules and without_improvement(losses, rules.min_delta) >= rules.patience:
                logger.info("the dev loss has not fallen for %d evaluations: the training ends", rules.patience)
                ending.early = True
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

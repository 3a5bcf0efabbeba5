"""The training ends when the dev loss no longer falls."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sft_pipeline.experiment import EarlyStopping

if TYPE_CHECKING:
    from transformers import TrainerCallback

logger = logging.getLogger("sft_pipeline.training")


def early_stopping(rules: EarlyStopping | None, lost: Callable[[], bool]) -> "TrainerCallback":
    """A callback that ends the training when the dev loss no longer falls; without rules it never does.

    It looks at the logged evaluations alone, so that a resumed run stops where an uninterrupted one does. Its attribute
    `ended` says that it has ended the training.

    Args:
        rules: when it ends.
        lost: whether the watchdog has called the run lost.
    """
    from transformers import TrainerCallback

    class Stopping(TrainerCallback):
        ended = False

        def on_evaluate(self, args, state, control, **kwargs):
            # An interruption must not keep the end from being seen: the evaluation is not repeated on resuming.
            if lost():  # that state is not saved
                return
            losses = [row["eval_loss"] for row in state.log_history if "eval_loss" in row]
            if rules and without_improvement(losses, rules.min_delta) >= rules.patience:
                logger.info("the dev loss has not fallen for %d evaluations: the training ends", rules.patience)
                self.ended = True
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

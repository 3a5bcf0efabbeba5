"""Results of the live series while the training runs: handed on as they come, or waited for."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.training import live
from sft_pipeline.training.callbacks.early_stopping import Ending

if TYPE_CHECKING:
    from transformers import TrainerCallback


def live_results(report: live.Reporter, waits_for: Path | None, ending: Ending) -> "TrainerCallback":
    """A callback that reports at most one result between two steps.

    Args:
        report: hands a result on.
        waits_for: work folder, where every checkpoint is to be evaluated before the next step: on the training's own device.
        ending: a signal ends the waiting.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Results(TrainerCallback):
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            report()

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
            while waits_for and not (ending.signal or control.should_training_stop or live.settled(waits_for)):
                time.sleep(live.POLL)

    return Results()

"""Interruption by a signal: the current step is finished and saved, then the training stops.

A pre-empted pod gets SIGTERM. In a step process of Dagster's multiprocess executor it comes as SIGINT, which the parent
has the child send to itself; Dagster's own handler would raise in the middle of a step, and the steps since the last
checkpoint would be lost. A process group may see both signals, so a second one changes nothing; SIGKILL always works.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from sft_pipeline.training.callbacks.early_stopping import Ending, anywhere

if TYPE_CHECKING:
    from transformers import TrainerCallback

logger = logging.getLogger("sft_pipeline.training")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def interruption(ending: Ending) -> "TrainerCallback":
    """A callback that saves and stops at the end of the step in which `ending.signal` was set; see `handled`."""
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Interruption(TrainerCallback):
        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            stop(args, state, control, save=True)

        def on_evaluate(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            stop(args, state, control, save=True)

        def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
            stop(args, state, control, save=False)

    def stop(args: TrainingArguments, state: TrainerState, control: TrainerControl, save: bool) -> None:
        # All processes stop at the same step, whichever of them got the signal first.
        received = anywhere(bool(ending.signal), args)
        if received and not control.should_training_stop:
            ending.interrupted_at = state.global_step
            logger.warning("%s: stopping at step %d, with a checkpoint", ending.signal or "a signal", state.global_step)
            control.should_training_stop = True
            control.should_save = control.should_save or save

    return Interruption()


@contextmanager
def handled(note: Callable[[str], None]) -> Iterator[None]:
    """Call `note` with the name of each signal that comes, instead of its handler; only the main thread can.

    A signal may come in the middle of anything, so `note` has to be short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(number: int, frame: FrameType | None) -> None:
        note(signal.Signals(number).name)

    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former or signal.SIG_DFL)

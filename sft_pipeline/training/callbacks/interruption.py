"""A notice of termination: the step at hand is finished and saved, then the training stops.

A pre-empted pod gets SIGTERM. In a step process of Dagster's multiprocess executor it comes as SIGINT, which the parent
has the child send to itself; Dagster's own handler would raise in the middle of a step, and the steps since the last
checkpoint would be lost. A process group may see both signals, so a second one changes nothing; SIGKILL always works.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import TrainerCallback

logger = logging.getLogger("sft_pipeline.training")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def interruption() -> "TrainerCallback":
    """A callback that saves and stops at the end of the step in which a signal came.

    Its attribute `step` is the step at which it did. `listening` has to be around the training.
    """
    import torch
    from transformers import TrainerCallback

    class Interruption(TrainerCallback):
        received: str = ""
        step: int | None = None

        def on_step_end(self, args, state, control, **kwargs):
            self._stop(args, state, control, save=True)

        def on_evaluate(self, args, state, control, **kwargs):
            self._stop(args, state, control, save=True)

        def on_save(self, args, state, control, **kwargs):
            self._stop(args, state, control, save=False)

        def _stop(self, args, state, control, save):
            asked = bool(self.received)
            if args.world_size > 1:  # all processes stop at the same step, whichever of them has got the signal first
                flag = torch.tensor(int(asked), device=args.device)
                torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
                asked = bool(flag)
            if asked and not control.should_training_stop:
                self.step = state.global_step
                logger.warning("%s: stopping at step %d, with a checkpoint", self.received or "a signal", self.step)
                control.should_training_stop = True
                control.should_save = control.should_save or save

        @contextmanager
        def listening(self) -> Iterator[None]:
            """Take the signals as notices."""

            def note(name: str) -> None:
                self.received = name

            with notices(note):
                yield

    return Interruption()


@contextmanager
def notices(note: Callable[[str], None]) -> Iterator[None]:
    """Call `note` with the name of each signal that comes, in place of what it did before; only the main thread can.

    A signal may come in the middle of anything, so `note` has to be short.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: note(signal.Signals(number).name))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)

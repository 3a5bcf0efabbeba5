"""What happens while the trainer runs, one subject per file; `around` puts it together.

`lost_runs`: the watchdog. `signals`: stopping with a checkpoint. `seals`: checkpoints that can be trusted. `stopping`: the end
when the dev loss no longer falls. `measures`, `rows`, `trackers`, `samples`: what is seen of it. `failures`: what it runs
out of.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.training import checkpoints
from sft_pipeline.training.callbacks.failures import explained
from sft_pipeline.training.callbacks.lost_runs import LOST_ROWS, keep_lost, lost, refuse_lost, watchdog
from sft_pipeline.training.callbacks.measures import lora_norms, measuring, memory
from sft_pipeline.training.callbacks.rows import LOG, Lines, line, reporting
from sft_pipeline.training.callbacks.samples import SAMPLES, chosen, sampling
from sft_pipeline.training.callbacks.seals import sealing
from sft_pipeline.training.callbacks.signals import interruption
from sft_pipeline.training.callbacks.stopping import early_stopping, without_improvement
from sft_pipeline.training.callbacks.trackers import FOLDERS, IDS, Trackers, require

if TYPE_CHECKING:
    from trl import SFTTrainer

__all__ = [
    "LOST_ROWS",
    "Lines",
    "Trackers",
    "around",
    "chosen",
    "early_stopping",
    "explained",
    "interruption",
    "leave",
    "line",
    "lora_norms",
    "lost",
    "measuring",
    "memory",
    "refuse_lost",
    "reporting",
    "require",
    "sampling",
    "sealing",
    "watchdog",
    "without_improvement",
]


@contextmanager
def around(
    trainer: "SFTTrainer",
    experiment: Experiment,
    tokenizer,
    dev: InstructionDataset,
    work: Path,
    run: str,
    start: checkpoints.Checkpoint | None,
    on_log: Callable[[dict[str, Any]], None] | None,
) -> Iterator[None]:
    """Everything that has to be around `trainer.train`.

    Args:
        trainer: the trainer, ready to train.
        experiment: the specification.
        tokenizer: the clean tokenizer.
        dev: rows from which the validation prompts are taken.
        work: folder of this training alone.
        run: fingerprint of the training.
        start: the checkpoint that it goes on from.
        on_log: called with each log row as it comes.

    Raises:
        TrainingError: the run is lost, was interrupted, or has run out of memory or of disk space.
    """
    training, after = experiment.training, start.step if start else 0
    watch, interrupted = watchdog(), interruption()
    stopping = early_stopping(training.early_stopping, lambda: bool(watch.reason))
    trackers = None
    finished = False
    # The order counts: a row is complete before it is reported, and what was planned is noted before an interruption.
    trainer.add_callback(measuring(trainer))
    with explained(experiment, work):
        if trainer.is_world_process_zero():
            trackers = Trackers(experiment, work, run, after)
            trainer.add_callback(reporting(Lines(work / LOG, after), trackers, on_log))
            rows = chosen(read_table(dev.path(dev.ROWS)), training.validation_prompts, training.seed)
            if rows and not training.fsdp:  # with FSDP no process holds a model that could answer alone
                trainer.add_callback(sampling(experiment, tokenizer, rows, Lines(work / SAMPLES, after)))
        for callback in (watch, stopping, sealing(trainer, run, start, lambda: stopping.ended), interrupted):
            trainer.add_callback(callback)
        try:
            with interrupted.listening():
                yield
            stopped = interrupted.step is not None and not stopping.ended
            finished = not watch.reason and not stopped
        finally:
            if trackers:
                trackers.close(finished)
    if watch.reason:
        raise TrainingError(keep_lost(watch.reason, trainer.state.log_history, work, run))
    if stopped:
        raise TrainingError(
            f"interrupted by {interrupted.received or 'a signal'} at step {interrupted.step} of {trainer.state.max_steps}, "
            "checkpoint saved; materialize again to resume there"
        )


def leave(work: Path, out: Path) -> None:
    """Put what was gathered while the training ran into the artifact's folder."""
    for name in (LOG, SAMPLES, IDS):
        if (work / name).exists():
            shutil.copyfile(work / name, out / name)
    for name in FOLDERS:
        if (work / name).is_dir():
            shutil.copytree(work / name, out / name, ignore=shutil.ignore_patterns("latest-run", "*.log"))

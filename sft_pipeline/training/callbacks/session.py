"""The callbacks around one training, and what of them ends up in the artifact."""

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
from sft_pipeline.training.callbacks.checkpointing import sealing
from sft_pipeline.training.callbacks.early_stopping import early_stopping
from sft_pipeline.training.callbacks.interruption import interruption
from sft_pipeline.training.callbacks.logging import LOG, Lines, reporting
from sft_pipeline.training.callbacks.metrics import measuring
from sft_pipeline.training.callbacks.resource_errors import resource_errors
from sft_pipeline.training.callbacks.trackers import FOLDERS, IDS, Trackers
from sft_pipeline.training.callbacks.validation_samples import SAMPLES, chosen, sampling
from sft_pipeline.training.callbacks.watchdog import record_abort, watchdog

if TYPE_CHECKING:
    from trl import SFTTrainer


@contextmanager
def training_session(
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
    with resource_errors(experiment, work):
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
        raise TrainingError(record_abort(watch.reason, trainer.state.log_history, work, run))
    if stopped:
        raise TrainingError(
            f"interrupted by {interrupted.received or 'a signal'} at step {interrupted.step} of {trainer.state.max_steps}, "
            "checkpoint saved; materialize again to resume there"
        )


def export_logs(work: Path, out: Path) -> None:
    """Put what was gathered while the training ran into the artifact's folder."""
    for name in (LOG, SAMPLES, IDS):
        if (work / name).exists():
            shutil.copyfile(work / name, out / name)
    for name in FOLDERS:
        if (work / name).is_dir():
            shutil.copytree(work / name, out / name, ignore=shutil.ignore_patterns("latest-run", "*.log"))

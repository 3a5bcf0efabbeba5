"""The callbacks around one training, and what of them ends up in the artifact."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import TrainingError, TrainingInterrupted
from sft_pipeline.experiment import Experiment
from sft_pipeline.model.tokenizer import CleanTokenizer
from sft_pipeline.training import checkpoints, live
from sft_pipeline.training.callbacks.checkpointing import checkpointing
from sft_pipeline.training.callbacks.early_stopping import Ending, early_stopping
from sft_pipeline.training.callbacks.interruption import handled, interruption
from sft_pipeline.training.callbacks.live_results import handing_on, live_results
from sft_pipeline.training.callbacks.logging import LOG, journal, reporting
from sft_pipeline.training.callbacks.metrics import metrics
from sft_pipeline.training.callbacks.resource_errors import resource_errors
from sft_pipeline.training.callbacks.trackers import FOLDERS, IDS, Trackers
from sft_pipeline.training.callbacks.validation_samples import SAMPLES, chosen, validation_samples
from sft_pipeline.training.callbacks.watchdog import record_abort, watchdog

if TYPE_CHECKING:
    from trl import SFTTrainer


@contextmanager
def training_session(
    trainer: "SFTTrainer",
    experiment: Experiment,
    tokenizer: CleanTokenizer,
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
        start: the checkpoint that it resumes from.
        on_log: called with each log record as it comes.

    Raises:
        TrainingInterrupted: a signal ended the run.
        TrainingError: the run was aborted, or has run out of memory or of disk space.
    """
    training, after, ending = experiment.training, start.step if start else 0, Ending()

    def note(name: str) -> None:
        ending.signal = name

    trackers = None
    finished = False
    # The order counts: a record is complete before it is reported, and a planned save is noted before an interruption.
    trainer.add_callback(metrics(trainer))
    with resource_errors(experiment, work):
        if trainer.is_world_process_zero():
            trackers = Trackers(experiment, work, run, after)
            trainer.add_callback(reporting(journal(work / LOG, after), trackers, on_log))
            rows = chosen(read_table(dev.path(dev.ROWS)), training.validation_prompts, training.seed)
            if rows and not training.fsdp:  # with FSDP no process holds a model that could answer alone
                samples = journal(work / SAMPLES, after)
                trainer.add_callback(validation_samples(experiment, tokenizer, rows, samples))
        for callback in (
            watchdog(trainer, ending),
            early_stopping(training, ending, work),
            checkpointing(trainer, run, start, ending),
            interruption(ending),
        ):
            trainer.add_callback(callback)
        if trackers and (work / live.FOLDER).is_dir():
            declared = experiment.evaluation.series.live
            waits = declared is not None and declared.device == "same"
            report = handing_on(trackers.log, trainer.args.max_steps, on_log)
            trainer.add_callback(live_results(live.Reporter(work, report), work if waits else None, ending))
        try:
            with handled(note):
                yield
            finished = not ending.aborted and not ending.interrupted
        finally:
            if trackers:
                trackers.close(finished)
    if ending.aborted:
        raise TrainingError(record_abort(ending.aborted, trainer.state.log_history, work, run))
    if ending.interrupted:
        raise TrainingInterrupted(
            f"interrupted by {ending.signal or 'a signal'} at step {ending.interrupted_at} of {trainer.state.max_steps}, "
            "checkpoint saved; materialize again to resume there"
        )


def export_logs(work: Path, out: Path) -> None:
    """Copy what was recorded during the training into the artifact's folder."""
    for name in (LOG, SAMPLES, IDS):
        if (work / name).exists():
            shutil.copyfile(work / name, out / name)
    for name in FOLDERS:
        if (work / name).is_dir():
            shutil.copytree(work / name, out / name, ignore=shutil.ignore_patterns("latest-run", "*.log"))

"""Results of the live series: handed on as they come while the training runs, or waited for, and those left at its end."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import Experiment
from sft_pipeline.training import live
from sft_pipeline.training.callbacks.early_stopping import Ending
from sft_pipeline.training.callbacks.logging import announce
from sft_pipeline.training.callbacks.trackers import Trackers

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


def handing_on(
    track: Callable[[dict[str, Any]], None], steps: int, on_log: Callable[[dict[str, Any]], None] | None
) -> Callable[[dict[str, Any]], None]:
    """Takes a result of the live series and hands it on as a log record."""

    def report(result: dict[str, Any]) -> None:
        record = {**result, "steps": steps}
        track(record)
        announce(record, on_log)

    return report


def finish_series(
    series: live.Supervisor,
    experiment: Experiment,
    steps: int,
    work: Path,
    run: str,
    last: int,
    on_log: Callable[[dict[str, Any]], None] | None,
) -> None:
    """Have the rest of the live series evaluated or dropped, and its results sent to the run that the training has ended.

    Args:
        series: the evaluator.
        experiment: the specification.
        steps: planned steps.
        work: folder of this training alone.
        run: fingerprint of the training.
        last: last step that was trained.
        on_log: called with each result as it comes.
    """
    opened: list[Trackers] = []

    def track(record: dict[str, Any]) -> None:
        if not opened:
            opened.append(Trackers(experiment, work, run, last))
        opened[0].log(record)

    try:
        series.finish(live.Reporter(work, handing_on(track, steps, on_log)))
    finally:
        for trackers in opened:
            trackers.close(finished=True)

"""The evaluator of the live series: a process that has the base loaded and measures each checkpoint as it is complete.

The training sees it through files alone (training/live.py). It works on a copy of a checkpoint's adapter, as the artifact will
hold it, so that a checkpoint may vanish under it and checkpoint_series finds the same adapter's answers later.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sft_pipeline.artifacts import InstructionDataset, ModelSnapshot, SeriesPoint
from sft_pipeline.dataset.table import read_table
from sft_pipeline.evaluation.checkpoint_series import measured, point
from sft_pipeline.experiment import Experiment, HubBase
from sft_pipeline.generation.answers import conditions
from sft_pipeline.generation.engines import open_engine
from sft_pipeline.model.completion import Completion
from sft_pipeline.provenance.journal import Journal
from sft_pipeline.training import checkpoints, live
from sft_pipeline.training.child import child

POLL = 0.2
"""Seconds between two looks for a checkpoint."""

PRELOAD = ("peft", "scipy.stats", "transformers.models.auto.modeling_auto", __name__)
"""What its process imports, for the server that it is forked from; on the CPU alone."""


UNNAMEABLE = re.compile(r"[^\w.-]")
"""What a label may hold and the name of a metric in a tracker may not."""


def evaluator(
    experiment: Experiment,
    base: ModelSnapshot,
    dev: InstructionDataset,
    root: Path,
    device: Literal["own", "same", "after"],
    visible: str | None = None,
) -> live.Evaluator | None:
    """The evaluator that the experiment declares, for `training.trainer.train`; None where there is nothing to ask.

    Args:
        experiment: declares the live series.
        base: the base model.
        dev: the items.
        root: the project's root.
        device: where it works; `auto` has been decided.
        visible: its CUDA device; None: that of the training.
    """
    declared = experiment.evaluation.series.live
    if declared is None or not dev.rows:
        return None
    preload = PRELOAD if experiment.model.device == "cpu" else ()
    return live.Evaluator(
        partial(evaluate, experiment, base, dev, root), device, declared.at_end, visible=visible, preload=preload
    )


def evaluate(
    experiment: Experiment,
    base: ModelSnapshot,
    dev: InstructionDataset,
    root: Path,
    training: Path,
    visible: str | None = None,
) -> None:
    """Evaluate the base, then every complete checkpoint in the folder `training`, for ever; the entry point of the process."""
    folder = training / live.FOLDER
    from tqdm import tqdm

    with child(folder / live.LOG, visible):
        tqdm.set_lock(threading.RLock())  # not one between processes, which a killed one would leave behind
        os.nice(19)  # where the two share a processor, the training has it
        journal = Journal(folder / live.RESULTS)
        done = {record.get("step") for record in journal.records}
        rows = read_table(dev.path(InstructionDataset.ROWS))
        base_name = base.source if isinstance(experiment.model.source, HubBase) else None
        with open_engine(experiment, base) as engine:
            common = conditions(experiment, base, dev, engine)
            while True:
                waiting = [step for step in (0, *checkpoints.complete(training)) if step not in done]
                if not waiting:
                    time.sleep(POLL)
                    continue
                step, started = waiting[0], time.monotonic()
                own = folder / f"step-{step}"
                own.mkdir(exist_ok=True)
                adapter = own / "adapter" if step else None
                try:
                    if adapter:
                        shutil.rmtree(adapter, ignore_errors=True)
                        checkpoints.save_adapter(training / "kept" / str(step), adapter, base_name)
                except FileNotFoundError:
                    journal.add({"step": step, "skipped": "the checkpoint was deleted before it was evaluated"})
                else:
                    judged, answers = measured(engine, experiment, rows, adapter, own, common, root)
                    journal.add(record(point(step, judged, answers), answers, time.monotonic() - started))
                    shutil.rmtree(own / "adapter", ignore_errors=True)
                done.add(step)


def record(point: SeriesPoint, answers: Sequence[Completion], seconds: float) -> dict[str, Any]:
    """What the training reads of a checkpoint: the point of the series, and its figures by their names in a log record.

    `eval_label/…` are shares of all answers by label, such as format_failure. Without an answer that could be judged alone
    there is no `eval_success`.
    """
    count = len(answers)
    judged = {
        "eval_success": point.successes / max(point.n, 1),
        "eval_success_low": point.low,
        "eval_success_high": point.high,
    }
    return {
        "step": point.step,
        "point": point.model_dump(mode="json"),
        **(judged if point.n else {}),
        "eval_items": count,
        "eval_mean_tokens": point.mean_tokens,
        "eval_truncated_share": point.truncated / count,
        **{f"eval_label/{UNNAMEABLE.sub('_', label)}": n / count for label, n in point.labels.items()},
        "eval_seconds": round(seconds, 2),
    }

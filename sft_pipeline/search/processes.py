"""Runs trials in processes, several at a time, and starts killed ones again."""

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sft_pipeline.dataset import parallel
from sft_pipeline.errors import TrainingInterrupted
from sft_pipeline.search import trial
from sft_pipeline.training.callbacks.interruption import handled

POLL = 0.1
"""Seconds between two looks at the processes."""

RESTARTS = 5
"""Starts of one trial without a new checkpoint in between, after which it counts as failed."""

Begin = Callable[[int], trial.Job | None]
Done = Callable[[int, dict[str, Any]], None]


def run_all(count: int, at_a_time: int, begin: Begin, done: Done) -> None:
    """Run jobs 0 to `count` - 1, of which the next one begins when that `at_a_time` before it is done.

    So what a job can know of the others does not depend on which of them was faster.

    Args:
        count: number of jobs.
        at_a_time: jobs that run at once.
        begin: gives the job of a number; None: neither it nor a later one is to be run.
        done: called with number and result, in the order of the numbers.

    Raises:
        TrainingInterrupted: a signal came; the jobs resume when they are run again.
    """
    running: dict[int, _Process] = {}
    received: list[str] = []
    slots = _slots(at_a_time)

    def finish(number: int) -> None:
        while (result := running[number].result()) is None:
            for process in running.values():
                process.supervise()
            if received:
                raise TrainingInterrupted(f"interrupted by {received[0]}; materialize again to resume")
            time.sleep(POLL)
        running.pop(number).end()  # its device must be free for the next one
        done(number, result)

    with handled(received.append):
        try:
            for number in range(count):
                if number >= at_a_time:
                    finish(number - at_a_time)
                job = begin(number)
                if job is None:
                    break
                running[number] = _Process(job, slots[number % at_a_time], at_a_time)
            for number in sorted(running):
                finish(number)
        finally:
            for process in running.values():
                process.kill()


class _Process:
    """A trial's process, and those that follow it where it is killed."""

    def __init__(self, job: trial.Job, visible: str | None, at_a_time: int):
        self._job, self._visible = job, visible
        self._threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, parallel.cores() // at_a_time))
        self._starts, self._reached = 0, ""
        self._process: BaseProcess | None = None
        job.folder.mkdir(parents=True, exist_ok=True)
        self.supervise()

    def result(self) -> dict[str, Any] | None:
        path = self._job.folder / trial.RESULT
        return json.loads(path.read_text()) if path.is_file() else None

    def supervise(self) -> None:
        """Start it where it does not run and has left no result."""
        alive = self._process is not None and self._process.is_alive()
        if alive or (self._job.folder / trial.RESULT).is_file():
            return
        reached = _checkpoint(self._job.folder)
        self._starts = 1 if reached != self._reached else self._starts + 1
        self._reached = reached
        if self._starts > RESTARTS:
            code = self._process.exitcode if self._process else None
            reason = (
                f"its process ended {RESTARTS} times without a new checkpoint, the last time with {code}; -9 is mostly memory. "
                f"What it wrote is in {self._job.folder / trial.LOG}"
            )
            trial.leave(self._job, trial.made("failed", reason=reason))
            return
        context = multiprocessing.get_context("forkserver")
        if self._job.experiment.model.device == "cpu":
            context.set_forkserver_preload(["sft_pipeline.search.libraries"])
        self._process = context.Process(target=trial.run, args=(self._job, self._visible, self._threads))
        self._process.start()

    def end(self) -> None:
        """Wait for the process of a trial that has a result, and remove what it needed to get there.

        The process itself might be killed before it could.
        """
        if self._process is not None:
            self._process.join()
        for name in ("training", "adapter"):
            shutil.rmtree(self._job.folder / name, ignore_errors=True)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()


def _checkpoint(folder: Path) -> str:
    """The newest checkpoint of a trial's training."""
    return max((path.name for path in folder.glob("training/checkpoint-*")), key=lambda n: (len(n), n), default="")


def _slots(count: int) -> list[str | None]:
    """What CUDA_VISIBLE_DEVICES shall be for each of the processes: an equal share of what this one sees."""
    if not (seen := os.environ.get("CUDA_VISIBLE_DEVICES", "")):
        return [None] * count
    names = seen.split(",")
    each = max(1, len(names) // count)
    return [",".join(names[k * each : (k + 1) * each]) for k in range(count)]

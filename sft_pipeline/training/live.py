"""The evaluator of the live series as the training sees it: a process that is kept up, and a file with its results.

The two talk through files alone. The evaluator (evaluation/live_series.py) watches the training's folder for complete
checkpoints and leaves a record of each in `results.jsonl`; whoever holds the trackers reads them there. So a training over
several processes needs nothing else, and nothing that happens to the evaluator reaches the training.
"""

import logging
import math
import multiprocessing
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from sft_pipeline.artifacts import AdapterSnapshot
from sft_pipeline.provenance import files, journal
from sft_pipeline.provenance.locks import lock
from sft_pipeline.training import checkpoints

logger = logging.getLogger("sft_pipeline.training")

FOLDER = "live"
"""The evaluator's folder in the work folder of the training."""

RESULTS = "results.jsonl"
"""A record for each checkpoint: `step`, its `point` (SeriesPoint) and its figures as `eval_…`, or why it was `skipped`. A record
`ended` says why the evaluator was given up."""

LOG = "process.log"

REPORTED = "reported"
"""How many of the results the trackers have got."""

POLL = 0.5
"""Seconds between two looks at the evaluator, and at its results."""

STARTS = 3
"""Starts of the evaluator without a new chunk of answers, after which it is given up."""

SILENCE = 3600.0
"""Seconds without a new chunk of answers after which it is started again; loading a large base is among them."""


@dataclass(frozen=True)
class Evaluator:
    """How checkpoints are evaluated beside a training, or after it.

    Attributes:
        evaluate: called in the evaluator's process with the training's folder and `visible`; never returns.
        device: where, decided: no longer `auto`.
        at_end: drain or drop.
        visible: its CUDA device; None: what the training sees.
        preload: modules that the server of its process imports.
    """

    evaluate: Callable[[Path, str | None], None]
    device: Literal["own", "same", "after"]
    at_end: Literal["drain", "drop"]
    visible: str | None = None
    preload: tuple[str, ...] = ()


def results(work: Path) -> list[dict[str, Any]]:
    """The evaluated checkpoints of the training in `work`, in the order in which they were evaluated, the base among them."""
    return [record for record in journal.read(work / FOLDER / RESULTS) if "point" in record]


def settled(work: Path) -> bool:
    """Whether nothing is left to wait for: every complete checkpoint has its record, or the evaluator was given up."""
    path = work / FOLDER / RESULTS
    records = journal.read(path)
    if not path.exists() or any("ended" in record for record in records):
        return True
    return {record["step"] for record in records}.issuperset((0, *checkpoints.complete(work)))


class Reporter:
    """Hands each result on once, across processes and restarts, at most one in a call.

    One, because Weights & Biases counts a step for each: between two training steps there is room for one.
    """

    def __init__(self, work: Path, report: Callable[[dict[str, Any]], None]):
        self._work, self._report = work, report
        self._reported = work / FOLDER / REPORTED
        self._read = -1

    def __call__(self) -> bool:
        """Returns whether there was one."""
        try:
            size = (self._work / FOLDER / RESULTS).stat().st_size
        except FileNotFoundError:
            return False
        if size == self._read:
            return False
        found, count = results(self._work), _count(self._reported)
        if count == len(found):
            self._read = size
            return False
        self._report(found[count])
        files.write(self._reported, str(count + 1))
        return True


def _count(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0


@contextmanager
def evaluating(evaluator: Evaluator, work: Path, after: int) -> Iterator["Supervisor"]:
    """Have checkpoints of the training in `work`, which resumes at step `after`, evaluated while the block lasts."""
    folder = work / FOLDER
    folder.mkdir(exist_ok=True)
    with open(folder / LOG, "a") as log:
        lock(log)  # the evaluator of a killed training has ended
        # What lies beyond the checkpoint that is resumed from is trained, and evaluated, again.
        kept = journal.Journal(folder / RESULTS, keep=lambda record: record.get("step", math.inf) <= after).records
    count = min(_count(folder / REPORTED), sum("point" in record for record in kept))
    files.write(folder / REPORTED, str(count))
    supervisor = Supervisor(evaluator, work)
    if evaluator.device != "after":
        supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.end()


class Supervisor:
    """Keeps the evaluator's process up, from a thread, until it is ended or given up."""

    def __init__(self, evaluator: Evaluator, work: Path):
        self._evaluator, self._work = evaluator, work
        self._process: BaseProcess | None = None
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the evaluator, unless it was started before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._supervise, name="live series", daemon=True)
            self._thread.start()

    def finish(self, report: Callable[[], bool]) -> None:
        """Have the rest evaluated, or drop it, as declared; `report` is called while there are results."""
        if self._evaluator.at_end == "drain":
            self.start()
            while not settled(self._work) and self._thread is not None and self._thread.is_alive():
                report()
                time.sleep(POLL)
        self.end()
        while report():
            pass
        done = {record["step"] for record in results(self._work)}
        if missing := [step for step in checkpoints.complete(self._work) if step not in done]:
            logger.warning(
                "the live series has no result of step %s; checkpoint_series measures what is kept of them",
                ", ".join(map(str, missing)),
            )

    def end(self) -> None:
        """End the evaluator."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _supervise(self) -> None:
        try:
            reason = self._keep_up()
        except Exception as error:  # whatever it is, the training goes on
            reason = f"{type(error).__name__}: {error}"
        if reason:
            logger.warning("the live series ends, the training goes on: %s", reason)
            try:
                journal.Journal(self._work / FOLDER / RESULTS).add({"ended": reason})
            except OSError:  # a full disk takes no record, and nobody may wait for it
                (self._work / FOLDER / RESULTS).unlink(missing_ok=True)

    def _keep_up(self) -> str:
        """Start the process again whenever it ends; returns why it was given up, or nothing."""
        reached, starts, since, looked = -1, 0, time.monotonic(), 0.0
        while True:
            now, process = time.monotonic(), self._process
            alive = process is not None and process.is_alive()
            if not alive or now - looked > SILENCE / 100:
                looked, size = now, self._size()
                if size > reached:
                    reached, starts, since = size, 0, now
                since = now if settled(self._work) else since  # without a checkpoint it may be silent
            if process is not None and alive:
                if now - since > SILENCE:
                    process.kill()
                    process.join()
                    continue
            elif starts == STARTS:
                code = process.exitcode if process else None
                return (
                    f"its process ended {STARTS} times without a new answer, the last time with {code}; -9 is mostly memory. "
                    f"What it wrote is in {self._work / FOLDER / LOG}{self._last_line()}"
                )
            else:
                starts, since = starts + 1, now
                self._launch()
            if self._ending.wait(POLL):
                return ""

    def _launch(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(self._evaluator.preload))
        process = context.Process(target=self._evaluator.evaluate, args=(self._work, self._evaluator.visible))
        process.start()
        self._process = process  # one that could not be started cannot be ended

    def _size(self) -> int:
        """Bytes of results and answers: they grow with every chunk."""
        size = 0
        for path in (self._work / FOLDER).rglob("*.jsonl"):
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        return size

    def _last_line(self) -> str:
        lines = (self._work / FOLDER / LOG).read_text(errors="replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")


def export(work: Path, out: Path, steps: set[int]) -> None:
    """Copy results, and the answers of base and `steps`, into the artifact, where checkpoint_series finds them."""
    folder = work / FOLDER
    if not (folder / RESULTS).exists():
        return
    shutil.copyfile(folder / RESULTS, out / f"{AdapterSnapshot.SERIES}.jsonl")
    for step in sorted({0, *steps}):
        for path in (folder / f"step-{step}").glob("*.jsonl"):
            target = out / AdapterSnapshot.SERIES / f"step-{step}"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.name)


def successes(records: list[dict[str, Any]]) -> Mapping[int, float]:
    """Success by step of the checkpoints among `results`, in order; one of which no answer could be judged is left out."""
    return {r["step"]: r["eval_success"] for r in records if r["step"] and "eval_success" in r}

"""A training over several processes: torch's elastic launcher starts them, accelerate joins them, TRL trains as ever.

On the CPU they talk by gloo, on CUDA by NCCL, with a device each. Every process runs the same code on its share of each
step's rows; the first one writes checkpoints and log. FSDP shards the (quantised) base over the devices instead of
holding it on each; that path needs CUDA devices.

No process outlives the step that launched them. All of them inherit a pipe as standard input, whose other end only the
launching process has: the kernel closes it even after SIGKILL, and whoever reads its end ends itself. They also inherit
the locked log as standard output, and with it the lock: a later launch waits until the last of them has gone.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from sft_pipeline.artifacts import InstructionDataset, ModelSnapshot, TrainingPlan
from sft_pipeline.errors import PreconditionError, TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.provenance.locks import lock
from sft_pipeline.training import checkpoints
from sft_pipeline.training.callbacks.interruption import notices

LOG = "processes.log"
"""What the processes say, in the work folder; locked while one of them lives."""

ROWS = "processes.jsonl"
"""Log rows of the first process, in the work folder, one JSON object per line."""

POLL = 0.5
"""Seconds between two looks at the log rows."""

SAVING = 600
"""Seconds that the processes have for their last checkpoint after a notice of termination."""

_INPUTS = {"base": ModelSnapshot, "plan": TrainingPlan, "train": InstructionDataset, "dev": InstructionDataset}


@dataclass(frozen=True)
class Job:
    """What a process trains: specification, inputs, work folder, and the checkpoint that it goes on from."""

    experiment: Experiment
    base: ModelSnapshot
    plan: TrainingPlan
    train: InstructionDataset
    dev: InstructionDataset
    work: Path
    start: checkpoints.Checkpoint | None

    @property
    def fingerprint(self) -> str:
        """Hash of everything that the weights at a given step depend on."""
        return checkpoints.fingerprint(self.experiment, self.base, self.plan, self.train, self.dev)

    def write(self, path: Path) -> None:
        """Write the job as JSON, for another process on this machine."""
        inputs = {name: getattr(self, name) for name in _INPUTS}
        given = {n: artifact.model_dump(mode="json") | {"root": str(artifact.root)} for n, artifact in inputs.items()}
        start = asdict(self.start) | {"folder": str(self.start.folder)} if self.start else None
        given |= {"experiment": self.experiment.model_dump_json(), "work": str(self.work), "start": start}
        path.write_text(json.dumps(given))

    @classmethod
    def read(cls, path: Path) -> "Job":
        """The job that `write` has written."""
        given = json.loads(path.read_text())
        start = given["start"] and checkpoints.Checkpoint(**given["start"] | {"folder": Path(given["start"]["folder"])})
        inputs = {name: kind.model_validate(given[name]) for name, kind in _INPUTS.items()}
        experiment = Experiment.model_validate_json(given["experiment"])
        return cls(experiment, **inputs, work=Path(given["work"]), start=start)


def await_killed(work: Path) -> None:
    """Wait until the processes of an earlier, killed launch in `work` have ended; they do so by themselves."""
    _locked_log(work).close()


def launch(job: Job, on_log: Callable[[dict[str, Any]], None] | None) -> None:
    """Train in `experiment.training.processes` processes until all have ended.

    SIGTERM and SIGINT are handed on to them; they save a checkpoint and end.

    Args:
        job: what to train.
        on_log: called with each log row as it comes.

    Raises:
        PreconditionError: there are fewer CUDA devices than processes.
        TrainingError: a process failed or was interrupted; with the last lines that it wrote.
    """
    work, count = job.work, str(job.experiment.training.processes)
    cpu = job.experiment.model.device == "cpu"
    if not cpu:
        _require_devices(job.experiment.training.processes)
    job.write(work / "processes.json")
    (work / ROWS).write_text("")
    elastic = ["torch.distributed.run", "--standalone", "--nproc-per-node", count, "--shutdown-timeout", str(SAVING)]
    environment = os.environ | {"ACCELERATE_USE_CPU": str(cpu).lower(), "OMP_NUM_THREADS": _threads(count)}
    with _locked_log(work) as log, open(work / ROWS) as rows:
        log.truncate(0)
        process = subprocess.Popen(
            [sys.executable, "-m", *elastic, "-m", "sft_pipeline.training.worker", str(work / "processes.json")],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches it through the notice alone: the launcher takes a second for haste
        )
        told: list[str] = []

        def tell(name: str) -> None:
            told.append(name)
            if len(told) == 1:
                process.terminate()

        with notices(tell):
            try:
                while process.poll() is None:
                    _hand_on(rows, on_log)
                    time.sleep(POLL)
            finally:
                if process.poll() is None:
                    tell("an error")
                process.wait()
        _hand_on(rows, on_log)
    if process.returncode and told and (saved := checkpoints.newest(work, job.fingerprint)):
        raise TrainingError(
            f"interrupted by {told[0]}; the checkpoint of step {saved.step} of {job.plan.steps} is complete, materialize "
            f"again to resume there. What the processes said is in {work / LOG}"
        )
    if process.returncode:
        said = (work / LOG).read_text(errors="replace").splitlines()[-30:]
        raise TrainingError(f"a process of {count} failed; {work / LOG} ends with:\n" + "\n".join(said))


def _require_devices(count: int) -> None:
    """A device for each process: in the lineage the step's lease has seen to it. The plan may be made elsewhere."""
    import torch

    if (seen := torch.cuda.device_count()) < count:
        raise PreconditionError(
            f"training.processes is {count} on model.device cuda, a device for each, but this process sees {seen}. Run it "
            f"where there are {count}, or train in fewer processes with as much more gradient_accumulation"
        )


def _locked_log(work: Path) -> TextIO:
    """The log, opened and locked; its lock lives in every process that inherits it."""
    log = open(work / LOG, "a")  # noqa: SIM115 - the caller closes it
    lock(log)
    return log


def _threads(processes: str) -> str:
    """Threads per process: an equal share of the cores, since spinning threads on shared cores are many times slower."""
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // int(processes)))


def _hand_on(rows, on_log: Callable[[dict[str, Any]], None] | None) -> None:
    while line := rows.readline():
        if on_log is not None:
            on_log(json.loads(line))

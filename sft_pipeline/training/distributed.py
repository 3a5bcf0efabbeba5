"""A training over several processes: accelerate finds itself among them, TRL trains as ever.

On the CPU they talk by gloo, on CUDA by NCCL, with a device each. Every process runs the same code on its share of each
step's rows; the first one writes checkpoints and log. FSDP shards the (quantised) base over the devices instead of
holding it on each; that path needs CUDA devices.

They find each other through a file in the step's private folder (torch's FileStore) and talk over the loopback interface.
torch's own launcher, torchrun, would open a store to all interfaces that asks nobody who he is. It is what several machines
meet by, where the environment declares them (nodes.py): `launch` starts the share of node 0, `join` that of another one.

No process outlives the step that launched them. All of them inherit a pipe as standard input, whose other end only the
launching process has: the kernel closes it even after SIGKILL, and whoever reads its end ends itself. They also inherit
the locked log as standard output, and with it the lock: a later launch waits until the last of them has gone.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from sft_pipeline.artifacts import InstructionDataset, ModelSnapshot, TrainingPlan
from sft_pipeline.dataset import parallel
from sft_pipeline.errors import PreconditionError, TrainingError, TrainingInterrupted
from sft_pipeline.experiment import Experiment
from sft_pipeline.provenance.journal import complete_lines
from sft_pipeline.provenance.locks import lock
from sft_pipeline.training import checkpoints, nodes
from sft_pipeline.training.callbacks.interruption import handled

LOG = "processes.log"
"""Output of the processes, in the work folder; locked while one of them lives."""

RECORDS = "processes.jsonl"
"""Log records of the first process, in the work folder, one JSON object per line."""

POLL = 0.5
"""Seconds between two looks at the log records."""

ENDING = 30
"""Seconds that the others have when one has failed: without it there is no further checkpoint."""

STORE = "processes.store"
"""File in the work folder through which the processes find each other; a new one for each launch."""

MET = "processes.met"
"""Empty file in the work folder, which says that the processes of all nodes were started."""

CAUSE = "processes.cause"
"""Why a process failed, in the work folder: the first one that does writes it, and the others only lose its company."""

LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
"""Environment of the processes. Nobody listens at the master's address: accelerate only wants one to be named."""

WORKER = "sft_pipeline.training.worker"

_INPUTS: dict[str, Any] = {
    "base": ModelSnapshot,
    "plan": TrainingPlan,
    "train": InstructionDataset,
    "dev": InstructionDataset,
}


@dataclass(frozen=True)
class Job:
    """What a process trains: specification, inputs, work folder, and the checkpoint that it resumes from."""

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
        """Write the job as JSON, for another process, on a machine that sees the same files."""
        inputs = {name: getattr(self, name) for name in _INPUTS}
        given = {n: artifact.model_dump(mode="json") | {"root": str(artifact.root)} for n, artifact in inputs.items()}
        start = asdict(self.start) | {"folder": str(self.start.folder)} if self.start else None
        given |= {"experiment": self.experiment.model_dump_json(), "work": str(self.work), "start": start}
        path.write_text(json.dumps(given))

    @classmethod
    def read(cls, text: str) -> "Job":
        """The job that `write` has written."""
        given = json.loads(text)
        start = given["start"] and checkpoints.Checkpoint(**given["start"] | {"folder": Path(given["start"]["folder"])})
        inputs = {name: kind.model_validate(given[name]) for name, kind in _INPUTS.items()}
        experiment = Experiment.model_validate_json(given["experiment"])
        return cls(experiment, **inputs, work=Path(given["work"]), start=start)


def await_killed(work: Path) -> None:
    """Wait until the processes of an earlier, killed launch in `work` have ended; they do so by themselves."""
    _locked_log(work).close()


def launch(job: Job, on_log: Callable[[dict[str, Any]], None] | None) -> None:
    """Train in `experiment.training.processes` processes until all have ended; of several nodes this one must be node 0.

    SIGTERM and SIGINT are passed on to them; they save a checkpoint and end.

    Args:
        job: what to train.
        on_log: called with each log record as it comes.

    Raises:
        PreconditionError: there are fewer CUDA devices than processes, or this is not node 0.
        SpecificationError: the environment describes no usable nodes.
        TrainingError: a process failed or was interrupted; with the cause that it wrote.
    """
    work, count = job.work, job.experiment.training.processes
    node, local = nodes.here(), nodes.share(count)
    if job.experiment.model.device != "cpu":
        _require_devices(local, node)
    file = work / "processes.json"
    job.write(file)
    (work / RECORDS).write_text("")
    if node:
        commands = [(node.torchrun(local, WORKER, str(file)), _environment(job.experiment, local))]
    else:
        shared = _environment(job.experiment, local) | LOOPBACK
        shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        alone = [sys.executable, "-m", WORKER, str(file)]
        commands = [(alone, shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)]
    with _locked_log(work) as log, open(work / RECORDS, "rb") as records:
        log.truncate(0)
        for name in (STORE, MET, CAUSE):
            (work / name).unlink(missing_ok=True)
        codes, received = _run(commands, log, lambda: _forward(records, on_log))
        _forward(records, on_log)
    if not any(codes):
        return
    if received and (saved := checkpoints.newest(work, job.fingerprint)):
        raise TrainingInterrupted(
            f"interrupted by {received}; the checkpoint of step {saved.step} of {job.plan.steps} is complete, materialize "
            f"again to resume there. What the processes wrote is in {work / LOG}"
        )
    if received:
        raise TrainingInterrupted(f"interrupted by {received} before a checkpoint was complete; materialize again")
    last = (work / LOG).read_text(errors="replace").splitlines()[-30:]
    if (work / CAUSE).is_file():
        cause = (work / CAUSE).read_text(errors="replace")
    elif node and not (work / MET).exists():
        raise TrainingError(
            "\n".join(
                [
                    f"the {node.count} nodes did not meet at {node.address}:{node.port} within {nodes.JOINING} s. Each of the "
                    f"others runs `sft-pipeline train-node NAME`, with {nodes.NODES}={node.count} and an index of its own, and "
                    f"must reach that port; {nodes.ADDRESS} must be a name of this machine. torchrun wrote:",
                    *last,
                ]
            )
        )
    else:  # killed, or a library crashed
        ended = ", ".join(f"process {n} ended with {code}" for n, code in enumerate(codes) if code)
        cause = "\n".join([ended, *last])
    others = ", and in the output of the other nodes" if node else ""
    raise TrainingError(f"a process of {count} failed: {cause}\nWhat the processes wrote is in {work / LOG}{others}")


def join(experiment: Experiment, node: nodes.Node, seconds: float) -> None:
    """Run this node's share of a training that node 0 launches; it hands the job over when both have met.

    Args:
        experiment: the specification, for the number of processes and the device; the job is node 0's.
        node: this machine, not node 0.
        seconds: how long to wait for node 0.

    Raises:
        PreconditionError: the processes cannot be divided over the nodes, or this one has too few devices.
        TrainingError: a process failed or was interrupted, or node 0 did not come.
    """
    local = node.share(experiment.training.processes)
    if experiment.model.device != "cpu":
        _require_devices(local, node)
    command = node.torchrun(local, WORKER, seconds=seconds)
    (code,), received = _run([(command, _environment(experiment, local))], None, lambda: None)
    if code and received:
        raise TrainingInterrupted(
            f"node {node.index}: interrupted by {received}; node 0 says which checkpoint is complete"
        )
    if code:
        raise TrainingError(
            f"node {node.index}: torchrun ended with {code}; the lines above say why. Where they name no process, node 0 did "
            f"not answer at {node.address}:{node.port} within {seconds:g} s"
        )


def _environment(experiment: Experiment, local: int) -> dict[str, str]:
    """Environment of processes of which `local` share this machine."""
    cpu = str(experiment.model.device == "cpu").lower()
    return os.environ | {"ACCELERATE_USE_CPU": cpu, "OMP_NUM_THREADS": _threads(local)}


def _run(
    commands: Sequence[tuple[list[str], dict[str, str]]], log: TextIO | None, forward: Callable[[], None]
) -> tuple[list[int | None], str]:
    """Run commands, each with its environment, until all have ended or one has failed, and end the others then.

    Returns:
        Their exit codes, and the name of the signal that came first, which was passed on to them.
    """
    ranks: list[subprocess.Popen[bytes]] = []
    received: list[str] = []

    def terminate(name: str) -> None:
        received.append(name)
        if len(received) == 1:
            for rank in ranks:
                rank.terminate()

    lives, launched = os.pipe()
    with handled(terminate):
        try:
            for command, environment in commands:
                process = subprocess.Popen(
                    command,
                    stdin=lives,
                    stdout=log,
                    stderr=subprocess.STDOUT if log else None,
                    env=environment,
                    start_new_session=True,  # Ctrl-C reaches it through the notice alone
                )
                ranks.append(process)
                if received:  # before it was there to be terminated
                    process.terminate()
            _supervise(ranks, forward)
        finally:
            seconds = nodes.SAVING if received else ENDING
            if not received:  # a second signal would keep a process from saving
                for process in ranks:
                    process.terminate()
            _end(ranks, seconds)
            os.close(lives)
            os.close(launched)
    return [rank.returncode for rank in ranks], next(iter(received), "")


def _supervise(ranks: Sequence[subprocess.Popen[bytes]], forward: Callable[[], None]) -> None:
    """Wait until all processes have ended, or one has failed."""
    while any(rank.poll() is None for rank in ranks) and not any(rank.returncode for rank in ranks):
        forward()
        time.sleep(POLL)


def _end(ranks: Sequence[subprocess.Popen[bytes]], seconds: float) -> None:
    """Wait for the processes, which have a signal to end, and kill those that are still there after this time."""
    until = time.monotonic() + seconds
    for rank in ranks:
        try:
            rank.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            rank.kill()
            rank.wait()


def _require_devices(count: int, node: nodes.Node | None) -> None:
    """A device for each process: in the lineage the step's lease has seen to it. The plan may be made elsewhere."""
    import torch

    if (seen := torch.cuda.device_count()) < count:
        on_this = f", {count} of them on node {node.index}" if node else ""
        raise PreconditionError(
            f"training.processes is {count * (node.count if node else 1)} on model.device cuda{on_this}, a device for each, "
            f"but this process sees {seen}. Run it where there are {count}, or train in fewer processes with as much more "
            "gradient_accumulation"
        )


def _locked_log(work: Path) -> TextIO:
    """The log, opened and locked; its lock lives in every process that inherits it."""
    log = open(work / LOG, "a")  # noqa: SIM115 - the caller closes it
    lock(log)
    return log


def _threads(processes: int) -> str:
    """Threads per process: an equal share of the cores, since spinning threads on shared cores are many times slower."""
    return os.environ.get("OMP_NUM_THREADS") or str(max(1, parallel.cores() // processes))


def _forward(records: BinaryIO, on_log: Callable[[dict[str, Any]], None] | None) -> None:
    for line in complete_lines(records):
        if on_log is not None:
            on_log(json.loads(line))

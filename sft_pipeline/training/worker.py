"""One process of a training over several: the entry point that `distributed.launch` and `join` start in each.

It stands apart because it needs the trainer as well as the launch, and neither of them needs the other.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.errors import PreconditionError
from sft_pipeline.provenance.environment import importing
from sft_pipeline.provenance.journal import Journal
from sft_pipeline.training import distributed, nodes, trainer

if TYPE_CHECKING:
    import torch


def _end_with_the_launch() -> None:
    """End this process when the one that launched the training has gone."""

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written: it returns at the end of the pipe
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with the launch", daemon=True).start()


def _shard_here() -> None:
    """Let accelerate shard over processes on the CPU, which it does for devices alone: the same code, for tests.

    TrainingArguments resets accelerate's state, so that it has to be said whenever the state is made.
    """
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    make = PartialState.__init__

    def made(self: PartialState, *given: Any, **options: Any) -> None:
        make(self, *given, **options)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = made


def _meet(file: Path | None) -> tuple["torch.distributed.Store", str]:
    """The store through which the processes meet, and the text of their job, which of several nodes only node 0 has."""
    import torch

    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if nodes.here() is None:
        assert file is not None
        return torch.distributed.FileStore(str(file.parent / distributed.STORE), count), file.read_text()
    store, _, _ = next(torch.distributed.rendezvous("env://"))
    if rank == 0:
        assert file is not None
        (file.parent / distributed.MET).touch()
        store.set("job", file.read_text())
    return store, store.get("job").decode()


def _require_same(job: distributed.Job, count: int) -> None:
    """Refuse a node that sees other files or reads another specification than node 0."""
    declared = job.experiment.training.processes
    if count != declared:
        raise PreconditionError(
            f"the nodes have started {count} processes, but training.processes is {declared} on node 0: let all of them read "
            "the same specification"
        )
    inputs = (job.work, job.base.root, job.train.root, job.dev.root)
    if missing := [str(path) for path in inputs if not path.is_dir()]:
        raise PreconditionError(
            f"this node does not see {', '.join(missing)}: store, cache and work folder must be on a file system that all "
            "nodes mount at the same path"
        )


def _work(job: distributed.Job, store: "torch.distributed.Store") -> None:
    """One process's part."""
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with importing():
        import torch
        from trl import SFTTrainer  # noqa: F401

    cuda = job.experiment.model.device == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=count)
    if job.experiment.training.fsdp and not cuda:
        _shard_here()
    records = Journal(job.work / distributed.RECORDS, durable=False) if rank == 0 else None
    trainer.train_here(job, records.add if records else None)
    torch.distributed.destroy_process_group()


def main(file: Path | None = None) -> None:
    """Train, and leave the cause of a failure in the work folder."""
    work = file.parent if file else None
    try:
        store, text = _meet(file)
        job = distributed.Job.read(text)
        _require_same(job, int(os.environ["WORLD_SIZE"]))
        work = job.work
        _work(job, store)
    except BaseException as error:
        if work:
            with suppress(FileExistsError), (work / distributed.CAUSE).open("x") as cause:
                cause.write(f"{type(error).__name__}: {error}")
        raise


if __name__ == "__main__":
    _end_with_the_launch()
    main(*map(Path, sys.argv[1:]))

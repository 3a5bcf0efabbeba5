"""One process of a training over several: the entry point that `distributed.launch` starts in each.

It stands apart because it needs the trainer as well as the launch, and neither of them needs the other.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from sft_pipeline.provenance.journal import Journal
from sft_pipeline.training import distributed, trainer


def _end_with_the_launch() -> None:
    """End this process when the one that launched the training has gone."""

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written: it returns at the end of the pipe
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with the launch", daemon=True).start()


def _shard_here() -> None:
    """Let accelerate shard over processes on the CPU, which it does for devices alone: the same code, for tests."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    PartialState(cpu=True)._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def _work(path: Path) -> None:
    """One process's part."""
    job, rank, count = distributed.Job.read(path), int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    import torch

    cuda = job.experiment.model.device == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    store = torch.distributed.FileStore(str(job.work / distributed.STORE), count)
    torch.distributed.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=count)
    if job.experiment.training.fsdp and not cuda:
        _shard_here()
    records = Journal(job.work / distributed.RECORDS, durable=False) if rank == 0 else None
    trainer.train_here(job, records.add if records else None)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    _end_with_the_launch()
    job = Path(sys.argv[1])
    try:
        _work(job)
    except BaseException as error:
        with suppress(FileExistsError), (job.parent / distributed.CAUSE).open("x") as cause:
            cause.write(f"{type(error).__name__}: {error}")
        raise

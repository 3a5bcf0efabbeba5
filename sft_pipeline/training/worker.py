"""One process of a training over several: the entry point that `distributed.launch` starts in each.

It stands apart because it needs the trainer as well as the launch, and neither of them needs the other.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from sft_pipeline.training import distributed, trainer


def _end_with_the_launch() -> None:
    """End this process when the one that launched the training has gone."""

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written: it returns at the end of the pipe
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with the launch", daemon=True).start()


def _work(path: Path) -> None:
    """One process's part."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    job = distributed.Job.read(path)
    with open(job.work / distributed.ROWS, "a") as rows:

        def on_log(row: dict[str, Any]) -> None:
            rows.write(json.dumps(row) + "\n")
            rows.flush()

        trainer.train_here(job, on_log if os.environ["RANK"] == "0" else None)


if __name__ == "__main__":
    _end_with_the_launch()
    from torch.distributed.elastic.multiprocessing.errors import record

    record(_work)(Path(sys.argv[1]))  # so that the launcher's last words say which exception it was

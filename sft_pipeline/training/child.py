"""Processes that train or evaluate beside others: an evaluator, a trial of a search."""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sft_pipeline.provenance.locks import lock


@contextmanager
def child(log: Path, visible: str | None) -> Iterator[None]:
    """Write to `log`, which one process at a time holds, and end with the process that started this one.

    Args:
        log: file for all output; a predecessor that still ends is waited for.
        visible: the process's CUDA devices; None leaves those that its parent sees.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its children itself
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    with open(log, "a") as file:
        lock(file)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        yield


def _end_with_parent() -> None:
    """Kill this process when its parent is gone: a later one starts it again."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def free_memory() -> None:
    """Give back what a training held in this process, before an engine loads the base on its device."""
    gc.collect()
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()

"""A process of its own that has what this one has imported: a training to be killed need not begin with ten seconds of imports."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("fork")


def start(work: Callable[..., Any], *arguments: Any, log: Path, daemon: bool = True) -> BaseProcess:
    """Start `work` in a forked process, which writes its output and what it raises to `log`; a daemon has no children."""
    log.touch()  # who looks into it need not wait for the process
    process = CONTEXT.Process(target=_run, args=(work, arguments, log), daemon=daemon)
    process.start()
    return process


def _run(work: Callable[..., Any], arguments: tuple[Any, ...], log: Path) -> None:
    with log.open("w", buffering=1) as out:
        sys.stdout = sys.stderr = out
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
        if "torch" in sys.modules:
            import torch

            torch.set_num_threads(1)  # OpenMP's threads have stayed with the parent
        work(*arguments)

"""Work on batches in several processes: results come in the order of the tasks, so that their number changes no byte.

Processes come from a server of their own (`forkserver`): a fork of this process would copy the locks of the threads that
torch, Arrow and Dagster run in it. They share its imports, and so start in some milliseconds.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from sft_pipeline.errors import DataError, SpecificationError

VARIABLE = "SFT_PIPELINE_PROCESSES"
"""Environment variable with the number of processes, where neither rule nor command is to decide it."""

LEAST = 3
"""Batches for each process, from which on another one pays: the first has to import the package before it works."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""File in which cgroup v2 gives a container's quota of processor time, and the period for which it is one."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def declared() -> int | None:
    """The number of processes that the environment asks for; None: by `LEAST` and the cores.

    Raises:
        SpecificationError: it is no positive number.
    """
    written = os.environ.get(VARIABLE, "").strip()
    if not written:
        return None
    if not written.isdecimal() or int(written) < 1:
        raise SpecificationError(f"{VARIABLE} is {written!r}; it must be a positive number of processes")
    return int(written)


def cores() -> int:
    """The cores that this process may use: those of its affinity, and no more than a container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text("ascii").split()
        return max(1, min(count, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no such control group, or no quota ("max")
        return count


class Workers:
    """Processes that work on batches; with one, the work is done in this process.

    A context manager. Interrupted or left by an error, it ends its processes; these end by themselves with this one.
    """

    def __init__(self, processes: int | None, batches: int) -> None:
        """Take as many processes as are wanted (None: by the rule), but none without a batch."""
        wanted = min(cores(), batches // LEAST) if processes is None else min(processes, batches)
        # A daemon, as some schedulers start, may have no children.
        self.processes = 1 if multiprocessing.current_process().daemon else max(1, wanted)
        self._executor: ProcessPoolExecutor | None = None
        self._states = 0

    def __enter__(self) -> "Workers":
        if self.processes > 1:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["__main__", *_PRELOADED])
            self._executor = ProcessPoolExecutor(self.processes, context, _begin)
            self._folder = TemporaryDirectory(prefix="sft-pipeline-")
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor:
            self._executor.shutdown(cancel_futures=True)
            self._folder.cleanup()

    def map(self, work: Callable[..., Result], tasks: Iterable[Task], *state: Any) -> Iterator[Result]:
        """`work(task, *state)` of each task, in their order; `state` reaches each process once.

        As many tasks as keep the processes busy are taken and as many results held, however many there are.

        Raises:
            DataError: a process was killed. What `work` raises, this raises.
        """
        if self._executor is None:
            yield from (work(task, *state) for task in tasks)
            return
        self._states += 1
        path = Path(self._folder.name) / str(self._states)
        path.write_bytes(pickle.dumps((work, state), pickle.HIGHEST_PROTOCOL))
        pending: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                pending.append(self._executor.submit(_call, path, task))
                if len(pending) >= 2 * self.processes:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                f"one of {self.processes} processes that work on the rows was ended from outside, as the system does where "
                f"memory runs out; nothing was written. Run it again with fewer (--processes, or {VARIABLE})"
            ) from error
        finally:
            for future in pending:
                future.cancel()
            path.unlink(missing_ok=True)


_PRELOADED = ("sft_pipeline.dataset.cleaning.clean", "sft_pipeline.dataset.split.split")
_held: tuple[Path, Any] | None = None
"""Work and state of the pass that this process works for."""


def _call(path: Path, task: Any) -> Any:
    global _held
    if _held is None or _held[0] != path:
        _held = None  # the former state goes before the next one comes
        _held = path, pickle.loads(path.read_bytes())
    work, state = _held[1]
    return work(task, *state)


def _begin() -> None:
    """What a process does first: leave an interrupt to the parent, end with it, and keep to one core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)

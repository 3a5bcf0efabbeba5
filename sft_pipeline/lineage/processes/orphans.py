"""Interrupts a step when the process of its run is gone; the forkserver of the step processes preloads it.

Nobody could see or end such a step, and it would hold its device and its lock. It gets the signal that the run's process sends
when somebody terminates the run, so a training saves a checkpoint first. Import it nowhere else.
"""

import multiprocessing
import os
import signal
import threading
import time

_SERVER = os.getpid()

_POLL = 0.05
"""Seconds between two looks whether the process that was forked knows its run's process already."""


def _begin() -> None:
    if os.getppid() == _SERVER:  # a step, and not what a step forks
        threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while (run := multiprocessing.parent_process()) is None:
        time.sleep(_POLL)
    run.join()
    os.kill(os.getpid(), signal.SIGINT)


os.register_at_fork(after_in_child=_begin)

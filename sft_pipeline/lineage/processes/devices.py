"""Which CUDA devices this machine has, and the lease on them that a step holds while it works.

A lease is a `flock` on a file per device, in a folder that all runs of the machine share. The kernel gives it back
whenever its holder ends, also by SIGKILL, so that no device is ever lost; see flock(2). The holder sees its devices in
CUDA_VISIBLE_DEVICES and no others. Nothing here imports torch: it reads that variable once, when it first looks.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from sft_pipeline.errors import DeviceError
from sft_pipeline.provenance.locks import try_lock
from sft_pipeline.training import nodes

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment

DECLARED = "SFT_PIPELINE_CUDA_DEVICES"
"""Variable with the devices that steps may use, such as `0,1` or UUIDs; empty: none."""

LEASES = "SFT_PIPELINE_LEASES"
"""Variable with the folder of the leases, for runs that do not share a temporary folder."""

VISIBLE = "CUDA_VISIBLE_DEVICES"

POLL = 0.5
"""Seconds between two tries to get a device that others hold."""


def devices() -> tuple[str, ...]:
    """The devices that steps may use: as declared, else as visible to this process, else as the driver lists them."""
    for variable in (DECLARED, VISIBLE):
        if variable in os.environ:
            named = (name.strip() for name in os.environ[variable].split(","))
            return tuple(dict.fromkeys(name for name in named if name not in ("", "-1")))
    if not shutil.which("nvidia-smi"):
        return ()
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"nvidia-smi does not answer, so the devices are not known: look at the driver, or name them in {DECLARED}"
        ) from error
    return tuple(listed.stdout.split()) if listed.returncode == 0 else ()


def evaluates_on(experiment: "Experiment") -> Literal["own", "same", "after"]:
    """Where the live series of a training is measured: `auto` takes a device of its own where there is one."""
    live, cpu = experiment.evaluation.series.live, experiment.model.device == "cpu"
    if live is None:
        return "after"
    if live.device != "auto":
        return live.device
    return "own" if cpu or len(devices()) > nodes.share(experiment.training.processes) else "after"


def take_last() -> str:
    """The last of the leased devices, for an evaluator, taken from what this process sees.

    A trainer that sees two devices divides its batches between them.
    """
    *others, last = os.environ[VISIBLE].split(",")
    os.environ[VISIBLE] = ",".join(others)
    return last


def require_evaluators_device(experiment: "Experiment") -> None:
    """Refuse a live series on a device of its own where the machine has none.

    Raises:
        DeviceError: naming what there is, and what to declare.
    """
    live, trained = experiment.evaluation.series.live, nodes.share(experiment.training.processes)
    if live is None or live.device != "own" or experiment.model.device == "cpu" or len(devices()) > trained:
        return
    raise DeviceError(
        f"evaluation.series.live.device is own: beside {trained} for the training it needs a CUDA device more, and this "
        f"machine offers {len(devices())}. Declare auto, same or after, or run it where there is one"
    )


def hide() -> None:
    """Hide all devices from this process and its children, and remember which there are for `lease`."""
    os.environ[DECLARED] = ",".join(devices())
    os.environ[VISIBLE] = ""


@contextmanager
def lease(count: int, log: Callable[[str], None]) -> Iterator[tuple[str, ...]]:
    """Hold `count` devices that nobody else holds; waits for them as long as it takes.

    Inside, CUDA_VISIBLE_DEVICES names them, for this process and for those that it starts. A lease within a lease is the
    same one, which ends with the last of them: a process sees one set of devices from when it loads CUDA on.

    Args:
        count: devices that are needed at once.
        log: called once when all are busy and this one waits.

    Raises:
        DeviceError: the machine has fewer devices than that, or this process holds fewer already.
    """
    if not _mine.users:
        _mine.begin(count, log)
    elif len(_mine.taken) < count:
        raise DeviceError(f"{count} devices are needed, but this process works on {', '.join(_mine.taken)} already")
    _mine.users += 1
    try:
        yield _mine.taken
    finally:
        _mine.users -= 1
        if not _mine.users:
            _mine.end()


class _Lease:
    """The one lease of this process."""

    def __init__(self) -> None:
        self.users = 0
        self.taken: tuple[str, ...] = ()
        self._locks = ExitStack()
        self._seen: str | None = None

    def begin(self, count: int, log: Callable[[str], None]) -> None:
        there = devices()
        if len(there) < count:
            raise DeviceError(
                f"model.device is cuda and {count} device{'s are' if count > 1 else ' is'} needed, but this machine offers "
                f"{len(there)}. Run it where there is a GPU, or declare device: cpu"
                + (f"; {DECLARED} allows {', '.join(there) or 'none'}." if DECLARED in os.environ else ".")
            )
        taken = _take(there, count, self._locks)
        if not taken:
            log(f"all of the CUDA devices {', '.join(there)} are busy; waiting for {count}")
        while not taken:
            time.sleep(POLL)
            taken = _take(there, count, self._locks)
        self.taken, self._seen = tuple(taken), os.environ.get(VISIBLE)
        os.environ[VISIBLE] = ",".join(taken)

    def end(self) -> None:
        self._locks.close()
        if self._seen is None:
            del os.environ[VISIBLE]
        else:
            os.environ[VISIBLE] = self._seen


_mine = _Lease()


def _take(there: tuple[str, ...], count: int, held: ExitStack) -> list[str]:
    """Lock `count` devices, or none: two steps that each held one of two and waited for both would wait for ever."""
    folder = _folder()
    with ExitStack() as tried:
        taken = []
        for name in there:
            file = tried.enter_context(_open(folder / f"{name.replace(os.sep, '_')}.lock"))
            if not try_lock(file):
                continue
            taken.append(name)
            if len(taken) == count:
                held.enter_context(tried.pop_all())
                return taken
    return []


def _folder() -> Path:
    folder = Path(os.environ.get(LEASES) or Path(tempfile.gettempdir()) / "sft_pipeline_devices")
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o1777)  # people who share the machine share its devices
    return folder


def _open(path: Path) -> IO[str]:
    """The lock file, which another user may have made: it is only read, and that is enough for a lock."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        handle = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    return os.fdopen(handle)

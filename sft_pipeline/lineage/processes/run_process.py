"""Whether the process that executes a run is still there, and the end of runs whose process is gone.

Dagster looks for the processes of runs on Kubernetes, and a code server looks for those that it started; a run that was
killed together with its code server, or that was started from a terminal, would stay *Started* and hold a place in the
queue for ever. So the process takes a flock(2) on a file of the run, and keeps it as long as it lives: the kernel gives it
back whatever happens to the process. A number that is used again by another process, a zombie and a clock that jumps
cannot be mistaken for it.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import IO

import dagster as dg

from sft_pipeline.provenance.locks import lock, try_lock

EXECUTING = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
"""Of these runs a process is expected. Runs that do not start are ended by run monitoring, see dagster.yaml."""

_held: list[IO[str]] = []


def hold(instance: dg.DagsterInstance, run: str) -> None:
    """Record that this process executes `run`, until the process ends.

    Not until the run ends: Dagster writes a run's end after the executor has returned, and in between the run would look
    dead. Where nothing can be written the run continues, and is never judged.
    """
    file = _file(instance, run)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        writing = file.with_name(f"{file.name}.{os.getpid()}")
        record = writing.open("w")
        lock(record)
        record.write(f"{os.getpid()} {socket.gethostname()}")
        record.flush()
        writing.replace(file)  # nobody sees it before it is locked
        _held.append(record)


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """End the runs of this machine whose process is gone; returns a line for each.

    A run that somebody had terminated is canceled, any other has failed. A run without a record, as on Kubernetes, or with
    that of another host is left alone.
    """
    ended = []
    for listed in instance.get_runs(dg.RunsFilter(statuses=EXECUTING)):
        record = _left(_file(instance, listed.run_id))
        if record is None:
            continue
        with record:  # nobody else judges it meanwhile
            run = instance.get_run_by_id(listed.run_id)
            if run is None or run.status not in EXECUTING:  # it has ended since it was listed
                continue
            process = record.read().split()[0]
            message = (
                f"process {process} on this machine, which executed the run, is gone: it was killed, memory ran out, or the "
                "machine was restarted. Materialize again; what was done is kept"
            )
            if run.status == dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, message)
            else:
                instance.report_run_failed(run, message)
            ended.append(f"run {run.run_id[:8]}: {message}")
    return ended


def _file(instance: dg.DagsterInstance, run: str) -> Path:
    """Beside the compute logs of the run."""
    return Path(instance.storage_directory()) / run / "process"


def _left(file: Path) -> IO[str] | None:
    """The file of a run, locked, if its process was of this machine and is gone."""
    try:
        record = file.open("r+")  # on NFS a lock needs a file that is open for writing
    except OSError:
        return None
    try:
        if record.read().split()[1:] == [socket.gethostname()]:
            record.seek(0)
            if try_lock(record):
                return record
    except OSError:  # a file system that cannot tell: the run is left alone
        pass
    record.close()
    return None

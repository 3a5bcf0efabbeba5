"""Runs Python that a model wrote, and tests of it, in a process with limits (evaluation/scoring/sandbox_child.py is that process).

It has an empty folder of its own, no environment, no site-packages, no child processes or threads, limits on processor
time, address space, file size and open files, and a wall clock. On Linux the kernel adds, where it permits: no network
(a network namespace), no file outside of the folder and of Python itself, no signal to other processes (Landlock).
`Run.fences` says which of these held, and the first run without one of them warns.

This holds off what goes wrong in generated code and its plain tricks. Code that knows this sandbox can still cheat, for it
shares the interpreter with the tests; against an attacker run the whole evaluation on a machine that you can lose.
"""

import json
import logging
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from sft_pipeline.errors import PipelineError

log = logging.getLogger(__name__)

FENCES = {
    "network": "the network is within its reach",
    "files": "it can read and write what its user can",
    "signals": "it can send signals to other processes of its user",
}
"""What the kernel can keep code from → what it means when it does not."""

_CHILD = Path(__file__).with_name("sandbox_child.py")
_OUTPUT = 10_000  # bytes of what the code prints that are kept
_RESULT = 100_000


@dataclass(frozen=True)
class Run:
    """What came of one program.

    Attributes:
        passed: the tests ran to their end.
        error: name of the exception that ended it, such as `AssertionError`; empty where there was none.
        message: text of that exception.
        phase: `code` or `tests`, whichever was running when the exception came; empty where there was none.
        timed_out: it was ended by the wall clock or the limit of processor time.
        exit_code: of the process; negative for a signal.
        output: the start of what it printed.
        fences: which of FENCES held.
    """

    passed: bool
    error: str
    message: str
    phase: str
    timed_out: bool
    exit_code: int
    output: str
    fences: tuple[str, ...]


def run(code: str, tests: str, seconds: float, memory_mb: int) -> Run:
    """Execute `code`, then `tests` in the same namespace; both see the standard library only.

    The word that means success is random, comes through a pipe, and is read only after the last test: printing, leaving by
    `sys.exit` or `os._exit` and ending the process otherwise are no success.

    Args:
        code: a Python module.
        tests: statements that raise an exception where `code` is wrong.
        seconds: wall clock for both.
        memory_mb: address space in MiB, the interpreter's own 20 to 30 included.

    Raises:
        PipelineError: the process could not be started, which says nothing about the code.
    """
    nonce = secrets.token_hex(16)
    nonce_read, nonce_write = os.pipe()
    result_read, result_write = os.pipe()
    os.write(nonce_write, nonce.encode())
    os.close(nonce_write)
    limits = {"seconds": seconds, "memory": memory_mb << 20}
    with (
        tempfile.TemporaryDirectory(prefix="sft-pipeline-code-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile() as program,
    ):
        program.write(json.dumps({"code": code, "tests": tests, **limits}).encode())
        program.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-u", _CHILD, str(nonce_read), str(result_write)],
            stdin=program,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(nonce_read, result_write),
            cwd=folder,
            env={},
            start_new_session=True,
        )
        os.close(nonce_read)
        os.close(result_write)
        with process, open(result_read, "rb", buffering=0) as results:
            try:
                assert process.stdout is not None
                output, result, late = _read(process.stdout, results, time.monotonic() + seconds)
            finally:
                # It cannot have been reaped, so the group is still its own.
                os.killpg(process.pid, signal.SIGKILL)
    text = output.decode(errors="replace")
    started, *lines = result.decode(errors="replace").split("\n")
    if not started and not late:
        raise PipelineError(f"the sandbox for code could not be started: {text.strip()[-2000:] or 'no message'}")
    fences = tuple(json.loads(started)) if started else ()
    if started:
        _warn(fences)
    passed = not late and bool(lines) and lines[-1] == nonce
    phase, error, message = ("", "", "") if passed else _exception(lines)
    out_of_time = late or process.returncode == -signal.SIGXCPU
    return Run(passed, error, message, phase, out_of_time, process.returncode, text, fences)


def _read(printed: IO[bytes], results: IO[bytes], deadline: float) -> tuple[bytes, bytes, bool]:
    """The start of both streams, read until both are closed, and whether the deadline came first."""
    kept = {printed: bytearray(), results: bytearray()}
    limits = {printed: _OUTPUT, results: _RESULT}
    with selectors.DefaultSelector() as selector:
        for stream in kept:
            selector.register(stream, selectors.EVENT_READ, stream)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fileobj)
                kept[key.data] += chunk[: limits[key.data] - len(kept[key.data])]
        return bytes(kept[printed]), bytes(kept[results]), bool(selector.get_map())


def _exception(lines: list[str]) -> tuple[str, str, str]:
    """Phase, name and message from the last line, which the code may have written itself: it can only fail by that."""
    try:
        parts = json.loads(lines[-1]) if lines else ("", "", "")
        phase, error, message = (str(part).encode(errors="replace").decode() for part in parts)
        return phase, error, message
    except (ValueError, TypeError):
        return "", "", ""


@cache
def _warn(fences: tuple[str, ...]) -> None:
    for fence in sorted(FENCES.keys() - set(fences)):
        log.warning("code under test runs without a fence around %s on this machine: %s", fence, FENCES[fence])

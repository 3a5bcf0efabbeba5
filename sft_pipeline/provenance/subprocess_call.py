"""Calls a function of this package in a process of its own, with a limit on its processor time and memory.

For work whose length depends on what a model wrote or on a pattern from outside: a regular expression that backtracks
for ever, a tower of powers in a formula. Nothing inside of a process can end such a call, for it holds the interpreter;
the kernel can. One process serves all calls; it is started with the first, and restarted after a call that it did not survive.

The limits are for the package's own code. Code that a model wrote needs a sandbox: see evaluation/scoring/sandbox.py.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from functools import lru_cache
from typing import Any

MEMORY = 2 * 2**30
"""Bytes of address space that the process may have."""

_LOCK = threading.Lock()


class Exhausted(Exception):
    """The call reached its limit; the message says which."""


def call(module: str, function: str, *arguments: Any, seconds: float) -> Any:
    """`function(*arguments)` of the module of this package, from any thread.

    Args:
        module: full name of the module; what it imports at its top is not part of the call.
        function: name of the function.
        arguments: values that JSON can carry; so must be the result.
        seconds: processor time that the call may take.

    Raises:
        Exhausted: the call took more than that, or more memory than there is.
        RuntimeError: the function raised an error.
    """
    request = json.dumps([module, function, arguments, seconds]).encode() + b"\n"
    with _LOCK:
        process = _process(os.getpid())
        if process.poll() is not None:  # killed from outside between two calls
            _process.cache_clear()
            process = _process(os.getpid())
        assert process.stdin and process.stdout
        try:
            process.stdin.write(request)
            process.stdin.flush()
            answer = process.stdout.readline()
        except BaseException:
            # Interrupted: its answer would still come, and be taken for that of the next call.
            _process.cache_clear()
            process.kill()
            process.wait()
            raise
        if not answer:
            process.wait()
            _process.cache_clear()
            if process.returncode == -signal.SIGPROF:
                raise Exhausted(f"took more than {seconds:g} s")
            raise Exhausted(f"ended its process ({process.returncode})")
    result, error, limit = json.loads(answer)
    if limit:
        raise Exhausted(limit)
    if error:
        raise RuntimeError(f"{module}.{function}: {error}")
    return result


@lru_cache(maxsize=1)  # by process: a fork must not share its parent's pipes
def _process(pid: int) -> subprocess.Popen:
    # A fixed hash seed, so that the order of sets, on which sympy's work may depend, is the same in every run.
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"},
        start_new_session=True,  # Ctrl-C is for the parent; this process ends with its standard input
    )


def _serve() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    for line in sys.stdin.buffer:
        module, function, arguments, seconds = json.loads(line)
        work = getattr(importlib.import_module(module), function)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = [work(*arguments), "", ""]
        except MemoryError:
            answer = [None, "", "needs too much memory"]
        except Exception as error:
            answer = [None, f"{type(error).__name__}: {error}", ""]
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _serve()

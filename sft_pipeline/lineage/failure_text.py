"""Why a run or a step stopped, in words: the same in the terminal, in the log and in notices."""

import re

import dagster as dg

_PLAIN = {
    "DagsterExecutionInterruptedError": "interrupted (SIGTERM, Ctrl-C or terminated); materialize again, it resumes where "
    "it stopped",
    "ChildProcessCrashException": "its process ended suddenly (killed, memory ran out, or a library crashed); materialize "
    "again, it resumes where it stopped",
}
"""Errors of Dagster's own whose text says nothing, by their class."""

_REMEDIES = (
    (
        r"No space left on device|Disk quota exceeded",
        "Free space there, then materialize again; what was done is kept.",
    ),
    (r"Read-only file system|Permission denied", "Give write permission there, then materialize again."),
    (r"Too many open files", "Raise the limit (ulimit -n), then materialize again."),
    (
        r"MemoryError|Cannot allocate memory|out of memory",
        "Free memory or use a larger machine, then materialize again.",
    ),
    (r"not set in the environment", "Set it where the command, the UI and the daemon are started."),
    (
        r"database disk image is malformed|file is not a database",
        "Dagster's database is damaged: restore a copy of DAGSTER_HOME, or move its storage away and materialize again; "
        "the artifacts are in the store (docs/how-to/operation.md).",
    ),
    (
        r"password authentication failed|could not connect|Connection refused|could not translate host",
        "Check the address, user and password of the database in dagster.yaml's environment, and that it answers.",
    ),
)
"""What to do, by what the error says."""


def why(event: dg.DagsterEvent) -> str:
    """What the project, or else the innermost error, says of a step's failure, and what to do."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    if error is None:
        return event.message or ""
    while error.cause is not None and error.cls_name not in _PLAIN:
        error = error.cause
    if error.cls_name in _PLAIN:
        return _PLAIN[error.cls_name]
    return _explained(error.message.strip(), "".join(error.stack))


def cause(error: BaseException) -> str:
    """What the innermost cause of an exception says, and what to do."""
    while (inner := error.__cause__ or (None if error.__suppress_context__ else error.__context__)) is not None:
        error = inner
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f'File "{trace.tb_frame.f_code.co_filename}", line {trace.tb_lineno}')
        trace = trace.tb_next
    return _explained(f"{type(error).__name__}: {error}".strip(), "\n".join(frames))


def _explained(text: str, stack: str) -> str:
    """The error's text with the place in the project's code and the remedy."""
    if missing := dict.fromkeys(re.findall(r'environment variable "(\w+)" which is not set', text)):
        text, stack = f"not set in the environment: {', '.join(missing)}", ""  # Dagster adds a page of its own
    remedy = next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, text)), "")
    places = re.findall(r'File "[^"]*?(sft_pipeline/[^"]+)", line (\d+)', stack)
    place = f" ({places[-1][0]}, line {places[-1][1]})" if places else ""
    return f"{text}{place}. {remedy or 'This is not expected: please report it with the traceback in the log.'}"

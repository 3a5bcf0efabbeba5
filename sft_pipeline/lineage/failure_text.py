"""Why a step stopped, in words: the same in the terminal and in notices."""

import dagster as dg

_PLAIN = {
    "DagsterExecutionInterruptedError": "was told to end (SIGTERM, Ctrl-C or terminated)",
    "ChildProcessCrashException": "its process ended suddenly (killed, memory ran out, or a library crashed)",
}
"""Errors of Dagster's own whose text says nothing, by their class."""


def why(event: dg.DagsterEvent) -> str:
    """What the project, or else the error, says of a step's failure."""
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    if failure.error is None:
        return event.message or ""
    plain = _PLAIN.get(failure.error.cls_name)
    return f"{plain}; materialize again, it goes on where it stopped" if plain else failure.error.message.strip()

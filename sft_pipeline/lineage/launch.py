"""Runs the lineage of one experiment from the command line, with a line per finished step.

The same run as `dagster asset materialize` or `dg launch` make, with the same executor and the same records in
DAGSTER_HOME; only the terminal shows less.
"""

import argparse
import logging
import re
import shutil
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from sft_pipeline.lineage.failure_text import cause, why
from sft_pipeline.lineage.processes.run_process import end_dead_runs
from sft_pipeline.lineage.tags import PARTITION, RECOMPUTE

LAUNCH = "sft_pipeline/launch"
"""Tag by which the terminal finds the run that it shows."""

POLL = 0.5
"""Seconds between two looks at the event log."""

BAR = 24
"""Length of the progress bar in characters."""


def full_lineage() -> dg.JobDefinition:
    """The job over all assets, in a form that step processes can load again."""
    from sft_pipeline.definitions import defs

    return defs.resolve_job_def("full_lineage")


def launch(experiment: str, select: str, recompute: bool) -> bool:
    """Materialize the selected assets of an experiment; returns whether the run succeeded.

    What keeps a run from starting, such as a selection of no asset or a database that does not answer, is printed; the
    traceback goes to standard error.
    """
    try:
        return _launch(experiment, select, recompute)
    except Exception as error:
        traceback.print_exc()
        refused = isinstance(error, dg.DagsterInvalidSubsetError | dg.DagsterInvalidDefinitionError)
        print(error if refused else cause(error), flush=True)
        return False


def _launch(experiment: str, select: str, recompute: bool) -> bool:
    tag = {LAUNCH: uuid.uuid4().hex}
    tags = tag | {PARTITION: experiment} | ({RECOMPUTE: "true"} if recompute else {})
    keys = None
    if select != "*":
        from sft_pipeline.definitions import defs

        # What one step makes is made together: a split alone would be refused.
        selection = dg.AssetSelection.from_coercible(select.split(",")).required_multi_asset_neighbors()
        keys = sorted(selection.resolve(defs.resolve_asset_graph()))
    with dg.DagsterInstance.get() as instance, _progress(instance, tag):
        for line in end_dead_runs(instance):
            print(line, flush=True)
        result = dg.execute_job(
            dg.reconstructable(full_lineage),
            instance=instance,
            tags=tags,
            asset_selection=keys,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        return result.success


@contextmanager
def _progress(instance: dg.DagsterInstance, tag: dict[str, str]) -> Iterator[None]:
    """Print the events of the run with `tag` while it goes on."""
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(instance, tag, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(instance: dg.DagsterInstance, tag: dict[str, str], done: threading.Event) -> None:
    started, cursor, last_look, bar = time.monotonic(), None, False, False
    while not last_look:
        last_look = done.wait(POLL)
        for run in instance.get_runs(dg.RunsFilter(tags=tag), limit=1):
            new = instance.get_records_for_run(run.run_id, cursor)
            cursor = new.cursor
            for record in new.records:
                if line := _line(record.event_log_entry):
                    text = f"{time.monotonic() - started:7.1f} s  {line}"
                    if sys.stdout.isatty() and (drawn := _bar(text, shutil.get_terminal_size().columns)):
                        print(f"\r{drawn}\x1b[K", end="", flush=True)  # over the last one; the rest of the line goes
                        bar = True
                    else:
                        print(f"\n{text}" if bar else text, flush=True)
                        bar = False
    if bar:
        print(flush=True)


def _bar(text: str, width: int) -> str:
    """A progress bar in place of the step of a training's log row; nothing for any other line."""
    row = re.fullmatch(r"(.*)  training (\d+)/(\d+)  (.*)", text)
    if row is None:
        return ""
    before, step, steps, figures = row.groups()
    done = BAR * int(step) // int(steps)
    return f"{before}  {'█' * done}{'░' * (BAR - done)} {step}/{steps}  {figures}"[: width - 1]


def _line(entry: dg.EventLogEntry) -> str:
    """What the terminal shows of an event; most are not worth a line."""
    event = entry.dagster_event
    if event is None:  # a log message: the project's own, or Dagster's about each step that was skipped
        skipped = entry.level < logging.INFO or entry.user_message.startswith("Dependencies for step ")
        return "" if skipped else f"  {entry.user_message}"
    if event.is_step_materialization:
        made = event.step_materialization_data.materialization
        reused = made.metadata.get("reused")
        return f"{made.asset_key.path[-1]:22}{'unchanged' if reused and reused.value else 'made'}"
    if event.event_type_value == "ASSET_CHECK_EVALUATION":
        check = event.event_specific_data
        mark = "passed" if check.passed else f"FAILED  {check.description or ''}"
        return f"  check {check.check_name:25}{mark}".replace("\n", "\n" + " " * 44)
    if event.is_step_failure:
        error = event.step_failure_data.error
        if error and error.cls_name == "DagsterAssetCheckFailedError":  # the line of the check has said it
            return ""
        return f"{event.step_key:22}STOPPED  {why(event)}"
    return ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Materialize the lineage of an experiment.")
    parser.add_argument("experiment")
    parser.add_argument("select")
    parser.add_argument("--recompute", action="store_true")
    arguments = parser.parse_args()
    raise SystemExit(0 if launch(arguments.experiment, arguments.select, arguments.recompute) else 1)

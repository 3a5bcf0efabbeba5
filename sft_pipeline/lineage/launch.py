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
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from sft_pipeline.lineage.asset_checks import FAILED
from sft_pipeline.lineage.failure_text import cause, why
from sft_pipeline.lineage.processes.run_process import end_dead_runs
from sft_pipeline.lineage.specifications import observe
from sft_pipeline.lineage.tags import PARTITION, RECOMPUTE
from sft_pipeline.specification import load_by_name, project_root

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

POLL = 0.5
"""Seconds between two looks at the event log."""

LENGTH = 24
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
    tags = {PARTITION: experiment} | ({RECOMPUTE: "true"} if recompute else {})
    keys = None
    if select != "*":
        from sft_pipeline.definitions import defs

        # What one step makes is made together: a split alone would be refused.
        selection = dg.AssetSelection.from_coercible(select.split(",")).required_multi_asset_neighbors()
        graph = defs.resolve_asset_graph()
        keys = selection.resolve(graph) & graph.materializable_asset_keys
    with dg.DagsterInstance.get() as instance:
        for line in end_dead_runs(instance):
            print(line, flush=True)
        root = project_root()
        observe(instance, experiment, load_by_name(experiment, root), root)
        return _execute(instance, tags, keys)


def _execute(instance: dg.DagsterInstance, tags: dict[str, str], keys: "AbstractSet[dg.AssetKey] | None") -> bool:
    """Run the job in this process, which the executor enters as one of the UI's code location; returns whether it succeeded."""
    from dagster._core.execution.api import execute_run

    job = dg.reconstructable(full_lineage)
    definition = job.get_definition()
    run = instance.create_run_for_job(
        job_def=definition,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags={**definition.run_tags, **tags},
        asset_selection=frozenset(keys) if keys is not None else None,
        job_code_origin=job.get_python_origin(),
    )
    with _progress(instance, run.run_id):
        return execute_run(job, run, instance, raise_on_error=False).success


@contextmanager
def _progress(instance: dg.DagsterInstance, run: str) -> Iterator[None]:
    """Print the events of the run while it lasts."""
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(instance, run, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(instance: dg.DagsterInstance, run: str, done: threading.Event) -> None:
    started, cursor, last_look, drawn = time.monotonic(), None, False, False
    bar = Bar()
    while not last_look:
        last_look = done.wait(POLL)
        new = instance.get_records_for_run(run, cursor)
        cursor = new.cursor
        for record in new.records:
            if line := _line(record.event_log_entry):
                now = time.monotonic() - started
                text = f"{now:7.1f} s  {line}"
                if sys.stdout.isatty() and (shown := bar.draw(text, now, shutil.get_terminal_size().columns)):
                    print(f"\r{shown}\x1b[K", end="", flush=True)  # over the last one; the rest of the line goes
                    drawn = True
                else:
                    print(f"\n{text}" if drawn else text, flush=True)
                    drawn = False
    if drawn:
        print(flush=True)


class Bar:
    """The progress bar of a training, with the time that is left at the pace since its first log record."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def draw(self, text: str, now: float, width: int) -> str:
        """A bar in place of the step of a training's log record; nothing for any other line.

        Args:
            text: the line.
            now: seconds.
            width: characters of the terminal.
        """
        row = re.fullmatch(r"(.*)  training (\d+)/(\d+)  (.*)", text)
        if row is None:
            return ""
        before, step, steps, figures = row[1], int(row[2]), int(row[3]), row[4]
        if self._first is None or step < self._first[1]:
            self._first = now, step
        took, made = now - self._first[0], step - self._first[1]
        left = f"  {timedelta(seconds=round(took / made * (steps - step)))} left" if made and step < steps else ""
        done = LENGTH * step // steps
        return f"{before}  {'█' * done}{'░' * (LENGTH - done)} {step}/{steps}{left}  {figures}"[: width - 1]


def _line(entry: dg.EventLogEntry) -> str:
    """What the terminal shows of an event; most are not worth a line."""
    event = entry.dagster_event
    if event is None:  # a log message: the project's own, or Dagster's about each step that was skipped
        skipped = int(entry.level) < logging.INFO or entry.user_message.startswith(("Dependencies for step ", FAILED))
        return "" if skipped else f"  {entry.user_message}"
    if event.is_step_materialization:
        made = event.step_materialization_data.materialization
        reused = made.metadata.get("reused")
        return f"{made.asset_key.path[-1]:23}{'unchanged' if reused and reused.value else 'made'}"
    if event.event_type_value == "ASSET_CHECK_EVALUATION":
        check = event.asset_check_evaluation_data
        mark = "passed" if check.passed else f"FAILED  {check.description or ''}"
        return f"  check {check.check_name:25}{mark}".replace("\n", "\n" + " " * 44)
    if event.is_step_failure:
        error = event.step_failure_data.error
        if error and error.cls_name == "DagsterAssetCheckFailedError":  # the line of the check shows it
            return ""
        return f"{event.step_key:23}STOPPED  {why(event)}"
    return ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Materialize the lineage of an experiment.")
    parser.add_argument("experiment")
    parser.add_argument("select")
    parser.add_argument("--recompute", action="store_true")
    arguments = parser.parse_args()
    raise SystemExit(0 if launch(arguments.experiment, arguments.select, arguments.recompute) else 1)

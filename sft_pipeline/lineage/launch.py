"""Runs the lineage of one experiment from the command line, with a line per finished step.

The same run as `dagster asset materialize` or `dg launch` make, with the same executor and the same records in
DAGSTER_HOME; only the terminal shows less.
"""

import argparse
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from sft_pipeline.lineage.asset_checks import FAILED
from sft_pipeline.lineage.failure_text import cause, why
from sft_pipeline.lineage.processes.run_process import end_dead_runs
from sft_pipeline.lineage.specifications import observe
from sft_pipeline.lineage.step import run_tags
from sft_pipeline.lineage.tags import PARTITION, RECOMPUTE, STAGE
from sft_pipeline.specification import load_by_name, project_root

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from rich.progress import TaskID

POLL = 0.5
"""Seconds between two looks at the event log."""

ENDS = (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE)


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
        specification = load_by_name(experiment, root)
        observe(instance, experiment, specification, root)
        # Two steps that begin at once may overwrite each other's tags: they are there from the start.
        return _execute(instance, tags | run_tags(specification), keys)


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
    """Print the events of the run until `done`; on a terminal, bars of the stages under way stand below them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    started, cursor, last_look, console = time.monotonic(), None, False, Console()
    drawing = console.is_terminal and not console.is_dumb_terminal
    columns = TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(
        *columns,
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=not drawing,
    ) as bars:
        tasks: dict[tuple[str | None, str], TaskID] = {}
        while not last_look:
            last_look = done.wait(POLL)
            new = instance.get_records_for_run(run, cursor)
            cursor = new.cursor
            for record in new.records:
                entry = record.event_log_entry
                stage = _stage(entry)
                if stage is not None:
                    name = entry.step_key, stage.name
                    if name not in tasks:
                        tasks[name] = bars.add_task(stage.name, completed=stage.done, total=stage.total, figures="")
                    bars.update(tasks[name], completed=stage.done, total=stage.total, figures=stage.figures)
                elif entry.dagster_event and entry.dagster_event.event_type in ENDS:
                    for name in [name for name in tasks if name[0] == entry.step_key]:
                        bars.remove_task(tasks.pop(name))
                drawn = drawing and stage is not None and stage.done != stage.total
                if (line := _line(entry)) and not drawn:
                    console.out(f"{time.monotonic() - started:7.1f} s  {line}", highlight=False)
            bars.refresh()


class Stage(NamedTuple):
    """What a progress event says (step.py)."""

    name: str
    done: int
    total: int | None
    figures: str


def _stage(entry: dg.EventLogEntry) -> Stage | None:
    event = entry.dagster_event
    if event is None or event.event_type != dg.DagsterEventType.ENGINE_EVENT:
        return None
    values: dict[str, Any] = {name: value.value for name, value in event.engine_event_data.metadata.items()}
    return Stage(values[STAGE], values["done"], values.get("total"), values["figures"]) if STAGE in values else None


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
    if _stage(entry) is not None:
        return f"  {event.message}"
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

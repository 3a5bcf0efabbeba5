"""The whole lineage of an experiment: run it, report it, verify it, list what there is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sft_pipeline.commands.common import VERDICTS, shown, user_errors
from sft_pipeline.commands.dagster_home import dagster_home
from sft_pipeline.errors import CorruptArtifactError, PipelineError, SpecificationError
from sft_pipeline.specification import load_by_name, project_root, specifications

if TYPE_CHECKING:
    from sft_pipeline.provenance.store import Pointer


def run(
    name: Annotated[str, typer.Argument(help="Name of an experiment under specs/.")],
    select: Annotated[str, typer.Option(help="Dagster asset selection, such as sft_generations+.")] = "*",
    recompute: Annotated[bool, typer.Option(help="Do the work again even where nothing has changed.")] = False,
) -> None:
    """Materialize the lineage of an experiment with Dagster and print the verdict.

    The same as `dagster asset materialize --select '*' --partition NAME -m sft_pipeline.definitions`.
    """
    with user_errors():
        if load_by_name(name, project_root()).plan_only:
            raise SpecificationError(f"{name} is for a plan alone (plan_only: true): sft-pipeline plan {name}")
        home = dagster_home()
        log = home / "launch" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        before = _verdict_pointer(name)
        command = [sys.executable, "-m", "sft_pipeline.lineage.launch", name, select]
        with log.open("w") as stream:  # tracebacks and what libraries say; the event log in the UI has the rest
            process = subprocess.Popen(
                [*command, *(["--recompute"] if recompute else [])],
                env=os.environ | {"DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"},
                stderr=stream,
            )
            code = _ended(process)
        after = _verdict_pointer(name)
    verdict = _report(name) if after is not None and after != before else 0
    if code and not verdict:  # a gate that fails stops its run, and its summary says why
        typer.secho(f"the run stopped; see the lines above and {shown(log)}", fg=typer.colors.RED, err=True)
    raise typer.Exit(verdict or (2 if code else 0))


def _verdict_pointer(name: str) -> "Pointer | None":
    """The pointer to the gate report; one that is damaged counts as none: the run that is about to begin replaces it."""
    from sft_pipeline.provenance.store import Store, default_store

    try:
        return Store(default_store()).pointer("gate_report", name)
    except CorruptArtifactError:
        return None


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Exit code of the run's process, waited for also after SIGTERM and Ctrl-C, so that a training can save.

    A pod that is pre-empted tells this process alone, so the run has to hear of it. A second signal gives the waiting
    up, and the run ends by itself.
    """

    def forward(number: int, frame: object) -> None:
        if number in received:
            typer.secho("not waiting any longer; the run still ends in the background", err=True)
            raise typer.Exit(128 + number)
        received.append(number)
        process.send_signal(number)
        name = signal.Signals(number).name
        typer.secho(
            f"\n{name}: the run is ending, a training saves a checkpoint first; the same command resumes there. "
            f"Once more {'Ctrl-C' if number == signal.SIGINT else name} returns at once.",
            fg=typer.colors.YELLOW,
            err=True,
        )

    received: list[int] = []
    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def report(
    name: Annotated[str, typer.Argument(help="Name of an experiment.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="File that ends in .html for the page of the experiment, or an empty folder for it and the pages of its stages.",
        ),
    ] = None,
) -> None:
    """Print the summary of the stored gate report; with --out write the page of the whole experiment first.

    The page shows what is stored, of a refused, failed or unfinished experiment too. It quotes no row and no answer; the
    pages of the stages do.
    """
    from sft_pipeline.provenance import files
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.report.experiment import sheet

    if out:
        with user_errors():
            store = Store(default_store())
            if out.suffix == ".html":
                files.write(out, sheet.page(sheet.read(store, name), {}).encode())
            else:
                with files.new_folder(out) as folder:
                    sheet.folder(store, name, folder)
                out /= "index.html"
        typer.echo(f"page: {shown(out)}")
    raise typer.Exit(_report(name))


def _report(name: str) -> int:
    """Print the summary; returns the verdict's exit code."""
    from sft_pipeline.artifacts import GateReport
    from sft_pipeline.experiment import Release
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.provenance.verification import read_lineage
    from sft_pipeline.report.experiment import cost, expectations
    from sft_pipeline.report.gate.text import summary

    with user_errors():
        store = Store(default_store())
        stored = store.get("gate_report", name, GateReport)
        try:
            experiment = load_by_name(name, project_root())
        except PipelineError:  # the report is about what was stored, whatever became of its specification
            experiment = None
        found = read_lineage(store, name, checked=False)[0]
        spent = cost.cost(found, experiment.release if experiment else Release())
    typer.echo("")
    typer.echo(summary(stored))
    for line in expectations.lines(expectations.compared(experiment, found)):
        typer.echo(line)
    typer.echo(f"\ncost: {'; '.join(cost.lines(spent))}")
    typer.echo(f"report: {shown(stored.path('gate.html'))}")
    typer.echo(f"all of the experiment on one page: sft-pipeline report {name} --out {name}.html")
    return VERDICTS[stored.verdict]


def specs() -> None:
    """List the experiments and validate their specifications."""
    names, problems = specifications(project_root())
    for name in names:
        try:
            found = load_by_name(name, project_root())
            typer.echo(f"{name:28} {'plan only: ' if found.plan_only else ''}{found.description}")
        except PipelineError as error:
            problems.append(str(error))
    for problem in problems:
        typer.secho(problem, fg=typer.colors.RED, err=True)
    raise typer.Exit(2 if problems else 0)


def schema() -> None:
    """Print the JSON Schema of a specification, for editors."""
    from sft_pipeline.experiment import Experiment

    typer.echo(json.dumps(Experiment.model_json_schema(), indent=2))

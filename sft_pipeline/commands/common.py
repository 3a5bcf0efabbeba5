"""What the commands share: arguments, errors as messages, folders, and a bar for long work."""

import logging
import os
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.dataset.progress import Progress
from sft_pipeline.errors import PipelineError
from sft_pipeline.experiment import Evaluation, Experiment
from sft_pipeline.provenance import files
from sft_pipeline.specification import load, load_by_name, load_evaluation, project_root

# bitsandbytes asks for a package that brings its AVX512-bf16 kernel; `loader._keep_backward` forbids that kernel.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

VERDICTS = {"pass": 0, "fail": 1, "refused": 2}
"""Exit codes of the verdicts."""

Spec = Annotated[str, typer.Argument(help="Name of an experiment under specs/, or path of a specification.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; it is made, and must be empty.")]


@contextmanager
def user_errors() -> Iterator[None]:
    """Show the project's own errors, and those of the file system, as a message and leave with exit code 2.

    Any other error is one of the project's code: its traceback is shown, and the exit code is 3, for 1 would say that there
    is a leak, or that a gate failed.
    """
    try:
        yield
    except PipelineError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    except OSError as error:
        closed = "standard output was closed before all was written" if isinstance(error, BrokenPipeError) else ""
        text = ": ".join(str(part) for part in (closed, error.filename, error.strerror or error) if part)
        typer.secho(f"error: {text}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception:
        traceback.print_exc()
        typer.secho(
            "error: this should not have happened; please report the lines above", fg=typer.colors.RED, err=True
        )
        raise typer.Exit(3) from None


def experiment_of(spec: str) -> Experiment:
    """The experiment that a name under specs/ or the path of a specification means."""
    path = Path(spec)
    return load(path) if path.suffix in (".yaml", ".yml") else load_by_name(spec, project_root())


def evaluation_of(spec: str | None) -> tuple[Evaluation, Path]:
    """Scorers and criteria of a specification, and the folder where the relative files that they name start.

    A file may hold the section `evaluation` alone; without a specification there are no scorers, and the default criteria.
    """
    if spec is None:
        return Evaluation(scorers={}), Path.cwd()
    path = Path(spec)
    if path.suffix not in (".yaml", ".yml"):
        return load_by_name(spec, project_root()).evaluation, project_root()
    return load_evaluation(path), project_root() if in_specs(path) else path.resolve().parent


def in_specs(path: Path) -> bool:
    """Whether a specification's file lies in the project's `specs/`."""
    return path.parent.resolve() == (project_root() / "specs").resolve()


def stored_name(spec: str) -> str | None:
    """The experiment under whose name artifacts of a specification are stored; None where its file lies elsewhere.

    A file of the same name in another folder is another experiment, and what is stored was not made from it.
    """
    path = Path(spec)
    if path.suffix not in (".yaml", ".yml"):
        return spec
    return path.stem if path.suffix == ".yaml" and in_specs(path) else None


@contextmanager
def results(out: Path | None) -> Iterator[Path]:
    """The folder to write results in: `out` once the block has ended, a temporary one where none was asked for."""
    if out:
        with files.new_folder(out) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)


def shown(path: Path) -> str:
    """A path relative to where the user stands, if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar per stage on the terminal's error stream; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {}

        def progress(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield progress

"""What a search found, and the specification that it leaves to commit."""

from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.commands.common import Spec, experiment_of, shown, stored_name, user_errors
from sft_pipeline.errors import PreconditionError, SpecificationError


def search(
    spec: Spec,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="New file for the specification with the winner's parameters, where there is a winner."
        ),
    ] = None,
) -> None:
    """Print what the stored search of an experiment found; `sft-pipeline run NAME --select search_report` makes it."""
    from sft_pipeline.artifacts import SearchReport
    from sft_pipeline.provenance import files
    from sft_pipeline.provenance.store import Store, default_store

    with user_errors():
        experiment, name = experiment_of(spec), stored_name(spec)
        if experiment.search is None:
            raise SpecificationError(f"{spec}: it declares no search")
        if name is None:
            raise PreconditionError(f"{spec} does not lie in specs/, so no search is stored for it; move it there")
        report = Store(default_store()).get("search_report", name, SearchReport)
        if report.verdict is None:
            raise PreconditionError(
                f"the stored report of {name} is from before it declared a search: sft-pipeline run {name} --select search_report"
            )
        typer.echo(report.path("search.txt").read_text("utf-8"))
        typer.echo(f"page: {shown(report.path('search.html'))}")
        if out and report.winner is None:
            typer.echo(f"{shown(out)} is not written: nothing is better than the default")
        elif out:
            if out.exists():
                raise PreconditionError(f"{shown(out)} is there already; name a new file")
            files.write(out, report.path(report.SPECIFICATION).read_bytes())
            typer.echo(f"written to {shown(out)}: commit it, and run it as an experiment of its own")
    raise typer.Exit(0 if report.winner is not None else 1)

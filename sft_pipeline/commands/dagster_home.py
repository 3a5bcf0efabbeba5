"""DAGSTER_HOME: the folder of Dagster's own records, checked before a run is started in it."""

import os
import tempfile
from pathlib import Path

import typer

from sft_pipeline.errors import PipelineError
from sft_pipeline.specification import project_root


def dagster_home() -> Path:
    """The folder that DAGSTER_HOME names, or `dagster_home/` in the project's root; it is made if it is missing.

    Raises:
        PipelineError: it is relative, is no folder, or cannot be written.
    """
    named = os.environ.get("DAGSTER_HOME")
    home = Path(named) if named else project_root() / "dagster_home"
    if not home.is_absolute():
        raise PipelineError(
            f"DAGSTER_HOME is {named!r}, a relative path, which means another folder wherever you stand; Dagster refuses "
            f"it. Give the whole path: export DAGSTER_HOME={home.absolute()}"
        )
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise PipelineError(
            f"DAGSTER_HOME {home} cannot be written: {error.strerror}. Dagster keeps its records of runs there: give it "
            "write permission and space, or set DAGSTER_HOME to another folder."
        ) from error
    if not (home / "dagster.yaml").is_file():
        typer.secho(
            f"note: {home} holds no dagster.yaml, so Dagster goes by its own defaults; "
            f"cp {project_root() / 'dagster_home' / 'dagster.yaml'} {home}/",
            err=True,
        )
    return home

"""DAGSTER_HOME: the folder of Dagster's own records, checked before a run is started in it."""

import os
import shlex
import shutil
import tempfile
from pathlib import Path

import typer

from sft_pipeline.errors import PipelineError
from sft_pipeline.specification import project_root

CONFIGURATION = "dagster.yaml"
SHIPPED = Path(__file__).resolve().parents[2] / "dagster_home" / CONFIGURATION
"""What the project sets for Dagster; in the checkout, an installed package comes without."""


def dagster_home() -> Path:
    """The folder that DAGSTER_HOME names, or `dagster_home/` in the project's root.

    One that is missing is made, with the project's own `dagster.yaml`.

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
        if not home.exists():
            home.mkdir(parents=True, exist_ok=True)
            if SHIPPED.is_file():
                shutil.copyfile(SHIPPED, home / CONFIGURATION)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise PipelineError(
            f"DAGSTER_HOME {home} cannot be written: {error.strerror}. Dagster keeps its records of runs there: give it "
            "write permission and space, or set DAGSTER_HOME to another folder."
        ) from error
    if not (home / CONFIGURATION).is_file():
        if SHIPPED.is_file():
            remedy = f"cp {shlex.quote(str(SHIPPED))} {shlex.quote(str(home))}/"
        else:
            remedy = f"copy dagster_home/{CONFIGURATION} of the project's sources there; the installed package has none"
        typer.secho(
            f"note: {home} holds no {CONFIGURATION}, so Dagster goes by its own defaults; {remedy}",
            err=True,
        )
    return home

"""Training on its own: the plan beforehand and the diagnosis afterwards."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.commands.common import Spec, experiment_of, new_folder, shown, stored_name, user_errors
from sft_pipeline.errors import PreconditionError
from sft_pipeline.specification import project_root


def plan(spec: Spec) -> None:
    """Print the training plan.

    A specification that states its data (data.expected) is planned from that and from model.architecture alone, without
    data and model. Any other must lie in specs/ and is planned from what was materialized for it: splits and base model.
    """
    from sft_pipeline.planning.inputs import plan_from_specification
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.report.plan.text import summary

    with user_errors():
        experiment, name = experiment_of(spec), stored_name(spec)
        if name is None and experiment.data.expected is None:
            raise PreconditionError(
                f"{spec} does not lie in {shown(project_root() / 'specs')}, so nothing is stored for it, and a plan needs the "
                "length of the training data: state data.expected in it, or move it there and materialize the splits."
            )
        with tempfile.TemporaryDirectory() as folder:
            made = plan_from_specification(experiment, name or "", Store(default_store()), Path(folder))
            typer.echo(summary(made))
    raise typer.Exit(1 if made.blocking else 0)


def diagnose(
    file: Annotated[Path, typer.Argument(help="trainer_state.json of any Hugging Face run, or the run's folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder for diagnosis.json and the curves.")] = None,
) -> None:
    """Say whether a training was healthy."""
    from sft_pipeline.diagnosis.diagnose import diagnose as examine
    from sft_pipeline.diagnosis.log import log_history, state_file

    with user_errors():
        judged = state_file(file)
        history = log_history(judged)
        with tempfile.TemporaryDirectory() as temporary:
            folder = new_folder(out) if out else Path(temporary)
            made = examine(history, folder)
            typer.echo(f"{(folder / 'diagnosis.txt').read_text()}\njudged: {shown(judged)}")
    raise typer.Exit(0 if made.healthy else 1)

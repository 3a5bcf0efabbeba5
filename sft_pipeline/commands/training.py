"""Plan a training, join one as a further node, and diagnose one from its log."""

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.commands.common import Spec, experiment_of, results, shown, stored_name, user_errors
from sft_pipeline.errors import PreconditionError, SpecificationError
from sft_pipeline.specification import project_root
from sft_pipeline.training import nodes


def plan(spec: Spec) -> None:
    """Print the training plan.

    A specification with data.expected is planned from that and from model.architecture, without data and weights. Any other
    must be in specs/ and is planned from what was materialized for it: splits and base model.
    """
    from sft_pipeline.planning.inputs import plan_from_specification
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.report.experiment import expectations
    from sft_pipeline.report.plan.text import summary

    with user_errors():
        experiment, name = experiment_of(spec), stored_name(spec)
        if name is None and experiment.data.expected is None:
            raise PreconditionError(
                f"{spec} is not in {shown(project_root() / 'specs')}, so no artifacts are stored for it, and a plan needs the "
                "lengths of the training data: set data.expected, or move the file there and materialize the splits."
            )
        with tempfile.TemporaryDirectory() as folder:
            made = plan_from_specification(experiment, name or "", Store(default_store()), Path(folder))
            typer.echo(summary(made))
            for line in expectations.lines(expectations.compared(experiment, {"training_plan": made})):
                typer.echo(line)
    raise typer.Exit(1 if made.blocking else 0)


def train_node(
    spec: Spec,
    wait: Annotated[float, typer.Option(help="Seconds to wait for node 0.", min=1)] = nodes.JOINING,
) -> None:
    """Join the training of an experiment over several nodes: on every node but node 0, where the lineage runs.

    The environment says which node this is: SFT_PIPELINE_NODES with what a Kubernetes indexed job or Slurm sets.
    """
    from sft_pipeline.lineage.processes.devices import lease
    from sft_pipeline.training import distributed

    with user_errors():
        experiment, node = experiment_of(spec), nodes.here()
        if node is None:
            raise SpecificationError(f"{nodes.NODES} does not say that there are several nodes: set it to their number")
        if node.index == 0:
            raise PreconditionError(f"this is node 0 of {node.count}, which runs the lineage: sft-pipeline run {spec}")
        count = node.share(experiment.training.processes)
        with lease(count, typer.echo) if experiment.model.device == "cuda" else nullcontext():
            distributed.join(experiment, node, wait)


def diagnose(
    file: Annotated[
        Path,
        typer.Argument(
            help="Log of a run (trainer_state.json, JSON lines, W&B export, torchtune's text), or its folder."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder for diagnosis.json and the plots.")] = None,
) -> None:
    """Report whether a training was healthy."""
    from sft_pipeline.diagnosis.diagnose import diagnose as examine
    from sft_pipeline.diagnosis.log_files import log_history, state_file

    with user_errors():
        judged = state_file(file)
        history = log_history(judged)
        with results(out) as folder:
            made = examine(history, folder)
            typer.echo(f"{(folder / 'diagnosis.txt').read_text()}\njudged: {shown(judged)}")
    raise typer.Exit(0 if made.healthy else 1)

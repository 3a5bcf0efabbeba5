"""Evaluation on its own: the gate over anybody's outputs."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.commands.common import VERDICTS, in_specs, new_folder, shown, user_errors
from sft_pipeline.experiment import Evaluation
from sft_pipeline.specification import load_by_name, load_evaluation, project_root


def gate(
    base: Annotated[Path, typer.Option(help="JSONL of the base's outputs: id, output, and where known success, type.")],
    sft: Annotated[Path, typer.Option(help="JSONL of the fine-tuned model's outputs, same ids.")],
    items: Annotated[
        Path | None, typer.Option(help="JSONL of the items: id, instruction, response or reference, type, group.")
    ] = None,
    spec: Annotated[
        str | None, typer.Option(help="Specification with scorers and criteria; it may hold `evaluation` alone.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder for the report.")] = None,
) -> None:
    """Decide over outputs from anywhere; exit 0 for pass, 1 for fail, 2 for refused or unusable input."""
    from sft_pipeline.evaluation.judged import decide_outputs
    from sft_pipeline.report.gate_text import summary

    with user_errors(), tempfile.TemporaryDirectory() as temporary:
        evaluation, root = _evaluation(spec)
        folder = new_folder(out) if out else Path(temporary)
        made = decide_outputs(base, sft, items, evaluation, root, folder)
        typer.echo(summary(made))
        if out:
            typer.echo(f"written to {shown(out)}")
    raise typer.Exit(VERDICTS[made.verdict])


def _evaluation(spec: str | None) -> tuple[Evaluation, Path]:
    """Scorers and criteria, and the folder where the relative files that they name start."""
    if spec is None:
        return Evaluation(scorers={}), Path.cwd()
    path = Path(spec)
    if path.suffix not in (".yaml", ".yml"):
        return load_by_name(spec, project_root()).evaluation, project_root()
    return load_evaluation(path), project_root() if in_specs(path) else path.resolve().parent

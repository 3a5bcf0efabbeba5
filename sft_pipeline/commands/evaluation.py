"""Evaluation on its own: the gate over anybody's outputs."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.commands.common import VERDICTS, evaluation_of, new_folder, shown, user_errors


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
        evaluation, root = evaluation_of(spec)
        folder = new_folder(out) if out else Path(temporary)
        made = decide_outputs(base, sft, items, evaluation, root, folder)
        typer.echo(summary(made))
        if out:
            typer.echo(f"written to {shown(out)}")
    raise typer.Exit(VERDICTS[made.verdict])

"""Evaluation on its own: the gate over anybody's outputs."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.commands.common import VERDICTS, experiment_of, new_folder, user_errors


def gate(
    base: Annotated[
        Path, typer.Option(help="JSONL of judged base outputs: id, success, and where known type, output.")
    ],
    sft: Annotated[Path, typer.Option(help="JSONL of judged outputs of the fine-tuned model, same ids.")],
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder for the report.")] = None,
    spec: Annotated[str | None, typer.Option(help="Specification whose gate overrides the defaults.")] = None,
) -> None:
    """Decide over judged outputs from anywhere; exit 0 for pass, 1 for fail, 2 for refused or unusable input."""
    from sft_pipeline.evaluation.judged import decide_judged
    from sft_pipeline.experiment import Gate
    from sft_pipeline.report.gate_text import summary

    with user_errors(), tempfile.TemporaryDirectory() as temporary:
        rules = experiment_of(spec).evaluation.gate if spec else Gate()
        made = decide_judged(base, sft, rules, new_folder(out) if out else Path(temporary))
        typer.echo(summary(made))
    raise typer.Exit(VERDICTS[made.verdict])

"""Evaluation on its own: the gate over anybody's outputs."""

from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.commands.common import VERDICTS, evaluation_of, results, shown, user_errors


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
    verbose: Annotated[bool, typer.Option("--verbose", help="Every reason and the table of types.")] = False,
) -> None:
    """Decide over outputs from anywhere."""
    from sft_pipeline.evaluation.gate.files_gate import decide_outputs
    from sft_pipeline.report.gate.text import summary

    with user_errors():
        evaluation, root = evaluation_of(spec)
        with results(out) as folder:
            made = decide_outputs(base, sft, items, evaluation, root, folder)
        typer.echo(summary(made, verbose))
        if out:
            typer.echo(f"written to {shown(out)}")
    raise typer.Exit(VERDICTS[made.verdict])


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="One per model: JSONL of judged outputs (id, success, type), an experiment whose gate report is stored, or "
            "an items.parquet of one; the fine-tuned model of these, or with :base behind it the base."
        ),
    ],
    baseline: Annotated[
        str | None, typer.Option(help="Model that all others are compared with; default: every pair.")
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(help="Names of the models, with commas between; default: those of files and experiments."),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(help="Specification whose gate gives the test and its level; it may hold `evaluation` alone."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Empty folder for compare.json, compare.txt and compare.html.")
    ] = None,
) -> None:
    """Compare several models on the same judged items."""
    from sft_pipeline.evaluation.compare import compare as compared
    from sft_pipeline.report.compare import html as compare_html
    from sft_pipeline.report.compare import text as compare_text

    with user_errors():
        found = [_judged(model) for model in models]
        called = [name.strip() for name in names.split(",")] if names is not None else [name for name, *_ in found]
        evaluation, _ = evaluation_of(spec)
        base = {name for name, (*_, is_base) in zip(called, found, strict=False) if is_base}
        report = compared([path for _, path, _ in found], called, baseline, evaluation.gate, base)
        text = compare_text.summary(report)
        with results(out) as folder:
            (folder / "compare.json").write_text(report.model_dump_json(indent=2) + "\n", "utf-8")
            (folder / "compare.txt").write_text(text, "utf-8")
            (folder / "compare.html").write_text(compare_html.page(report, compare_html.differences(report)), "utf-8")
        typer.echo(text)
        if out:
            typer.echo(f"written to {shown(out)}")


def _judged(model: str) -> tuple[str, Path, bool]:
    """Name, file of judged answers, and whether the base is meant, of what an argument of `compare` names."""
    from sft_pipeline.artifacts import GateReport
    from sft_pipeline.provenance.store import Store, default_store

    source = model.removesuffix(":base")
    path, is_base = Path(source), source != model
    if path.suffix in (".jsonl", ".json", ".gz", ".parquet") or path.exists() or path.name != source:
        return f"{path.stem}:base" if is_base else path.stem, path, is_base
    return model, Store(default_store()).get("gate_report", source, GateReport).path("items.parquet"), is_base

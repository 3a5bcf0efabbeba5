"""Evaluation on its own: the gate over anybody's outputs."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sft_pipeline.commands.common import VERDICTS, Out, evaluation_of, results, shown, user_errors

if TYPE_CHECKING:
    from pydantic import BaseModel

Format = Annotated[
    str | None,
    typer.Option("--format", help="Format of the files, or one for each with commas between; default: recognised."),
]
Metric = Annotated[
    str | None,
    typer.Option("--metric", help="The score that decides, as the log calls it; default: the first of 0 and 1."),
]
Threshold = Annotated[
    str | None,
    typer.Option("--threshold", help="Which scores are a success, such as 0.5 or '<=0.2', where they are no booleans."),
]


def gate(
    base: Annotated[
        Path,
        typer.Option(
            help="The base's outputs: rows with id, output, success, or the log of a harness (lm-eval, inspect, …)."
        ),
    ],
    sft: Annotated[Path, typer.Option(help="The fine-tuned model's outputs, of the same items.")],
    items: Annotated[
        Path | None, typer.Option(help="Rows of the items: id, instruction, response or reference, type, group.")
    ] = None,
    spec: Annotated[
        str | None, typer.Option(help="Specification with scorers and criteria; it may hold `evaluation` alone.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder for the report.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Every reason and the table of types.")] = False,
    format: Format = None,
    metric: Metric = None,
    threshold: Threshold = None,
    models: Annotated[
        str | None,
        typer.Option(help="Base and fine-tuned model by name, with a comma between, where a file holds several."),
    ] = None,
    comparator: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE: outputs of the base with another prompt, or of another model; as often as needed."
        ),
    ] = None,
) -> None:
    """Decide over outputs from anywhere."""
    from sft_pipeline.evaluation.gate.comparator_files import named
    from sft_pipeline.evaluation.gate.files_gate import decide_outputs
    from sft_pipeline.evaluation.inputs.reading import Reading
    from sft_pipeline.report.gate.text import summary

    with user_errors():
        evaluation, root = evaluation_of(spec)
        with results(out) as folder:
            reading = Reading(_listed(format), metric, threshold, _listed(models))
            made = decide_outputs(base, sft, items, evaluation, root, folder, reading, named(comparator or []))
        typer.echo(summary(made, verbose))
        if out:
            typer.echo(f"written to {shown(out)}")
    raise typer.Exit(VERDICTS[made.verdict])


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="One per model: judged outputs (rows with id, success, type, or the log of a harness), an experiment whose gate "
            "report is stored, or an items.parquet of one; the fine-tuned model of these, or with :base behind it the base, or with "
            ":NAME a comparator."
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
    format: Format = None,
    metric: Metric = None,
    threshold: Threshold = None,
    within: Annotated[
        str | None,
        typer.Option(
            "--models",
            help="The model meant in each file, with commas between, where a file holds the answers of several.",
        ),
    ] = None,
) -> None:
    """Compare several models on the same judged items."""
    from sft_pipeline.artifacts import ScoreReport
    from sft_pipeline.evaluation.compare import compare as compared
    from sft_pipeline.evaluation.inputs.reading import Reading
    from sft_pipeline.report.compare import html as compare_html
    from sft_pipeline.report.compare import text as compare_text

    with user_errors():
        found = [_judged(model) for model in models]
        called = _listed(names) if names is not None else [name for name, *_ in found]
        evaluation, _ = evaluation_of(spec)
        meant: list[str | None] = [*_listed(within)] or [model for *_, model in found]
        reading = Reading(_listed(format), metric, threshold, meant)
        report = compared([path for _, path, _ in found], called, baseline, evaluation.gate, reading)
        if isinstance(report, ScoreReport):
            text, page = compare_text.scores_summary(report), compare_html.scores_page(report)
        else:
            text, page = compare_text.summary(report), compare_html.page(report, compare_html.differences(report))
        with results(out) as folder:
            _write(folder, "compare", report, text, page)
        typer.echo(text)
        if out:
            typer.echo(f"written to {shown(out)}")


def compare_experiments(
    names: Annotated[list[str], typer.Argument(help="Experiments of which something is stored; two or more.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Empty folder for compare-experiments.json, .txt and .html, and the page of each experiment beside it.",
        ),
    ] = None,
) -> None:
    """Show experiments side by side: what differs in their specifications, trainings, gates, and their answers in pairs."""
    from sft_pipeline.evaluation.compare_experiments import compare as compared
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.report.compare import experiments
    from sft_pipeline.report.experiment import sheet

    with user_errors():
        store = Store(default_store())
        report = compared(store, names)
        text = experiments.summary(report)
        typer.echo(text)
        if out:
            with results(out) as folder:
                pages = {name: f"{name}.html" for name in names}
                for name, file in pages.items():
                    (folder / file).write_text(sheet.page(sheet.read(store, name), {}), "utf-8")
                _write(folder, "compare-experiments", report, text, experiments.page(report, pages))
            typer.echo(f"page: {shown(out / 'compare-experiments.html')}")


def export_log(
    name: Annotated[str, typer.Argument(help="Name of an experiment whose generations are stored.")],
    out: Out,
    format: Annotated[str, typer.Option("--format", help="Format of the logs: inspect or lm-eval.")] = "inspect",
) -> None:
    """Write base and fine-tuned model's answers with their judgements as logs of inspect or lm-eval."""
    from datetime import UTC, datetime
    from typing import cast

    from sft_pipeline.artifacts import GateReport, Generations, InstructionDataset
    from sft_pipeline.evaluation.export_logs import LogFormat, run_of, write_logs
    from sft_pipeline.provenance.store import Store, default_store

    with user_errors():
        store = Store(default_store())
        items = store.get("test_split", name, InstructionDataset)
        judged = store.get("gate_report", name, GateReport) if store.pointer("gate_report", name) else None
        runs = {}
        for model, asset in (("base", "base_generations"), ("sft", "sft_generations")):
            answers = store.get(asset, name, Generations)
            runs[model] = run_of(name, f"{name}/{model}", answers, items, judged)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        with results(out) as folder:
            written = [path.relative_to(folder) for path in write_logs(runs, cast(LogFormat, format), when, folder)]
        if judged is None:
            typer.echo("no gate report is stored: the logs have no scores", err=True)
        for path in written:
            typer.echo(shown(out / path))


def _write(folder: Path, name: str, report: "BaseModel", text: str, page: str) -> None:
    """A comparison as JSON, text and page."""
    for suffix, content in {"json": report.model_dump_json(indent=2) + "\n", "txt": text, "html": page}.items():
        (folder / f"{name}.{suffix}").write_text(content, "utf-8")


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in names.split(",")] if names is not None else []


def _judged(model: str) -> tuple[str, Path, str | None]:
    """Name, file of judged answers, and the model meant in it, of what an argument of `compare` names."""
    from sft_pipeline.artifacts import GateReport
    from sft_pipeline.dataset.source.formats import SUFFIXES, suffix_of
    from sft_pipeline.provenance.store import Store, default_store

    source, colon, meant = model.rpartition(":")
    if not colon or not re.fullmatch("[a-z][a-z0-9_]*", meant) or Path(model).exists():
        source, meant = model, ""
    path = Path(source)
    named_as_file = suffix_of(source) in (*SUFFIXES, ".eval")  # also where there is none, so that a message says so
    if named_as_file or path.exists() or path.name != source:
        known = meant or ("sft" if path.name == "items.parquet" else None)
        return f"{path.stem}:{meant}" if meant else path.stem, path, known
    stored = Store(default_store()).get("gate_report", source, GateReport)
    return model, stored.path("items.parquet"), meant or "sft"

"""The `sft-pipeline` command: the lineage and its parts without the Dagster UI.

Exit codes: 0 when the answer is positive, 1 when it is negative (a gate that fails, a plan that is refused, a sick
training, a leak), 2 when the question could not be answered (unusable input).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.errors import DataError, PipelineError
from sft_pipeline.specification import experiment_names, load, load_by_name, project_root

app = typer.Typer(
    name="sft-pipeline",
    help="Supervised fine-tuning from a base model as a lineage that ends in an honest verdict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

VERDICTS = {"pass": 0, "fail": 1, "refused": 2}
"""Exit codes of the verdicts."""

Spec = Annotated[str, typer.Argument(help="Name of an experiment under specs/, or path of a specification.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results; it is made, and must be empty.")]


@contextmanager
def _user_errors() -> Iterator[None]:
    """Show the project's own errors as a message and leave with exit code 2."""
    try:
        yield
    except PipelineError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None


def _experiment(spec: str):
    path = Path(spec)
    return load(path) if path.suffix in (".yaml", ".yml") else load_by_name(spec, project_root())


def _new_folder(folder: Path) -> Path:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there already and is not an empty folder; name another one.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of an experiment under specs/.")],
    select: Annotated[str, typer.Option(help="Dagster asset selection, such as sft_generations+.")] = "*",
    recompute: Annotated[bool, typer.Option(help="Do the work again even where nothing has changed.")] = False,
) -> None:
    """Materialize the lineage of an experiment with Dagster and print the verdict.

    The same as `dagster asset materialize --select '*' --partition NAME -m sft_pipeline.definitions`.
    """
    from sft_pipeline.provenance.store import Store, default_store

    with _user_errors():
        load_by_name(name, project_root())
        home = Path(os.environ.get("DAGSTER_HOME") or project_root() / "dagster_home").absolute()
        log = home / "launch" / f"{name}.log"
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PipelineError(f"DAGSTER_HOME {home} cannot be written: {error.strerror}") from error
        before = Store(default_store()).pointer("gate_report", name)
        command = [sys.executable, "-m", "sft_pipeline.lineage.launch", name, select]
        with log.open("w") as stream:  # tracebacks and what libraries say; the event log in the UI has the rest
            code = subprocess.call(
                [*command, *(["--recompute"] if recompute else [])],
                env=os.environ | {"DAGSTER_HOME": str(home)},
                stderr=stream,
            )
        after = Store(default_store()).pointer("gate_report", name)
    if after is not None and after != before:
        report(name)  # leaves with the verdict's exit code
    if code:
        typer.secho(f"the run stopped; see the lines above and {_shown(log)}", fg=typer.colors.RED, err=True)
    raise typer.Exit(2 if code else 0)


@app.command()
def report(name: Annotated[str, typer.Argument(help="Name of an experiment.")]) -> None:
    """Print the summary of the stored gate report; exit 0 for pass, 1 for fail, 2 for refused."""
    from sft_pipeline.artifacts import GateReport
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.report.gate_text import summary

    with _user_errors():
        stored = Store(default_store()).get("gate_report", name, GateReport)
    typer.echo("")
    typer.echo(summary(stored))
    typer.echo(f"\nreport: {_shown(stored.path('gate.html'))}")
    raise typer.Exit(VERDICTS[stored.verdict])


def _shown(path: Path) -> str:
    """A path relative to where the user stands, if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


@app.command()
def plan(spec: Spec) -> None:
    """Print the training plan; exit 1 when it is refused.

    Works without the data and without the model where the specification states them (data.expected,
    model.architecture); what was materialized for the experiment is used where it is there.
    """
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.report.plan_text import summary
    from sft_pipeline.training.plan_inputs import plan_from_specification

    with _user_errors():
        experiment = _experiment(spec)
        with tempfile.TemporaryDirectory() as folder:
            made = plan_from_specification(experiment, Path(spec).stem, Store(default_store()), Path(folder))
            typer.echo(summary(made))
    raise typer.Exit(1 if made.blocking else 0)


@app.command()
def specs() -> None:
    """List the experiments and validate their specifications; exit 2 when one does not hold."""
    bad = False
    with _user_errors():
        for name in experiment_names(project_root()):
            try:
                typer.echo(f"{name:28} {load_by_name(name, project_root()).description}")
            except PipelineError as error:
                bad = True
                typer.secho(str(error), fg=typer.colors.RED, err=True)
    raise typer.Exit(2 if bad else 0)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a specification, for editors."""
    from sft_pipeline.experiment import Experiment

    typer.echo(json.dumps(Experiment.model_json_schema(), indent=2))


@app.command()
def clean(
    file: Annotated[Path, typer.Argument(help="JSONL, JSON array or Parquet file of instruction rows.")],
    out: Out,
    spec: Annotated[str | None, typer.Option(help="Specification whose data section overrides the defaults.")] = None,
) -> None:
    """Read a file, filter it, remove duplicates; exit 1 when a quality threshold does not hold."""
    from sft_pipeline.dataset import cleaning, source

    with _user_errors():
        data = _data(file, spec)
        folder = _new_folder(out)
        with tempfile.TemporaryDirectory() as temporary:
            raw = source.read(data.source, Path.cwd(), Path(temporary))
            made = cleaning.clean(raw, data, folder, None)
    typer.echo(f"{raw.rows} rows read, {made.rows} kept → {_shown(made.path(made.ROWS))}")
    for reason, count in sorted((raw.rejected | made.rejected).items()):
        typer.echo(f"  {count:7} {reason}")
    failed = [t for t in (*raw.thresholds, *made.thresholds) if not t.passed]
    for t in failed:
        typer.secho(f"threshold: {t.name} is {t.value:.4g}, must be {t.direction} {t.limit:g}", fg=typer.colors.RED)
    raise typer.Exit(1 if failed else 0)


@app.command()
def split(
    file: Annotated[Path, typer.Argument(help="JSONL, JSON array or Parquet file of clean instruction rows.")],
    out: Out,
    spec: Annotated[str | None, typer.Option(help="Specification whose data section overrides the defaults.")] = None,
) -> None:
    """Divide rows into train, dev and test so that nothing leaks; writes the proof beside them."""
    from sft_pipeline.dataset import source
    from sft_pipeline.dataset.split import split as divide

    with _user_errors():
        data = _data(file, spec)
        folder = _new_folder(out)
        outs = {name: folder / name for name in ("train", "dev", "test")}
        for path in outs.values():
            path.mkdir()
        with tempfile.TemporaryDirectory() as temporary:
            made = divide(source.read(data.source, Path.cwd(), Path(temporary)), data, outs)
    for name, part in made.items():
        typer.echo(f"{name:6} {part.rows:7} rows → {_shown(part.path(part.ROWS))}")
    raise typer.Exit(0 if made["test"].proof.clean and made["dev"].proof.clean else 1)


@app.command()
def leakage(
    train: Annotated[Path, typer.Argument(help="File of training rows.")],
    test: Annotated[Path, typer.Argument(help="File of test rows.")],
    out: Annotated[Path | None, typer.Option("--out", help="File for the proof, as JSON.")] = None,
    spec: Annotated[str | None, typer.Option(help="Specification whose data section overrides the defaults.")] = None,
) -> None:
    """Prove that no test instruction occurs in the training file; exit 1 when one does."""
    from sft_pipeline.dataset import source
    from sft_pipeline.dataset.leakage import prove
    from sft_pipeline.dataset.table import read_table

    with _user_errors():
        rows = []
        for file in (train, test):
            data = _data(file, spec)
            with tempfile.TemporaryDirectory() as temporary:
                raw = source.read(data.source, Path.cwd(), Path(temporary))
                rows.append(read_table(raw.path(raw.ROWS)))
        proof = prove(rows[0], rows[1], data.duplicates, data.split, f"{train.name} → {test.name}")
    if out:
        out.write_text(proof.model_dump_json(indent=2) + "\n")
    typer.echo(
        f"{proof.exact} exact, {proof.near} near-duplicate, {proof.groups} shared groups; {proof.contained} test "
        f"instructions share a word {proof.containment_ngram}-gram with training"
    )
    for pair in proof.nearest:
        typer.echo(f"  {pair.similarity:.3f}  test:  {pair.test_text!r}\n         train: {pair.train_text!r}")
    raise typer.Exit(0 if proof.clean else 1)


def _data(file: Path, spec: str | None):
    """The data section of `spec`, or the defaults, with `file` as its source."""
    from sft_pipeline.experiment import Data, FileData

    source = FileData(kind="file", path=str(file.absolute()).replace("$", "$$"))
    if spec is None:
        return Data(source=source)
    data = _experiment(spec).data
    if isinstance(data.source, FileData):
        source = data.source.model_copy(update={"path": source.path})
    return data.model_copy(update={"source": source})


@app.command()
def diagnose(
    file: Annotated[
        Path, typer.Argument(help="trainer_state.json of any Hugging Face run, or the folder of the run.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Empty folder for diagnosis.json and the curves.")] = None,
) -> None:
    """Say whether a training was healthy; exit 1 when it was not."""
    from sft_pipeline.training.curves import log_history
    from sft_pipeline.training.diagnosis import diagnose as examine

    with _user_errors():
        history = log_history(file)
        with tempfile.TemporaryDirectory() as temporary:
            folder = _new_folder(out) if out else Path(temporary)
            made = examine(history, folder)
            typer.echo((folder / "diagnosis.txt").read_text())
    raise typer.Exit(0 if made.healthy else 1)


@app.command()
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

    with _user_errors(), tempfile.TemporaryDirectory() as temporary:
        rules = _experiment(spec).evaluation.gate if spec else Gate()
        made = decide_judged(base, sft, rules, _new_folder(out) if out else Path(temporary))
        typer.echo(summary(made))
    raise typer.Exit(VERDICTS[made.verdict])


@app.command()
def verify(name: Annotated[str, typer.Argument(help="Name of an experiment.")]) -> None:
    """Check every file of the experiment's lineage against its hash, and every artifact against its inputs.

    Exit 1 when something was changed by hand or rests on something else than what is stored now.
    """
    from sft_pipeline.provenance.store import Store, default_store
    from sft_pipeline.provenance.verification import verify_lineage

    with _user_errors():
        problems, checked = verify_lineage(Store(default_store()), name)
    for asset, files in checked.items():
        typer.echo(f"{asset:20} {files} files")
    for problem in problems:
        typer.secho(problem, fg=typer.colors.RED, err=True)
    if not checked and not problems:
        typer.secho(f"error: nothing was materialized for {name}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2)
    raise typer.Exit(1 if problems else 0)


if __name__ == "__main__":
    app()

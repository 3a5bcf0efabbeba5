"""Human review: pages for raters, a server for them, and what they say."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sft_pipeline.artifacts import GateReport, ReviewRequest
from sft_pipeline.commands.common import Out, evaluation_of, results, shown, user_errors
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Evaluation, Review
from sft_pipeline.provenance import files
from sft_pipeline.specification import load_by_name, project_root

Folder = Annotated[Path, typer.Argument(help="Folder that `review make` wrote.")]


def make(
    out: Out,
    experiment: Annotated[
        str | None, typer.Argument(help="Experiment whose answers are stored; or give --base and --sft.")
    ] = None,
    base: Annotated[Path | None, typer.Option(help="JSONL of the base's outputs: id, output, perhaps success.")] = None,
    sft: Annotated[Path | None, typer.Option(help="JSONL of the fine-tuned model's outputs, same ids.")] = None,
    items: Annotated[Path | None, typer.Option(help="JSONL of the items: id, instruction, type.")] = None,
    spec: Annotated[
        str | None,
        typer.Option(help="Specification with the guide (evaluation.review) and scorers, for --base and --sft."),
    ] = None,
    raters: Annotated[int | None, typer.Option(min=1, help="People who judge; default: 2.")] = None,
    items_per_rater: Annotated[int | None, typer.Option(min=4, help="Pairs on a page; default: 100.")] = None,
) -> None:
    """Write a page per rater, and the key that says which answer is whose.

    Send `pages/`, and nothing else, to the raters; put what they return into `returned/`. An experiment that declares
    a review has its request in the lineage: that one is written.
    """
    from sft_pipeline.dataset.table import read_table
    from sft_pipeline.review.make import PAGES, RETURNED, rows_of_files
    from sft_pipeline.review.make import make as write

    asked = {"raters": raters, "items_per_rater": items_per_rater}
    changed = {name: value for name, value in asked.items() if value is not None}
    with user_errors():
        if (experiment is None) == (base is None or sft is None) or (experiment and (base or sft or items or spec)):
            raise DataError(
                "name an experiment, or give --base and --sft (with --items and --spec where there are some)"
            )
        with files.new_folder(out) as folder:
            (folder / RETURNED).mkdir()
            stored = _stored(experiment, changed) if experiment else None
            if isinstance(stored, ReviewRequest):
                for name in stored.files:
                    target = folder / name
                    target.parent.mkdir(exist_ok=True)
                    shutil.copyfile(stored.path(name), target)
                request, tasks = stored.request, stored.tasks
            else:
                review = Review(returned=RETURNED)
                if stored:
                    rows = read_table(stored.path("items.parquet"))
                else:
                    assert base and sft  # checked above
                    evaluation, root = evaluation_of(spec) if spec else (Evaluation(scorers={}), Path.cwd())
                    rows = rows_of_files(base, sft, items, evaluation, root)
                    review = evaluation.review or review
                key = write(rows, review.model_copy(update=changed), experiment or f"{base} and {sft}", folder)
                request, tasks = key.request, {rater: len(page) for rater, page in key.tasks.items()}
    for rater, count in tasks.items():
        typer.echo(f"{rater}: {count} pairs → {shown(out / PAGES / f'{rater}.html')}")
    typer.echo(f"review {request}; the key stays here: {shown(out / 'key.json')}")


def _stored(experiment: str, changed: dict[str, int]) -> ReviewRequest | GateReport:
    """The request of an experiment that declares a review, or the gate report with the answers of one that does not."""
    from sft_pipeline.provenance.store import Store, default_store

    store = Store(default_store())
    if load_by_name(experiment, project_root()).evaluation.review is None:
        return store.get("gate_report", experiment, GateReport)
    if changed:
        raise DataError(
            f"{', '.join(changed)}: {experiment} declares its review; change evaluation.review of its specification"
        )
    return store.get("review_request", experiment, ReviewRequest)


def serve(
    folder: Folder,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3002,
) -> None:
    """Serve the pages to browsers on this machine, one link per rater, until Ctrl-C.

    Answers are stored as they come, in returned/answers.sqlite; the links stay the same.
    """
    from sft_pipeline.review.make import RETURNED
    from sft_pipeline.review.returned import read_key
    from sft_pipeline.review.serve import links, server

    with user_errors():
        key = read_key(folder / "key.json")
        pages = server(key, folder / RETURNED, port)
        for rater, token in links(key, folder / RETURNED).items():
            typer.echo(f"{rater}: http://127.0.0.1:{pages.server_address[1]}/{token}")
    try:
        pages.serve_forever()
    except KeyboardInterrupt:
        pages.server_close()


def read(
    folder: Folder,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Empty folder for labels.jsonl, review.json, review.txt and disagreements.jsonl."),
    ] = None,
    without: Annotated[list[str] | None, typer.Option(help="Rater to leave out (repeatable).")] = None,
) -> None:
    """Check and join what raters returned: preference, agreement, raters, labels.

    To settle disagreements, fill in `success` in disagreements.jsonl and save it as returned/settled.jsonl.
    """
    from sft_pipeline.report.review.text import summary
    from sft_pipeline.review.make import RETURNED
    from sft_pipeline.review.results import LEFT_OUT
    from sft_pipeline.review.results import read as joined
    from sft_pipeline.review.returned import read_key

    with user_errors():
        key = read_key(folder / "key.json")
        if unknown := sorted(set(without or ()) - key.tasks.keys()):
            raise DataError(f"--without {unknown[0]}: raters are {', '.join(key.tasks)}")
        with results(out) as written:
            review = joined(key, folder / RETURNED, written, without=without or ())
        typer.echo(summary(review).rstrip())
        if out:
            typer.echo(f"written to {shown(out)}")
    raise typer.Exit(1 if set(review.rejected.values()) - {LEFT_OUT} else 0)

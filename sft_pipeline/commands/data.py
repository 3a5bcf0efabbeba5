"""The data stage on its own: clean, split, and the leakage proof for any two files.

Each command does what the asset of the same name does, by the same functions, and writes the same bytes.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sft_pipeline.artifacts import InstructionDataset, LeakageProof, ModelSnapshot, QualityManifest
from sft_pipeline.commands.common import Out, progress_bar, shown, stored_name, user_errors
from sft_pipeline.dataset import parallel
from sft_pipeline.dataset.progress import Progress
from sft_pipeline.errors import DataError, PreconditionError, SpecificationError
from sft_pipeline.experiment import Columns, Data, Experiment, FileData, FolderBase, HubData, Semantic
from sft_pipeline.provenance import files
from sft_pipeline.specification import expand_path, load_by_name, load_data, project_root

if TYPE_CHECKING:
    from sft_pipeline.dataset.cleaning.judging import CountTokens, Criticise, Unwritable

DataSpec = Annotated[
    str | None,
    typer.Option("--spec", help="Specification whose data section, which may stand alone, overrides the defaults."),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        help="Which column holds what: instruction=Q,response=A; further input, system, type, group, reference, messages, tools, "
        "and ignore=C for one that is left out (repeatable).",
    ),
]
Encoding = Annotated[
    str | None, typer.Option(help="Encoding of text files, such as cp1252; detected where it is left out.")
]

Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        envvar=parallel.VARIABLE,
        help="How many processes work on the rows; default: all cores, fewer for few rows. The result is the same.",
    ),
]


def clean(
    source: Annotated[
        Path, typer.Argument(help="File or folder of rows (JSONL, JSON, CSV, Parquet, Arrow, Excel), or - for a pipe.")
    ],
    out: Out,
    spec: DataSpec = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Folder of the base model; default: that of the specification.")
    ] = None,
    columns: ColumnsOption = None,
    encoding: Encoding = None,
    processes: Processes = None,
) -> None:
    """Read rows, filter them, remove duplicates, and judge the quality thresholds.

    Rows that could not be read stand in unreadable.parquet, others that were rejected in rejected.parquet, each with its
    reason.
    """
    from sft_pipeline.dataset import cleaning
    from sft_pipeline.dataset import source as sources

    with user_errors():
        data, experiment = _data(source, spec, columns, encoding)
        if data.quality.critic and experiment is None:
            raise SpecificationError(f"{spec}: data.quality.critic asks the base model: give a whole specification")
        count_tokens, criticise, unwritable = _models(spec, experiment, tokenizer)
        _require_complete(source)
        with _reading(out) as (folder, work), progress_bar() as progress:
            raw = sources.read(
                data.source,
                project_root(),
                work,
                max_unreadable_share=data.quality.max_unreadable_share,
                progress=progress,
                processes=processes,
            )
            sources.require_readable(raw)
            made = cleaning.clean(
                raw,
                data,
                folder,
                root=project_root(),
                count_tokens=count_tokens,
                criticise=criticise,
                unwritable=unwritable,
                progress=progress,
                processes=processes,
            )
    read = raw.rows + sum(raw.rejected.values())
    typer.echo(f"{read} rows read, {made.rows} kept → {shown(out / made.ROWS)}")
    for reason, count in sorted((raw.rejected | made.rejected).items()):
        typer.echo(f"  {count:7} {reason}")
    for note in made.notes:
        typer.echo(f"note: {note}")
    failed = [t for t in made.thresholds if not t.passed]
    for t in failed:
        typer.secho(f"threshold: {t.name} is {t.value:.4g}, must be {t.direction} {t.limit:g}", fg=typer.colors.RED)
    typer.echo(f"report: {shown(out / made.REPORT)}")
    raise typer.Exit(1 if failed else 0)


def split(
    source: Annotated[Path, typer.Argument(help="Folder that `clean` wrote, or a file or folder of clean rows.")],
    out: Out,
    spec: DataSpec = None,
    columns: ColumnsOption = None,
    encoding: Encoding = None,
    processes: Processes = None,
) -> None:
    """Divide rows into train, dev and test so that nothing leaks; writes the proof with them.

    Of rows that `clean` did not write every one must be readable, or the share that a specification accepts; the others
    stand in unreadable.parquet.
    """
    from sft_pipeline.dataset import croissant
    from sft_pipeline.dataset.split import split as divide

    with user_errors():
        data, experiment = _data(source, spec, columns, encoding)
        unreadable = data.quality.max_unreadable_share if spec else 0
        _require_complete(source)
        with _reading(out) as (folder, work), progress_bar() as progress:
            rows, test, benchmarks = _rows_to_split(source, data, experiment, unreadable, work, progress, processes)
            outs = {name: folder / name for name in ("train", "dev", "test")}
            for path in outs.values():
                path.mkdir()
            made = divide(
                rows,
                data,
                outs,
                root=project_root(),
                test=test,
                benchmarks=benchmarks,
                progress=progress,
                processes=processes,
            )
            croissant.write(
                folder,
                source.stem,
                {name: part.path(part.ROWS) for name, part in made.items()},
                description=f"Train, dev and test rows, split by near-duplicate component. Source: {rows.source}",
            )
    for t in rows.thresholds:
        if not t.passed:
            typer.secho(
                f"the rows did not hold a threshold: {t.name} is {t.value:.4g}", fg=typer.colors.YELLOW, err=True
            )
    for name, part in made.items():
        typer.echo(f"{name:6} {part.rows:7} rows → {shown(out / name / part.ROWS)}")
        for reason, count in part.rejected.items():
            typer.echo(f"       {count:7} rejected: {reason}")
        for note in part.notes:
            typer.echo(f"       {note}")
    leaks = [part.proof for part in made.values() if part.proof and not part.proof.clean]
    for proof in leaks:
        _show(proof)
    raise typer.Exit(1 if leaks else 0)


def leakage(
    train: Annotated[Path, typer.Argument(help="File or folder of training rows.")],
    test: Annotated[Path, typer.Argument(help="File or folder of test items; they need no response.")],
    out: Annotated[Path | None, typer.Option("--out", help="File for the proof, as JSON.")] = None,
    spec: DataSpec = None,
    columns: ColumnsOption = None,
    test_columns: Annotated[str | None, typer.Option(help="The same of the test items.")] = None,
    semantic: Annotated[
        bool,
        typer.Option(
            "--semantic",
            help="Compare meanings too, by data.leakage.semantic of the specification or its defaults: finds rephrased "
            "items; needs the extra `semantic`.",
        ),
    ] = False,
) -> None:
    """Prove that no test instruction occurs in the training file, or show the text of those that do.

    A specification's mapping of columns is that of the training rows; test items are read by that of data.test, if it
    is declared. Every row of both is compared, whatever limit is declared.
    """
    from sft_pipeline.dataset import leakage as proofs
    from sft_pipeline.dataset import source as sources
    from sft_pipeline.dataset import table
    from sft_pipeline.dataset.duplicates.shared_text import SharedText
    from sft_pipeline.dataset.leakage.semantic import load

    with user_errors(), tempfile.TemporaryDirectory() as temporary, progress_bar() as progress:
        for folder in (train, test):
            _require_complete(folder)
        data, _ = _data(train, spec, columns)
        if semantic and data.leakage.semantic is None:
            limits = data.leakage.model_copy(update={"semantic": Semantic(decides=True)})
            data = data.model_copy(update={"leakage": limits})
        embed = load(data.leakage.semantic.model, project_root()) if data.leakage.semantic else None
        external = data.test or FileData(kind="file", path=_literal(test))
        mapped = _columns(external.columns, test_columns)
        external = external.model_copy(update={"path": _literal(test), "columns": mapped})
        work, root = Path(temporary), project_root()
        learned, items = work / "train.parquet", work / "test.parquet"
        assert isinstance(data.source, FileData)  # `_data` makes it one
        read, unread = sources.read_items(data.source, root, learned, learned=True, progress=progress)
        notes = [f"{train.name}: {note}" for note in read]
        read, _ = sources.read_items(external, root, items, field="data.test", progress=progress)
        notes += [f"{test.name}: {note}" for note in read]
        test_rows = table.read_table(items, proofs.COMPARED)
        instructions = (row["instruction"] for rows in table.batches(learned, ("instruction",)) for row in rows)
        shared = SharedText.of(chain(instructions, (row["instruction"] for row in test_rows)))
        proof = proofs.prove(
            (row for batch in table.batches(learned, proofs.COMPARED) for row in batch),
            test_rows,
            data,
            f"{train.name} → {test.name}",
            not_compared=unread,
            shared=shared,
            embed=embed,
            progress=progress,
        )
        if out:
            proofs.write(proof, out)
    for note in notes:
        typer.echo(f"note: {note}")
    _show(proof)
    raise typer.Exit(0 if proof.clean else 1)


def _rows_to_split(
    source: Path,
    data: Data,
    experiment: Experiment | None,
    unreadable: float,
    work: Path,
    progress: Progress,
    processes: int | None,
) -> tuple[InstructionDataset, Path | None, dict[str, Path]]:
    """The rows to divide, and the external inputs that the specification declares: a test file, benchmarks.

    `unreadable` is the accepted share of rows that cannot be read.
    """
    from sft_pipeline.capabilities.items import held_out
    from sft_pipeline.dataset import source as sources

    external: dict[str, Any] = {"test": data.test, "benchmarks": data.leakage.benchmarks, "progress": progress}
    external["held_out_items"] = held_out(experiment.evaluation.capabilities, project_root()) if experiment else {}
    if not _is_clean(source):
        external |= {"max_unreadable_share": unreadable, "processes": processes}
        raw = sources.read(data.source, project_root(), work, **external)
        sources.require_readable(raw)
        return raw, raw.external_test, raw.benchmarks
    # A folder that `clean` wrote is taken as it stands: its rows keep the file and row that they came from.
    manifest = QualityManifest.model_validate_json((source / InstructionDataset.MANIFEST).read_bytes())
    test, benchmarks = sources.read_external(root=project_root(), out=work, **external)
    rows = InstructionDataset.finalize(
        source,
        stage="clean",
        rows=manifest.rows_kept,
        types=manifest.types,
        source=manifest.source,
        source_schema=manifest.source_schema,
        thresholds=manifest.thresholds,
    )
    return rows, test, benchmarks


def _is_clean(folder: Path) -> bool:
    """Whether `clean` wrote the folder: the pipeline's files lie in it, not just any manifest."""
    names = (InstructionDataset.ROWS, InstructionDataset.DUPLICATES, InstructionDataset.MANIFEST)
    return all((folder / name).is_file() for name in names)


def _show(proof: LeakageProof) -> None:
    typer.echo(
        f"{proof.against}: {proof.test_rows} test items against {proof.train_rows} training rows: {proof.exact} exact, "
        f"{proof.near} near-duplicate (Jaccard of word {proof.ngram}-grams from {proof.threshold:g}), {proof.groups} "
        f"shared groups; {proof.contained} share a word {proof.containment_ngram}-gram with training, "
        f"{proof.contained_over_limit} more than the limit of {proof.max_contained_share:.0%} (a shorter item as a whole)"
    )
    if proof.semantic is not None:
        typer.echo(
            f"  semantic: {proof.semantic} at a cosine of {proof.semantic_threshold:g} or more ({proof.semantic_model})"
        )
    for what in proof.not_compared:
        typer.echo(f"  not compared: {what}")
    for title, pairs in (("leaks", proof.leaks), ("nearest pairs", proof.nearest)):
        typer.echo(f"{title}: {'' if pairs else 'none found by these comparisons'}")
        for pair in pairs[:20]:
            typer.echo(f"  {pair.tier:9} {pair.similarity:.3f}  test {_place(pair.test_source, pair.test_id)}:")
            typer.echo(f"                   {pair.test_text!r}")
            typer.echo(f"                   train {_place(pair.train_source, pair.train_id)}:")
            typer.echo(f"                   {pair.train_text!r}")
            if pair.matched:
                typer.echo(f"                   matched: {pair.matched!r}")
        if len(pairs) > 20:
            typer.echo(f"  … and {len(pairs) - 20} more; --out writes all of them to a file")


def _place(source: str, row: str) -> str:
    return f"{source} ({row})" if source else row


UNREADABLE = "unreadable.parquet"
"""Table of the rows that could not be read; the one file that a failed run leaves."""


@contextmanager
def _reading(out: Path) -> Iterator[tuple[Path, Path]]:
    """The folder that becomes `out`, and one for what is read; the table of unreadable rows is kept whatever happens."""
    import pyarrow.parquet as pq

    def keep(folder: Path) -> None:
        if rejected.is_file() and pq.read_metadata(rejected).num_rows:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(rejected, folder / UNREADABLE)
            typer.echo(f"rows that could not be read → {shown(out / UNREADABLE)}", err=True)

    with files.new_folder(out, left=(UNREADABLE,)) as folder:
        work = folder.with_name(f"{folder.name}.read")
        work.mkdir()
        rejected = work / InstructionDataset.REJECTED
        try:
            yield folder, work
        except Exception:
            keep(out)
            raise
        keep(folder)


def _require_complete(source: Path) -> None:
    """Refuse a folder of clean rows whose writing did not end: fewer rows than there were would be taken for all.

    Raises:
        DataError: the manifest, which is written last, is missing or counts other rows.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid
    from pydantic import ValidationError

    rows, manifest = source / InstructionDataset.ROWS, source / InstructionDataset.MANIFEST
    again = f"remove the folder and run `sft-pipeline clean` with --out {shown(source)} again"
    if not rows.is_file() or not (source / InstructionDataset.DUPLICATES).is_file():
        return
    if not manifest.is_file():
        raise DataError(f"{source}: `clean` did not end, for {manifest.name} is missing; {again}")
    try:
        counted, there = QualityManifest.model_validate_json(manifest.read_bytes()), pq.read_metadata(rows).num_rows
    except (ValidationError, ArrowInvalid) as error:
        raise DataError(f"{source}: written by another version, or damaged ({_first_line(error)}); {again}") from error
    if counted.rows_kept != there:
        raise DataError(f"{source}: {rows.name} holds {there} of the {counted.rows_kept} rows that were kept; {again}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _literal(path: Path) -> str:
    """`path` as a specification's path: absolute, with no variable in it; - is the standard input."""
    return "/dev/stdin" if str(path) == "-" else str(path.absolute()).replace("$", "$$")


def _columns(columns: Columns, option: str | None) -> Columns:
    """A mapping with what `--columns` says in place of, or besides, what the specification says."""
    if not option:
        return columns
    found: dict[str, str] = {}
    ignore = list(columns.ignore)
    for part in option.split(","):
        role, _, column = (text.strip() for text in part.partition("="))
        if role not in Columns.model_fields or not column:
            raise SpecificationError(
                f"--columns {option!r}: {part!r} is not ROLE=COLUMN, where ROLE is one of {', '.join(Columns.model_fields)}"
            )
        if role == "ignore":
            ignore.append(column)
        else:
            found[role] = column
    return columns.model_copy(update={**found, "ignore": tuple(ignore)})


def _data(
    file: Path, spec: str | None, columns: str | None = None, encoding: str | None = None
) -> tuple[Data, Experiment | None]:
    """The data section of `spec`, or the defaults, with `file` as its source; and the experiment, where `spec` is a whole one."""
    source = FileData(kind="file", path=_literal(file), encoding=encoding)
    if spec is None:
        return Data(source=source.model_copy(update={"columns": _columns(source.columns, columns)})), None
    path = Path(spec)
    said = load_data(path) if path.suffix in (".yaml", ".yml") else load_by_name(spec, project_root())
    data = said.data
    if isinstance(data.source, FileData):
        source = data.source.model_copy(update={"path": source.path, "encoding": encoding or data.source.encoding})
    elif isinstance(data.source, HubData):  # the hub's files, downloaded
        reading = {name: getattr(data.source, name) for name in ("columns", "conversations", "type")}
        source = source.model_copy(update=reading)
    source = source.model_copy(update={"columns": _columns(source.columns, columns)})
    return data.model_copy(update={"source": source}), said if isinstance(said, Experiment) else None


def _models(
    spec: str | None, experiment: Experiment | None, tokenizer: Path | None
) -> "tuple[CountTokens | None, Criticise | None, Unwritable | None]":
    """What counts tokens, criticises and writes conversations: from the base model that is at hand, if one is."""
    from sft_pipeline.model.prompts import unwritable
    from sft_pipeline.model.tokenizer import load_tokenizer

    snapshot, name = None, stored_name(spec) if spec else None
    if tokenizer is None and experiment:
        from sft_pipeline.provenance.store import Store, default_store

        store = Store(default_store())
        if name is not None and store.pointer("base_model", name) is not None:
            snapshot = store.get("base_model", name, ModelSnapshot)
            tokenizer = snapshot.root
        elif isinstance(experiment.model.source, FolderBase):
            tokenizer = expand_path(experiment.model.source.path, project_root())
    criticise = None
    if experiment and experiment.data.quality.critic:
        from sft_pipeline.model.critic import critic

        if snapshot is None:
            specs = shown(project_root() / "specs")
            first = "" if name else f"move {spec} to {specs}, then "
            raise PreconditionError(
                "data.quality.critic: the critic is the experiment's own base model, which was not materialized; "
                f"{first}run `sft-pipeline run {name or Path(spec or '').stem} --select base_model` first"
            )
        criticise = critic(snapshot, experiment.model, experiment.data.quality.critic)
    if tokenizer is None:
        return None, criticise, None
    chat = experiment if experiment and experiment.prompt.format == "chat" else None
    loaded = load_tokenizer(tokenizer, chat.model if chat else None, chat.prompt if chat else None)
    return loaded.count, criticise, partial(unwritable, loaded.chat) if loaded.chat else None

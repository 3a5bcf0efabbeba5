"""From raw rows to clean ones: the filters, then exact and near-duplicates; every rejected row with its reason.

The rows are read three times and never held all at once: to learn what is usual, to judge them, and to write them. In
between, a row is some hashes in memory (`fingerprints`) and a verdict on disk (`judging`).
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from sft_pipeline.artifacts import FilterOutcome, InstructionDataset, QualityManifest
from sft_pipeline.dataset import croissant, filters, table
from sft_pipeline.dataset.cleaning import clusters, manifest, quality_figures
from sft_pipeline.dataset.cleaning.clean_rows import write_rows
from sft_pipeline.dataset.cleaning.fingerprints import Fingerprints
from sft_pipeline.dataset.cleaning.judging import (
    TEMPLATE,
    CountTokens,
    Criticise,
    Judge,
    Judging,
    Unwritable,
    asked,
    exchanges,
    judge,
)
from sft_pipeline.dataset.duplicates.shared_text import SharedText, describe
from sft_pipeline.dataset.parallel import Workers
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.experiment import Data
from sft_pipeline.report.data import html as data_html

NOT_TRIED = "whether a chat template can write the conversations was not tried: there is no tokenizer, or no format"


def clean(
    raw: InstructionDataset,
    data: Data,
    out: Path,
    *,
    root: Path | None = None,
    count_tokens: CountTokens | None = None,
    criticise: Criticise | None = None,
    unwritable: Unwritable | None = None,
    progress: Progress = silent,
    processes: int | None = 1,
) -> InstructionDataset:
    """Drop what does not satisfy the quality section, keep one row of each set of duplicates, and take the figures.

    Args:
        raw: dataset of stage "raw".
        data: the specification's data section.
        out: existing empty folder for the dataset's files.
        root: the project's root, to which relative paths of the quality section refer; default: the working folder.
        count_tokens: number of tokens of each text, by the experiment's tokenizer; without it no token figures are
            taken, and what is declared in tokens is not judged, which the notes say.
        criticise: judges the rows that carry no verdicts of critics; gives for each the verdicts by critic.
        unwritable: says why the experiment's chat template cannot write a row, which is then dropped.
        progress: called with the rows observed, judged, compared and written.
        processes: how many work on the rows; None: as many as pay (`parallel`). It changes no byte.

    Returns:
        The dataset of stage "clean". Its rows and its rejected rows together are the raw rows. Thresholds that did not
        hold are recorded, not raised: whether to go on is decided by what consumes the dataset.
    """
    source, quality = raw.path(raw.ROWS), data.quality
    # A classifier computes on all cores by itself.
    processes = 1 if quality.toxicity and quality.toxicity.classifier else processes
    with (
        TemporaryDirectory(dir=out) as folder,
        Workers(processes, table.group_count(source)) as workers,
    ):
        work = Path(folder)
        continuations, shared = _learned(source, raw.rows, workers, progress)
        by = Judge(source, data, root or Path.cwd(), continuations, shared)
        names = [*by.active, *([TEMPLATE] if unwritable else ())]
        fingerprints, done = Fingerprints(data.duplicates, work), 0
        with Judging(work / "verdicts.arrow", count_tokens is not None) as judging:
            for found in workers.map(judge, asked(source, count_tokens, criticise, unwritable), by):
                judging.add(found)
                fingerprints.add(done + found.passed, found.print)
                progress("filter", done := done + len(found.verdicts), raw.rows)
        levels = fingerprints.levels(progress)
        clusters.write(levels, source, out / InstructionDataset.DUPLICATES)
        written = write_rows(source, judging.verdicts(), raw.rows, levels, quality, out, progress)
    lengths = written.lengths.distributions()
    quality_manifest = QualityManifest(
        source=raw.source,
        source_schema=raw.source_schema,
        rows_read=raw.rows + raw.rejected.get("unreadable", 0),
        rows_unreadable=raw.rejected.get("unreadable", 0),
        rows_kept=written.rows,
        types=dict(sorted(written.types.items())),
        unique_instructions=written.rows,  # the exact level leaves one row of each instruction
        filters=tuple(
            FilterOutcome(name=name, matched=judging.matched[name], dropped=judging.dropped[name]) for name in names
        ),
        duplicates=tuple(level.summary() for level in levels),
        lengths=lengths,
        thresholds=quality_figures.thresholds(raw, written, judging, lengths, quality),
        acceptance=judging.acceptance() if quality.critics != "ignored" else {},
        samples=manifest.samples(raw.path(raw.REJECTED)) + manifest.samples(out / InstructionDataset.REJECTED),
        libraries=quality_figures.libraries(quality),
        notes=raw.notes
        + (quality_figures.not_judged(quality) if count_tokens is None else ())
        + ((NOT_TRIED,) if unwritable is None and table.row_schema(source) is table.TALK else ())
        + tuple(describe(fingerprints.left_out)),
    )
    manifest.write(quality_manifest, out)
    data_html.write(quality_manifest, out)
    croissant.write(
        out,
        "clean-instructions",
        {"clean": out / InstructionDataset.ROWS},
        description=f"Instruction rows after quality filters and removal of duplicates. Source: {raw.source}",
    )
    return InstructionDataset.finalize(
        out,
        stage="clean",
        rows=written.rows,
        rejected=dict(sorted(written.rejected.items())),
        types=quality_manifest.types,
        source=raw.source,
        source_schema=raw.source_schema,
        statistics=quality_figures.statistics(quality_manifest),
        thresholds=quality_manifest.thresholds,
        notes=quality_manifest.notes,
    )


def _learned(
    source: Path, total: int, workers: Workers, progress: Progress
) -> tuple[filters.Continuations, SharedText]:
    """What all rows together tell: how responses of each type go on, and which text many instructions share."""
    continuations, shared, done = filters.Continuations(), SharedText(), 0
    for rows, some, texts in workers.map(_observed, range(table.group_count(source)), source):
        continuations.merge(some)
        shared.merge(texts)
        progress("learn", done := done + rows, total)
    return continuations, shared.ready()


def _observed(group: int, source: Path) -> tuple[int, filters.Continuations, SharedText]:
    """The same of one batch, with the number of its rows."""
    talk = ("conversation",) if table.row_schema(source) is table.TALK else ()
    rows = table.read_group(source, group, ("instruction", "response", "type", *talk)).to_pylist()
    continuations = filters.Continuations()
    continuations.observe(exchanges(rows)[0])
    return len(rows), continuations, SharedText.of(row["instruction"] for row in rows)

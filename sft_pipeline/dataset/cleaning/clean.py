"""From raw rows to clean ones: the filters, then exact and near-duplicates; every dropped row with its reason.

The rows are read three times and never held all at once: to learn what is usual, to judge them, and to write them. In
between, a row is some hashes in memory (`fingerprints`) and a verdict on disk (`judging`).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sft_pipeline.artifacts import FilterOutcome, InstructionDataset, QualityManifest
from sft_pipeline.dataset import croissant, filters, table
from sft_pipeline.dataset.cleaning import clusters, manifest, quality_figures
from sft_pipeline.dataset.cleaning.clean_rows import write_rows
from sft_pipeline.dataset.cleaning.fingerprints import Fingerprints
from sft_pipeline.dataset.cleaning.judging import CountTokens, Criticise, Judging
from sft_pipeline.dataset.duplicates.shared_text import SharedText, describe
from sft_pipeline.dataset.duplicates.shingles import word_hashes
from sft_pipeline.dataset.progress import Progress, silent
from sft_pipeline.experiment import Data
from sft_pipeline.report.data import html as data_html


def clean(
    raw: InstructionDataset,
    data: Data,
    out: Path,
    *,
    root: Path | None = None,
    count_tokens: CountTokens | None = None,
    criticise: Criticise | None = None,
    progress: Progress = silent,
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
        progress: called with the rows observed, judged, compared and written.

    Returns:
        The dataset of stage "clean". Its rows and its rejected rows together are the raw rows. Thresholds that did not
        hold are recorded, not raised: whether to go on is decided by what consumes the dataset.
    """
    source, quality = raw.path(raw.ROWS), data.quality
    with TemporaryDirectory(dir=out) as work:
        with Judging(Path(work) / "verdicts.parquet", count_tokens, criticise) as judging:
            continuations, shared = filters.Continuations(), SharedText()
            for _, batch in _batches(source, "learn", raw.rows, progress, ("instruction", "response", "type")):
                continuations.observe(batch)
                shared.learn(row["instruction"] for row in batch)
            active = filters.active_filters(quality, continuations, root or Path.cwd())
            fingerprints = Fingerprints(data.duplicates, shared)
            for start, batch in _batches(source, "filter", raw.rows, progress):
                words = word_hashes([row[field] for row in batch for field in ("instruction", "response")])
                counts = [(asked, answered) for asked, answered in np.diff(words.bounds).reshape(-1, 2).tolist()]
                passed = judging.judge(batch, counts, active)
                fingerprints.add([start + i for i in passed], [batch[i] for i in passed], words.take_pairs(passed))
        levels = fingerprints.levels(progress)
        clusters.write(levels, source, out / InstructionDataset.DUPLICATES)
        rows = ((row, verdict) for row, verdict in zip(_rows(source), judging.verdicts(), strict=True))
        written = write_rows(rows, raw.rows, levels, quality, out, progress)
    lengths = written.lengths.distributions()
    found = QualityManifest(
        source=raw.source,
        source_schema=raw.source_schema,
        rows_read=raw.rows + raw.rejected.get("unreadable", 0),
        rows_unreadable=raw.rejected.get("unreadable", 0),
        rows_kept=written.rows,
        types=dict(sorted(written.types.items())),
        unique_instructions=written.rows,  # the exact level leaves one row of each instruction
        filters=tuple(
            FilterOutcome(name=name, matched=judging.matched[name], dropped=judging.dropped[name]) for name in active
        ),
        duplicates=tuple(level.summary() for level in levels),
        lengths=lengths,
        thresholds=quality_figures.thresholds(raw, written, judging, lengths, quality),
        acceptance=judging.acceptance() if quality.critics != "ignored" else {},
        samples=manifest.samples(raw.path(raw.REJECTED)) + manifest.samples(out / InstructionDataset.REJECTED),
        libraries=quality_figures.libraries(quality),
        notes=raw.notes
        + (quality_figures.not_judged(quality) if count_tokens is None else ())
        + tuple(describe(fingerprints.left_out)),
    )
    manifest.write(found, out)
    data_html.write(found, out)
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
        types=found.types,
        source=raw.source,
        source_schema=raw.source_schema,
        statistics=quality_figures.statistics(found),
        thresholds=found.thresholds,
        notes=found.notes,
    )


def _rows(source: Path) -> Iterator[dict[str, Any]]:
    return (row for batch in table.batches(source) for row in batch)


def _batches(
    source: Path, stage: str, total: int, progress: Progress, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The batches of rows with the position of each one's first row; tells how many rows were dealt with."""
    done = 0
    for batch in table.batches(source, columns):
        yield done, batch
        done += len(batch)
        progress(stage, done, total)

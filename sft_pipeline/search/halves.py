"""The dev split in two: rows that the search sees, and rows that confirm or refute what it found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset.split.assignment import assign_file
from sft_pipeline.dataset.table import ROW, read_table, write_table
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Experiment

Rows = Sequence[Mapping[str, Any]]


def halves(dev: InstructionDataset, experiment: Experiment) -> tuple[Rows, Rows]:
    """Rows of the search and of the confirmation, divided as the splits are: no near-duplicate or group on both sides.

    Raises:
        DataError: a side would have no row.
    """
    assert experiment.search is not None
    rows = read_table(dev.path(dev.ROWS))
    wanted = round(len(rows) * experiment.search.confirmation_share)
    split = experiment.data.split.model_copy(update={"dev_size": wanted})
    sides = assign_file(dev.path(dev.ROWS), experiment.data.model_copy(update={"split": split}), test=False)
    seen, kept = ([row for row, other in zip(rows, sides) if other == side] for side in ("train", "dev"))
    if not seen or not kept:
        raise DataError(
            f"the dev split ({len(rows)} rows) cannot be divided into rows of the search and of its confirmation: what "
            "resembles each other or shares a group stays together. Raise data.split.dev_size, or choose another "
            "search.confirmation_share"
        )
    return seen, kept


def part(dev: InstructionDataset, rows: Rows, out: Path) -> InstructionDataset:
    """Some rows of the dev split as a dataset in `out`; the proof of the whole covers them."""
    out.mkdir(exist_ok=True)
    write_table(rows, ROW, out / dev.ROWS)
    types = dict(sorted(Counter(row["type"] for row in rows).items()))
    return InstructionDataset.finalize(out, stage="dev", rows=len(rows), types=types, proof=dev.proof)

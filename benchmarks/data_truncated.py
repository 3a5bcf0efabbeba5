"""What does the filter `truncated` take for cut, in rows as they are and in rows that were cut on purpose?

    .venv/bin/python benchmarks/data_truncated.py FILE …

Prints the dropped rows of each file, to be read: which of them are cut decides the precision. Recall is measured on the
answers of 20 words and more that end with a full stop, cut at a random word of their second half, and cut at the length that
97 % of them do not reach; a false alarm is one that only lost its full stop.
"""

import random
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset import source as sources
from sft_pipeline.dataset import table
from sft_pipeline.dataset.filters import Continuations
from sft_pipeline.dataset.filters.continuations import closed
from sft_pipeline.dataset.filters.truncation import truncated
from sft_pipeline.experiment import FileData, Quality

Row = dict[str, Any]


def found(rows: Sequence[Row], among: Sequence[Row]) -> list[Row]:
    """Those of `rows` that the filter drops where `among` is the whole dataset."""
    continuations = Continuations()
    continuations.observe(among)
    return [row for row in rows if truncated(row, Quality(), continuations)]


def measure(path: Path, rows: Sequence[Row], rng: random.Random) -> None:
    """Print the figures of one file."""
    dropped = found(rows, rows)
    prose = [row for row in rows if len(row["response"].split()) >= 20 and row["response"].rstrip().endswith(".")]
    limit = sorted(len(row["response"]) for row in prose)[int(0.97 * len(prose))]
    limited = [{**row, "response": row["response"][:limit]} for row in prose]
    cut = [new for new, row in zip(limited, prose) if len(row["response"]) > limit and not closed(new["response"])]
    at_word = []
    for row in prose:
        ends = [word.end() for word in re.finditer(r"\S+", row["response"])]
        at_word.append({**row, "response": row["response"][: rng.choice(ends[len(ends) // 2 : -1])]})
    at_word = [row for row in at_word if not closed(row["response"])]
    whole = [{**row, "response": row["response"].rstrip()[:-1]} for row in prose]
    print(f"{path.name}: {len(rows)} rows, {len(dropped)} dropped")
    for row in dropped:
        print(f"  row {row['source_row']}: …{row['response'][-100:]!r}")
    print(f"  cut at a random word: {len(found(at_word, []))} of {len(at_word)} found")
    print(f"  cut at {limit} characters: {len(found(cut, limited))} of {len(cut)} found")
    print(f"  without the full stop: {len(found(whole, whole))} of {len(whole)} dropped")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        file = Path(name).absolute()
        with tempfile.TemporaryDirectory() as folder:
            raw = sources.read(FileData(kind="file", path=str(file)), Path(), Path(folder))
            measure(file, table.read_table(raw.path(InstructionDataset.ROWS)), random.Random(5))

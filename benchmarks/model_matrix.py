"""Writes docs/reference/model_matrix.md: every architecture through guard, plan, training, answers and reload.

    OMP_NUM_THREADS=1 python benchmarks/model_matrix.py

Tiny models with random weights, from transformers' own configurations; the CPU alone. Takes two to three minutes of processor
time; names of architectures as arguments run these alone and write no page.
"""

import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

from sft_pipeline_tests.architectures import ARCHITECTURES, TOLERANCE, cell, tiny
from sft_pipeline_tests.training.conftest import toy_tokenizer

COLUMNS = {
    "float32": {},
    "float32, packed": {"batching": "packed"},
    "nf4": {"model": {"quantization": "nf4"}},
    "int8": {"model": {"quantization": "int8"}},
}

PAGE = """\
# Architectures

Made by `python benchmarks/model_matrix.py`; do not edit. Each cell is a base of that architecture with random weights
(hidden size 32, two layers), taken through guard, plan, three steps of training with LoRA on `all-linear`, answers of the
adapter, and a reload whose dev loss must equal the logged one. `works` means that all of it ran on a CPU; a cell names what
had to be declared, as the refusal before it said. What a packed training did is in the second line of its cell.

| architecture | {columns} |
|---|{rules}|
{rows}

Versions: {versions}.
Not covered: CUDA, FSDP, and weights that somebody trained.
"""


def row(kind: str, root: Path) -> str:
    """The table row of an architecture; `root` holds the tokenizer and gets everything else."""
    (root / kind).mkdir()
    base = tiny(kind, root / "tokenizer", root / kind)
    cells = []
    for name, options in COLUMNS.items():
        text, measured = cell(base, root / f"{kind}-{name}", **options)
        if measured and abs(measured["dev_loss"] - measured["reloaded"]) > TOLERANCE[name.partition(",")[0]]:
            text = f"**reload differs**: {measured['dev_loss']:.6f} and {measured['reloaded']:.6f}"
        if measured and "batching" in measured["loaded"]:
            text += f"<br>{measured['loaded']['batching']['used']}"
        cells.append(text.replace(str(root), "").replace("\n", " "))
    return f"| {kind} | {' | '.join(cells)} |"


def write(rows: list[str]) -> None:
    """Write the page with these rows."""
    from sft_pipeline.provenance.environment import library_versions

    versions = library_versions("torch", "transformers", "trl", "peft", "bitsandbytes")
    page = PAGE.format(
        columns=" | ".join(COLUMNS),
        rules="|".join(["---"] * len(COLUMNS)),
        rows="\n".join(rows),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
    )
    Path(__file__).parent.parent.joinpath("docs/reference/model_matrix.md").write_text(page, "utf-8")


def main() -> None:
    import transformers

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.disable_progress_bar()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        toy_tokenizer(Path(folder) / "tokenizer")
        for kind in sys.argv[1:] or ARCHITECTURES:
            started = time.process_time()
            rows.append(row(kind, Path(folder)))
            print(f"{time.process_time() - started:6.1f} s  {rows[-1]}", flush=True)
    if not sys.argv[1:]:  # a few architectures are for looking, not for the page
        write(rows)


if __name__ == "__main__":
    main()

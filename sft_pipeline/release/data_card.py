"""The data card: what the data are, their quality and the leakage proof; no row of them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sft_pipeline.artifacts import Artifact, InstructionDataset
from sft_pipeline.dataset import croissant
from sft_pipeline.experiment import Experiment
from sft_pipeline.release.card import plain
from sft_pipeline.release.eligibility import part


def data_card(found: Mapping[str, Artifact], experiment: Experiment, name: str) -> tuple[str, str]:
    """The contents of data/README.md and data/croissant.json."""
    raw, clean = (part(found, f"{stage}_dataset", InstructionDataset) for stage in ("raw", "clean"))
    splits = {name: part(found, f"{name}_split", InstructionDataset) for name in ("train", "dev", "test")}
    test = splits["test"]
    text = [f"# Data of {plain(name)}", ""]
    text += ["The rows are not part of the release; [croissant.json](croissant.json) names their files by hash.", ""]
    text += _table(("source", "schema", "rows read", "rows kept", "duplicates and filtered"),
                   [(plain(raw.source), plain(raw.source_schema), raw.rows + sum(raw.rejected.values()), clean.rows,
                     sum(clean.rejected.values()))])  # fmt: skip
    text += [
        "## Splits",
        "",
        *_table(("split", "rows", "version"), [(p, d.rows, d.version) for p, d in splits.items()]),
    ]
    rejected: Counter[str] = Counter()
    for dataset in (raw, clean, *splits.values()):
        rejected.update(dataset.rejected)
    text += ["## Rejected rows", ""]
    text += _table(("reason", "rows"), sorted((plain(k), v) for k, v in rejected.items()))
    text += ["## Quality", "", *_table(
        ("figure", "value", "limit"),
        [(plain(t.name), f"{t.value:.4g}", f"{t.direction} {t.limit:g}") for t in clean.thresholds],
    )]  # fmt: skip
    text += _table(("statistic", "value"), [(plain(k), f"{v:.6g}") for k, v in sorted(clean.statistics.items())])
    if test.proof:
        figures = test.proof.model_dump(mode="json", exclude={"leaks", "nearest"})
        text += ["## Leakage proof of the test split", ""]
        text += _table(("figure", "value"), [(k, plain(v)) for k, v in figures.items() if v not in ("", None, [])])
    described = croissant.text(
        name,
        {name: split.path(split.ROWS) for name, split in splits.items()},
        {name: f"{name}_split/{split.ROWS}" for name, split in splits.items()},
        description=f"{experiment.description} Train, dev and test rows; the files are not part of this folder. Source: "
        f"{raw.source}",
    )
    return "\n".join(text).rstrip() + "\n", described


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return ["none", ""]
    made = [head, ["---"] * len(head), *rows]
    return [*("| " + " | ".join(map(str, row)) + " |" for row in made), ""]

"""Writes the search report: JSON, text, page, pictures, study, outcomes, and the specification of what was found."""

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import Artifact, SearchReport
from sft_pipeline.dataset.table import write_table
from sft_pipeline.experiment import Experiment
from sft_pipeline.report.search import html, text
from sft_pipeline.search.study import FILE, Study, pictures


def write(
    experiment: Experiment,
    name: str,
    fields: Mapping[str, Any],
    origin: Mapping[str, str],
    study: Study,
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    out: Path,
) -> SearchReport:
    """Write all files of the report to `out`, which is empty.

    Args:
        experiment: the specification.
        name: its name.
        fields: of the `SearchReport`.
        origin: versions of what the search was made from, and its fingerprint.
        study: Optuna's study.
        results: of the confirming trainings, by configuration and seed.
        out: the folder.
    """
    import pyarrow as pa

    report = SearchReport(root=out, **fields)
    values = report.model_dump(mode="json", exclude=set(Artifact.model_fields))
    (out / "search.json").write_text(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    (out / "search.txt").write_text(text.summary(report), "utf-8")
    drawn = pictures(study, (report.objective or "").replace("_", " "))
    for picture, content in drawn.items():
        (out / f"{picture}.png").write_bytes(content)
    (out / "search.html").write_text(html.page(report, drawn, origin), "utf-8")
    shutil.copyfile(study.folder / FILE, out / FILE)
    columns = [("configuration", pa.string()), ("seed", pa.int64()), ("id", pa.string())]
    columns += [("value", pa.float64()), ("weight", pa.float64())]
    rows = (
        {"configuration": arm, "seed": seed, "id": id, "value": value, "weight": weight}
        for arm, trainings in results.items()
        for seed, training in zip(report.seeds, trainings, strict=True)
        for id, value, weight in training["outcomes"]
    )
    write_table(rows, pa.schema(columns), out / "outcomes.parquet")
    if report.winner is not None:
        (out / SearchReport.SPECIFICATION).write_text(specification(experiment, name, report, origin), "utf-8")
    return SearchReport.finalize(out, **fields)


def specification(experiment: Experiment, name: str, report: SearchReport, origin: Mapping[str, str]) -> str:
    """The experiment with the winner's parameters, as a file that says where they come from."""
    import yaml

    found = next(c for c in report.confirmations if c.trial == report.winner)
    document = experiment.with_values(found.parameters).model_dump(mode="json", exclude_unset=True)
    lineage = {
        "experiment": name,
        "trial": f"{found.trial} of {len(report.trials)}",
        **{path: json.dumps(value) for path, value in found.parameters.items()},
        "gain over the default": f"{found.gain} ({report.objective}, p {found.p_adjusted})",
        **origin,
        "optuna": version("optuna"),
    }
    lines = [f"# {key}: {value}" for key, value in lineage.items()]
    head = ["# Written by a search that found these parameters better than the experiment's own.", *lines]
    return "\n".join(head) + "\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)

"""Writes the capability report: JSON, baseline, table of items, text, page and forest plot."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import Artifact, CapabilityReport
from sft_pipeline.capabilities import baseline
from sft_pipeline.dataset.table import write_table
from sft_pipeline.report.capabilities import html, text


def write(
    fields: Mapping[str, Any],
    measurements: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Sequence[float]],
    out: Path,
) -> CapabilityReport:
    """Write all files of the report to `out`, which is empty.

    Args:
        fields: of the `CapabilityReport`.
        measurements: times and tokens.
        rows: every item of every metric.
        scores: the fine-tuned or only model's, by metric and item, for baseline_metrics.json.
        out: the folder.
    """
    import pyarrow as pa

    report = CapabilityReport(root=out, **fields)
    (out / "capabilities.json").write_text(published(report), "utf-8")
    baseline.write(report, scores, out / CapabilityReport.BASELINE)
    (out / "capabilities.txt").write_text(text.summary(report), "utf-8")
    picture = html.differences(report) if any(r.difference is not None for r in report.results) else None
    if picture:
        (out / "differences.png").write_bytes(picture)
    (out / "capabilities.html").write_text(html.page(report, rows, picture), "utf-8")
    texts = [pa.field(name, pa.string(), nullable=False) for name in ("metric", "task", "source_file")]
    hashes = [pa.field(f"{part}_hash", pa.string(), nullable=False) for part in ("doc", "prompt", "target")]
    numbers = [pa.field(name, pa.int64(), nullable=False) for name in ("item", "source_row")]
    models = [pa.field(f"{m}_score", pa.float64()) for m in ("base", "sft")]
    outputs = [pa.field(f"{m}_output", pa.string()) for m in ("base", "sft")]  # null where nothing is generated
    write_table(rows, pa.schema([*texts, *numbers, *hashes, *models, *outputs]), out / "items.parquet")
    return CapabilityReport.finalize(out, **fields, measurements=measurements)


def published(report: CapabilityReport) -> str:
    """The content of capabilities.json."""
    values = report.model_dump(mode="json", exclude=set(Artifact.model_fields))
    return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def schema() -> str:
    """The JSON schema of capabilities.json, as it is published."""
    found = CapabilityReport.model_json_schema(mode="serialization")
    for name in Artifact.model_fields:
        found["properties"].pop(name, None)
    found["required"] = [name for name in found["required"] if name in found["properties"]]
    found["$defs"].pop("FileRef", None)
    found["description"] = "A capability report."
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"

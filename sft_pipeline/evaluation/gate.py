"""The gate: judges both models' answers to the test split, decides, and writes the report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import GateReport, Generations, GuardReport, InstructionDataset, TrainingReport
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.preconditions import preconditions, same_items, some
from sft_pipeline.evaluation.scorers.text import bare, folded, has_words
from sft_pipeline.evaluation.scoring import Judged, score_items
from sft_pipeline.evaluation.validity import Pair
from sft_pipeline.evaluation.verdict import Decision, verdict
from sft_pipeline.experiment import Experiment, Gate

CHECKABLE_WORDS = 8
"""A response of at most this many words is taken as a short expected answer that an output may hold."""


def decide(
    test: InstructionDataset,
    base: Generations,
    sft: Generations,
    guard: GuardReport,
    training: TrainingReport,
    experiment: Experiment,
    out: Path,
) -> GateReport:
    """Judge both models' answers, decide, and write the report to `out`.

    Writes gate.json, gate.txt, gate.html, items.parquet, rates.png and differences.png; the same artifacts give the
    same files. Items that one side lacks or has twice are left out of the statistics, and the verdict is `refused`.
    """
    from sft_pipeline.dataset.table import read_table

    gate = experiment.evaluation.gate
    rows = read_table(test.path(InstructionDataset.ROWS))
    answers = [_read_generations(g) for g in (base, sft)]
    same, common = same_items(rows, *answers)
    rows = [row for row in rows if row["id"] in common]
    outputs = [{a["id"]: a["output"] for a in side} for side in answers]
    judged = [score_items(rows, side, experiment.evaluation.scorers) for side in outputs]
    items = [
        _item(row, outputs[0][row["id"]], outputs[1][row["id"]], base_judged, sft_judged)
        for row, base_judged, sft_judged in zip(rows, *judged, strict=True)
    ]
    pairs = [_pair(row, item) for row, item in zip(rows, items, strict=True)]
    decision = verdict(pairs, [same, *preconditions(test, base, sft, guard, training, gate)], gate)
    inputs = {
        "test_split": test.version,
        "base_generations": base.version,
        "sft_generations": sft.version,
        "base_model_guard": guard.version,
        "training_report": training.version,
    }
    return write(decision, items, gate, {"inputs": inputs, "conditions": base.conditions}, out)


def _read_generations(generations: Generations) -> list[dict[str, Any]]:
    from sft_pipeline.dataset.table import read_table

    rows = read_table(generations.path(Generations.ROWS), ["id", "output"])
    if empty := [row["id"] for row in rows if row["output"] is None]:
        raise DataError(
            f"{generations.model} generations, field output: {some(empty)} without an answer; generate anew"
        )
    return rows


def _item(row: Mapping, base_output: str, sft_output: str, base: Judged, sft: Judged) -> dict[str, Any]:
    return {
        "id": row["id"],
        "type": row["type"],
        "instruction": row["instruction"],
        "base_output": base_output,
        "sft_output": sft_output,
        "base_success": base.success,
        "sft_success": sft.success,
        "base_reason": base.reason,
        "sft_reason": sft.reason,
    }


def _pair(row: Mapping, item: Mapping) -> Pair:
    reference = json.loads(row["reference"]) if row["reference"] else {}
    expected = reference.get("answer", row["response"] if len(row["response"].split()) <= CHECKABLE_WORDS else None)
    known = isinstance(expected, str | int | float) and str(expected).strip()
    return Pair(
        id=row["id"],
        type=row["type"],
        base=item["base_success"],
        sft=item["sft_success"],
        base_length=len(item["base_output"].strip()),
        sft_length=len(item["sft_output"].strip()),
        base_has_answer=has_words(folded(item["base_output"]), bare(str(expected))) if known else None,
    )


def write(decision: Decision, items: list[dict[str, Any]], gate: Gate, facts: dict[str, Any], out: Path) -> GateReport:
    """Write the report of a decision to `out`.

    Args:
        decision: the verdict with its statistics.
        items: rows of items.parquet.
        gate: the criteria.
        facts: what gate.json says besides: the inputs and how they were made.
        out: empty folder.
    """
    import pyarrow as pa

    from sft_pipeline.dataset.table import write_table
    from sft_pipeline.report import gate_html, gate_plots, gate_text

    fields = {
        "verdict": decision.verdict,
        "overall": decision.overall,
        "types": decision.types,
        "protected": decision.protected,
        "reasons": decision.reasons,
        "test": gate.test,
        "alpha": gate.alpha,
    }
    report = GateReport(root=out, **fields)
    facts = {
        **report.model_dump(mode="json", include=set(fields)),
        "length": decision.length.as_dict() if decision.length else None,
        "gate": gate.model_dump(mode="json"),
        **facts,
    }
    (out / "gate.json").write_text(json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    (out / "gate.txt").write_text(gate_text.summary(report), "utf-8")
    text = [
        pa.field(n, pa.string(), nullable=False) for n in ("id", "type", "instruction", "base_output", "sft_output")
    ]
    flags = [pa.field(n, pa.bool_(), nullable=False) for n in ("base_success", "sft_success")]
    why = [pa.field(n, pa.string(), nullable=False) for n in ("base_reason", "sft_reason")]
    write_table(items, pa.schema(text + flags + why), out / "items.parquet")
    pictures = {"rates.png": gate_plots.rates(report), "differences.png": gate_plots.differences(report)}
    for name, picture in pictures.items():
        (out / name).write_bytes(picture)
    (out / "gate.html").write_text(gate_html.page(report, items, pictures, facts), "utf-8")
    return GateReport.seal(out, **fields)

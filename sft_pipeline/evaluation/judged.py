"""The gate over anybody's judged outputs: two JSONL files, joined by id."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import GateReport
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.gate import write
from sft_pipeline.evaluation.preconditions import same_items
from sft_pipeline.evaluation.validity import Pair
from sft_pipeline.evaluation.verdict import verdict
from sft_pipeline.experiment import Gate
from sft_pipeline.provenance.hashing import hash_file

FIELDS = {"id": (str,), "success": (bool,), "type": (str, type(None)), "output": (str, type(None))}
"""Fields of a row and their types; `type` and `output` may be missing."""


def decide_judged(base: Path, sft: Path, gate: Gate, out: Path) -> GateReport:
    """Decide over two files of judged outputs and write the report to `out`.

    Each line is an object with `id` and `success`, and where known `type` and `output`. Only what the files say can be
    checked: the guard, the training and the leakage are not part of this comparison, and a reason says so.

    Raises:
        DataError: a file that cannot be read, or ids that are not the same on both sides; all are named.
    """
    sides = [list(_rows(path)) for path in (base, sft)]
    same, _ = same_items(sides[0], *sides)
    if same.outcome == "refused":
        raise DataError(f"{base} and {sft} do not judge the same items: {same.detail}")
    adapted = {row["id"]: row for row in sides[1]}
    items = [_item(row, adapted[row["id"]]) for row in sides[0]]
    pairs = [
        Pair(
            id=item["id"],
            type=item["type"],
            base=item["base_success"],
            sft=item["sft_success"],
            base_length=len(item["base_output"].strip()),
            sft_length=len(item["sft_output"].strip()),
        )
        for item in items
    ]
    unknown = same.model_copy(
        update={
            "criterion": "preconditions",
            "outcome": "info",
            "detail": "guard, training, leakage and decoding are not known here: judged files say nothing of them",
        }
    )
    facts = {"inputs": {"base": hash_file(base), "sft": hash_file(sft)}, "conditions": {}}
    return write(verdict(pairs, [same, unknown], gate), items, gate, facts, out)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, row {number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: must be an object with id and success")
        for field, types in FIELDS.items():
            if not isinstance(row.get(field), types):
                raise DataError(
                    f"{path}, row {number}, field {field}: must be {types[0].__name__}, is {row.get(field)!r:.60}"
                )
        yield row
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: the file is empty")


def _item(base: dict[str, Any], sft: dict[str, Any]) -> dict[str, Any]:
    types = {row["type"] for row in (base, sft) if row.get("type")} or {"all"}
    if len(types) > 1:
        raise DataError(f"item {base['id']}, field type: {' and '.join(sorted(types))} on the two sides; make it one")
    return {
        "id": base["id"],
        "type": types.pop(),
        "instruction": "",
        "base_output": base.get("output") or "",
        "sft_output": sft.get("output") or "",
        "base_success": base["success"],
        "sft_success": sft["success"],
        "base_reason": "",
        "sft_reason": "",
    }

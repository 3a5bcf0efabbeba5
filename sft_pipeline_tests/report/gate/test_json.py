"""What is written keeps the published schema."""

import json

import jsonschema
import pytest

from sft_pipeline.evaluation.gate.files_gate import decide_outputs
from sft_pipeline.experiment import Evaluation
from sft_pipeline.report.gate.json import GateJson
from sft_pipeline_tests.conftest import REPOSITORY

PUBLISHED = REPOSITORY / "docs" / "reference" / "gate_report.schema.json"


@pytest.mark.slow
@pytest.mark.parametrize("texts", [True, False])
def test_a_written_report_keeps_the_schema(tmp_path, texts):
    def rows(name, right):
        path = tmp_path / f"{name}.jsonl"
        lines = []
        for k in range(60):
            row = {"id": str(k), "type": "ab"[k % 2], "success": None if k == 7 else k % 5 < right}
            lines.append(json.dumps(row | ({"output": f"answer {k} of {name}", "tokens": 5} if texts else {})))
        path.write_text("\n".join(lines))
        return path

    out = tmp_path / "out"
    out.mkdir()
    report = decide_outputs(rows("base", 1), rows("sft", 4), None, Evaluation(scorers={}), tmp_path, out)
    written = json.loads((out / "gate.json").read_text("utf-8"))
    jsonschema.validate(written, json.loads(PUBLISHED.read_text("utf-8")))
    read = GateJson.model_validate_json((out / "gate.json").read_text("utf-8"))
    assert read.missing == report.missing == 1 and len(read.sensitivity) == 5
    assert (read.lengths is not None) is texts and (out / "lengths.png").exists() is texts
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written | {"unknown": 1}, json.loads(PUBLISHED.read_text("utf-8")))

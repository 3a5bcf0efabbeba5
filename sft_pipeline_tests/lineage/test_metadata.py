"""What comes from data is text in the Dagster UI, whatever it looks like."""

import json
import math
from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline.artifacts import AdapterSnapshot, SeriesPoint, SeriesReport
from sft_pipeline.evaluation.gate.files_gate import decide_outputs
from sft_pipeline.experiment import Evaluation, Training
from sft_pipeline.lineage import metadata


@pytest.mark.parametrize(
    "text",
    ["![x](http://evil/x.png)", "[c](javascript:alert(1))", "a\\|b", "x\ry", "<script>", "**b** _i_ ~s~ $x$", "a\x07b"],
)
def test_a_text_is_shown_as_text_in_tables_and_in_notes(text):
    """Tables of the UI take texts as they are; notes are Markdown, in which a link or a picture would be one."""
    (record,) = metadata.table([{text: text, "n": 1}]).records
    assert record.data == {text: text.replace("\r", "\ufffd").replace("\x07", "\ufffd"), "n": 1}
    note = metadata.notes([text, "end"]).value
    first, last = note.split("\n")
    assert last == "- end"
    for sign in "[]!*_~$|":
        assert first.replace("\\\\", "").replace("\\" + sign, "").count(sign) == 0
    assert "<script" not in note and "\r" not in note and "\x07" not in note


def test_a_table_is_cut_and_holds_nothing_that_json_does_not_know():
    table = metadata.table([{"name": "x" * 200, "value": value} for value in (1 / 3, math.inf, None, 4, True)], limit=5)
    assert [record.data["value"] for record in table.records] == [0.3333, "inf", None, 4, True]
    assert {len(record.data["name"]) for record in table.records} == {160}
    assert metadata.table([{"a": 1, "b": 2}] * 9, limit=2).records[-1].data == {"a": "… and 7 more", "b": None}
    assert metadata.table([]).value == "nothing"


@pytest.mark.slow
@pytest.mark.drawn
def test_a_gate_report_shows_verdict_reasons_and_two_small_pictures(tmp_path):
    def rows(name, right):
        path = tmp_path / f"{name}.jsonl"
        evil = [
            {"id": str(k), "type": "[a](b)|", "output": f"![x](http://evil) {k}", "success": k % 5 < right}
            for k in range(60)
        ]
        path.write_text("\n".join(map(json.dumps, evil)))
        return path

    out = tmp_path / "out"
    out.mkdir()
    report = decide_outputs(rows("base", 1), rows("sft", 4), None, Evaluation(scorers={}), tmp_path, out)
    shown = metadata.describe(report, metadata.gate)
    assert (shown["verdict"], shown["p"], shown["lift"]) == (report.verdict, report.p, report.overall.lift)
    low, high = report.overall.lift_interval
    assert shown["lift interval"] == f"{100 * low:+.1f} to {100 * high:+.1f} points"
    assert shown["reasons"].records[0].data["outcome"] == next(
        o for o in ("refused", "fail", "pass") if o in {r.outcome for r in report.reasons}
    )
    pictures = [name for name, value in shown.items() if "data:image/png;base64" in str(getattr(value, "value", ""))]
    assert pictures == ["rates", "differences"]
    assert all(len(shown[name].value) < 4 / 3 * metadata.PICTURE + 100 for name in pictures)
    tables = [value.records for value in shown.values() if isinstance(value, dg.TableMetadataValue)]
    assert len(tables) == 2 and all(len(str(records)) < 10_000 for records in tables)


def test_a_series_shows_its_table_the_choice_and_what_a_reader_must_know():
    points = tuple(SeriesPoint(step=s, n=10, successes=k, low=0.0, high=1.0) for s, k in ((0, 1), (50, 7), (100, 6)))
    shown = metadata.describe(
        SeriesReport(root=Path("."), split="test", points=points, notes=("Chosen on test.",)), metadata.series
    )
    assert shown["best step"] == 50 and "most successes" in shown["choice"]
    assert (shown["base rate"], shown["best rate"], shown["last rate"]) == (0.1, 0.7, 0.6)
    assert list(shown["series"].records[1].data.values())[:3] == ["50 (best)", "7 of 10", "70.00 %"]
    assert "Chosen on test." in shown["notes"].value


@pytest.mark.parametrize(("accumulation", "batch"), [(2, 16), ({0: 1, 200: 4}, 32)])
def test_an_adapter_shows_its_hyperparameters_as_numbers_also_of_a_batch_that_grows(tmp_path, accumulation, batch):
    training = Training(max_steps=400, batch_size=8, gradient_accumulation=accumulation)
    manifest = {"hyperparameters": training.model_dump(mode="json")}
    (tmp_path / "training_manifest.json").write_text(json.dumps(manifest))
    figures = {"epochs": 1.0, "trainable_parameters": 9, "loss_first": 2.0, "loss_last": 1.0}
    adapter = AdapterSnapshot.finalize(tmp_path, steps=400, step=400, **figures)
    shown = metadata.describe(adapter, metadata.adapter)
    assert shown["effective batch"] == batch == training.effective_batch
    assert shown["learning rate"] == training.learning_rate and shown["LoRA r"] == training.lora.r

"""What comes from data is text in the Dagster UI, whatever it looks like."""

import json
from pathlib import Path

import pytest

from sft_pipeline.artifacts import SeriesPoint, SeriesReport
from sft_pipeline.evaluation.gate.files_gate import decide_outputs
from sft_pipeline.experiment import Evaluation
from sft_pipeline.lineage import metadata


@pytest.mark.parametrize(
    "text",
    ["![x](http://evil/x.png)", "[c](javascript:alert(1))", "a\\|b", "x\ry", "<script>", "**b** _i_ ~s~ $x$", "a\x07b"],
)
def test_a_cell_holds_no_markup_and_ends_no_row(text):
    table = metadata.table([{"text": text, "after": "end"}]).value
    row = table.split("\n")[2]
    assert row.startswith("| ") and row.endswith("| end |") and len(table.split("\n")) == 3
    cell = row.removeprefix("| ").removesuffix(" | end |")
    for sign in "[]!*_~$|":
        assert cell.replace("\\\\", "").replace("\\" + sign, "").count(sign) == 0
    assert "<script" not in cell and "\r" not in cell and "\x07" not in cell


def test_a_header_from_data_holds_no_markup_and_adds_no_column():
    """The columns of a checkpoint series are item types."""
    header = metadata.table([{"![x](http://evil/x.png) a|b": 1, "after": "end"}]).value.split("\n")[0]
    assert header == "| \\!\\[x\\](http://evil/x.png) a\\|b | after |"


@pytest.mark.slow
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
    worst = shown["reasons"].value.splitlines()[2]
    assert worst.split(" | ")[1] == next(
        o for o in ("refused", "fail", "pass") if o in {r.outcome for r in report.reasons}
    )
    pictures = [name for name, value in shown.items() if "data:image/png;base64" in str(getattr(value, "value", ""))]
    assert pictures == ["rates", "differences"]
    assert all(len(shown[name].value) < 4 / 3 * metadata.PICTURE + 100 for name in pictures)
    texts = [value.value for name, value in shown.items() if hasattr(value, "value") and name not in pictures]
    assert all(len(text) < 10_000 and "[a](b)" not in text for text in texts)


def test_a_series_shows_its_table_the_choice_and_what_a_reader_must_know():
    points = tuple(SeriesPoint(step=s, n=10, successes=k, low=0.0, high=1.0) for s, k in ((0, 1), (50, 7), (100, 6)))
    shown = metadata.describe(
        SeriesReport(root=Path("."), split="test", points=points, notes=("Chosen on test.",)), metadata.series
    )
    assert shown["best step"] == 50 and "most successes" in shown["choice"]
    assert "50 (best) | 7 of 10 | 70.00 %" in shown["series"].value
    assert "Chosen on test." in shown["notes"].value

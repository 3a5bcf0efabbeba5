"""Several models on the same items: joined by id, adjusted for their number, and a page that trusts no name."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sft_pipeline.artifacts import GateReport
from sft_pipeline.cli import app
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.compare import cochran_q, compare
from sft_pipeline.evaluation.gate.files_gate import decide_outputs
from sft_pipeline.evaluation.statistics.paired import holm, mcnemar
from sft_pipeline.experiment import Evaluation, Gate
from sft_pipeline.provenance.store import Store
from sft_pipeline.report.compare import html as compare_html
from sft_pipeline.report.compare import text as compare_text

OUTCOMES = {"a": "1100100011", "b": "1110111011", "c": "0000100010"}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three models on ten items of two types; the second file holds them in another order."""
    paths = []
    for name, outcomes in OUTCOMES.items():
        rows = [
            {"id": f"q{k}", "type": "sum" if k < 6 else "text", "success": mark == "1", "output": f"answer {k}"}
            for k, mark in enumerate(outcomes)
        ]
        paths.append(tmp_path / f"{name}.jsonl")
        write(paths[-1], rows[::-1] if name == "b" else rows)
    return paths


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_pair_is_compared_by_id_and_adjusted_for_their_number(files):
    report = compare(files, ["a", "b", "c"], None, Gate())
    assert [(c.baseline, c.model, c.result.lost, c.result.won) for c in report.comparisons] == [
        ("a", "b", 0, 3),
        ("a", "c", 3, 0),
        ("b", "c", 6, 0),
    ]
    p_values = [mcnemar(0, 3).exact, mcnemar(3, 0).exact, mcnemar(6, 0).exact]
    assert [c.p for c in report.comparisons] == p_values
    assert [c.p_adjusted for c in report.comparisons] == holm(p_values)
    assert [(r.model, r.type, r.successes, r.n) for r in report.rates][:4] == [
        ("a", None, 5, 10),
        ("b", None, 8, 10),
        ("c", None, 2, 10),
        ("a", "sum", 3, 6),
    ]


def test_with_a_baseline_every_other_model_is_compared_with_it(files):
    report = compare(files, ["a", "b", "c"], "b", Gate(test="midp"))
    assert [(c.baseline, c.model, c.result.lift) for c in report.comparisons] == [("b", "a", -0.3), ("b", "c", -0.6)]
    assert report.comparisons[1].p == mcnemar(6, 0).midp


def test_an_item_that_one_model_has_no_judgement_of_is_left_out_for_all(files):
    rows = rows_of(files[2])
    rows[0]["success"] = None
    write(files[2], rows)
    report = compare(files, ["a", "b", "c"], None, Gate())
    assert (report.n, report.missing) == (9, 1)
    assert [r.successes for r in report.rates if r.type is None] == [4, 7, 2]
    assert report.unjudged == {"a": 0, "b": 0, "c": 1}
    assert "1 item is left out" in compare_text.summary(report)
    assert "(c 1). They are of one model alone" in compare_text.summary(report)
    write(files[0], [row | {"success": None} if row["id"] == "q1" else row for row in rows_of(files[0])])
    text = compare_text.summary(compare(files, ["a", "b", "c"], None, Gate()))
    assert "2 items are left out" in text and "(a 1, c 1).\n" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], r"c\.jsonl lacks 1 items \(q0\) of .*a\.jsonl"),
        (lambda rows: [*rows, {"id": "q77", "success": True}], r"c\.jsonl has 1 items \(q77\) that .*a\.jsonl lacks"),
        (lambda rows: [*rows, rows[3]], r"c\.jsonl.*q3"),
        (lambda rows: [{**rows[0], "type": "text"}, *rows[1:]], r"item q0, field type: sum and text"),
        (lambda rows: [{"id": "q0"}, *rows[1:]], r"c\.jsonl.*success"),
        (
            lambda rows: [{k: v for k, v in row.items() if k != "success" or row["id"] != "q3"} for row in rows],
            r"c\.jsonl, row 4, field success: is missing; must be true, false or null",
        ),
    ],
)
def test_files_that_do_not_fit_together_are_an_error_that_names_the_items(files, change, message):
    write(files[2], change(rows_of(files[2])))
    with pytest.raises(DataError, match=message):
        compare(files, ["a", "b", "c"], None, Gate())


@pytest.mark.parametrize(
    ("names", "baseline", "message"),
    [
        (["a", "b"], None, "2 names for 3 files"),
        (["a", "b", "a"], None, "more than one model is called a"),
        (["a", "", "c"], None, "empty name"),
        (["a", "b", "c"], "d", "no model is called 'd'.*one of a, b, c"),
    ],
)
def test_names_that_do_not_tell_the_models_apart_are_an_error(files, names, baseline, message):
    with pytest.raises(DataError, match=message):
        compare(files, names, baseline, Gate())


def test_cochrans_q_of_two_models_is_mcnemars_uncorrected_test():
    first, second = [True] * 9 + [False] * 30, [True] * 3 + [False] * 6 + [True] * 16 + [False] * 14
    test = mcnemar(6, 16)
    assert cochran_q([first, second]) == pytest.approx((test.chi2, test.asymptotic))


def test_cochrans_q_is_the_textbook_sum_and_nothing_is_divided_by_where_all_agree():
    outcomes = [[mark == "1" for mark in marks] for marks in OUTCOMES.values()]
    totals, by_item = [sum(model) for model in outcomes], [sum(item) for item in zip(*outcomes, strict=True)]
    k, n = len(totals), sum(totals)
    q = (k - 1) * (k * sum(t * t for t in totals) - n * n) / (k * n - sum(t * t for t in by_item))
    assert cochran_q(outcomes)[0] == pytest.approx(q)
    assert cochran_q([[True, False]] * 3) == (0, 1)
    assert cochran_q([[], [], []]) == (0, 1)


def test_items_of_one_group_are_no_independent_evidence(tmp_path):
    """Sixty won items of three texts: McNemar is certain, three texts that differ are not."""
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, won in zip(paths, (0, 1), strict=True):
        rows = [{"id": f"{k}", "group": f"text {k // 20}", "success": bool(won) and k < 40} for k in range(60)]
        write(path, rows)
    report = compare(paths, ["a", "b"], None, Gate())
    (comparison,) = report.comparisons
    assert comparison.result.p_exact < 1e-9 and comparison.result.clusters == 3
    assert comparison.p == comparison.p_adjusted == comparison.result.cluster_p == 0.5
    assert compare_text.finding(comparison, report) == "not shown"
    assert "form 3 clusters" in compare_text.summary(report)
    page = compare_html.page(report, compare_html.differences(report))
    assert "by cluster" in page and "0.0 to +100.0" in page


def test_one_question_under_many_ids_is_no_independent_evidence(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, won in zip(paths, (0, 1), strict=True):
        rows = [{"id": k, "instruction": f"q{k // 20}", "success": bool(won) and k < 40} for k in range(60)]
        write(path, rows)
    report = compare(paths, ["a", "b"], None, Gate())
    assert (report.comparisons[0].result.clusters, report.comparisons[0].p, report.repeated) == (3, 0.5, 60)
    assert "60 items without a group ask the same question as another one" in compare_text.summary(report)


def test_a_difference_in_few_clusters_is_not_shown_however_many_items_they_have(tmp_path):
    """Six texts of fifty items, all decided for b: both directions of that come about by chance in one of 32 cases."""
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path, won in zip(paths, (0, 1), strict=True):
        rows = [{"id": f"{k}", "group": f"text {k // 50}", "success": bool(won) and k % 10 > 0} for k in range(300)]
        write(path, rows)
    (comparison,) = (report := compare(paths, ["a", "b"], None, Gate())).comparisons
    assert comparison.result.cluster_interval[0] > 0 and comparison.result.p_exact < 1e-50
    assert comparison.p == pytest.approx(1 / 32)
    assert compare_text.finding(comparison, report) == "not shown"


def test_the_command_writes_json_text_and_page_and_leaves_with_0(files, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["compare", *map(str, files), "--names", "x, y,z", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "z" in done.output and "0 of 3 comparisons" in done.output
    assert {path.name for path in out.iterdir()} == {"compare.json", "compare.txt", "compare.html"}
    facts = json.loads((out / "compare.json").read_text("utf-8"))
    assert facts["models"] == ["x", "y", "z"] and len(facts["comparisons"]) == 3


def test_test_and_level_come_from_a_specification_that_holds_evaluation_alone(files, tmp_path):
    spec, out = tmp_path / "spec.yaml", tmp_path / "out"
    spec.write_text("evaluation:\n  scorers: {}\n  gate: {alpha: 0.05, test: midp}\n", "utf-8")
    done = CliRunner().invoke(app, ["compare", *map(str, files), "--spec", str(spec), "--out", str(out)])
    assert done.exit_code == 0, done.output
    facts = json.loads((out / "compare.json").read_text("utf-8"))
    assert (facts["alpha"], facts["test"]) == (0.05, "midp")


@pytest.mark.slow
def test_experiments_are_compared_by_their_stored_gate_reports(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_PIPELINE_STORE", str(tmp_path / "store"))
    store = Store(tmp_path / "store")

    def outputs(name, right):
        path = tmp_path / f"{name}.jsonl"
        rows = [
            {"id": k, "type": "sum", "instruction": f"What is {k}?", "output": "x", "success": k % 5 < right}
            for k in range(60)
        ]
        write(path, rows)
        return path

    for name, right in (("tiny", 3), ("mine", 4)):
        made = decide_outputs(
            outputs("base", 1), outputs(name, right), None, Evaluation(scorers={}), tmp_path, store.new_folder()
        )
        store.put("gate_report", name, made)
    out = tmp_path / "out"
    command = ["compare", "tiny:base", "tiny", "mine", "--baseline", "tiny:base", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    facts = json.loads((out / "compare.json").read_text("utf-8"))
    assert {r["model"]: r["successes"] for r in facts["rates"]} == {"tiny:base": 12, "tiny": 36, "mine": 48}
    items = store.get("gate_report", "mine", GateReport).path("items.parquet")
    for second in (
        f"{items}:base",
        str(items),
        str(tmp_path / "mine.jsonl"),
    ):  # sources of all kinds stand side by side
        assert CliRunner().invoke(app, ["compare", "tiny", second]).exit_code == 0
    missing = CliRunner().invoke(app, ["compare", "tiny", "nobody"])
    assert missing.exit_code == 2 and "gate_report of experiment nobody was never materialized" in missing.output
    for name in ("no.xlsx", "no.jsonl.zst", "no.eval"):
        assert "there is no such file" in CliRunner().invoke(app, ["compare", "tiny", name]).output
    wrong = store.get("gate_report", "mine", GateReport).root / "no.parquet"
    pq.write_table(pa.table({"id": ["a"]}), wrong)
    refused = CliRunner().invoke(app, ["compare", "tiny", str(wrong)])
    assert refused.exit_code == 2 and "field output: is missing" in refused.output


@pytest.mark.parametrize("change", ["one file", "not JSON", "no such file", "no such baseline"])
def test_the_command_leaves_with_2_and_a_message_on_unusable_input(files, change):
    arguments = [str(path) for path in files]
    if change == "one file":
        arguments = arguments[:1]
    elif change == "not JSON":
        files[1].write_text("{", "utf-8")
    elif change == "no such file":
        files[1].unlink()
    else:
        arguments += ["--baseline", "q"]
    done = CliRunner().invoke(app, ["compare", *arguments])
    assert done.exit_code == 2
    assert "error:" in done.output and "Traceback" not in done.output


def test_a_name_with_markup_or_a_formula_stays_text(files):
    evil = "<script>alert(1)</script>$\\frac{"
    report = compare(files, ["a", evil, "c"], None, Gate())
    picture = compare_html.differences(report)
    page = compare_html.page(report, picture)
    assert picture.startswith(b"\x89PNG")
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page


def test_a_type_that_commands_the_terminal_or_breaks_a_line_does_neither(files):
    for path in files:
        write(path, [row | {"type": "\x1b[31m\nrates" if row["type"] == "text" else "sum"} for row in rows_of(path)])
    text = compare_text.summary(compare(files, ["a", "b", "c"], None, Gate()))
    assert "\x1b" not in text and "type ⟨U+001B⟩[31m rates\n" in text


@pytest.mark.real_data
def test_the_four_judged_gsm8k_models_compare_as_published(real_data, tmp_path):
    lines = (real_data / "gsm8k" / "example_model_solutions.jsonl").read_text("utf-8").splitlines()
    names = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"]
    paths = [tmp_path / f"{name}.jsonl" for name in names]
    for name, path in zip(names, paths, strict=True):
        write(path, [{"id": str(k), "success": json.loads(line)[name]["is_correct"]} for k, line in enumerate(lines)])
    report = compare(paths, names, None, Gate())
    assert [rate.successes for rate in report.rates] == [286, 515, 458, 742]
    found = {(c.baseline, c.model): c for c in report.comparisons}
    better, worse = found[names[0], names[1]], found[names[1], names[2]]
    assert (better.result.lost, better.result.won) == (64, 293) and better.p == pytest.approx(3.93e-36, rel=2e-3)
    assert (worse.result.lost, worse.result.won) == (209, 152) and worse.p == pytest.approx(0.00315, rel=2e-3)
    assert worse.p_adjusted == worse.p  # the largest of the six
    assert [compare_text.finding(c, report) for c in (better, worse)] == ["better", "worse"]

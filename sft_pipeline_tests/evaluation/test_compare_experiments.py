"""Experiments side by side: what differs, what is missing, and their answers in pairs on common items alone."""

import json

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from sft_pipeline.artifacts import AdapterSnapshot, GateReport, SeriesPoint, SeriesReport, TrainingPlan
from sft_pipeline.cli import app
from sft_pipeline.dataset.table import write_table
from sft_pipeline.evaluation.compare_experiments import compare, differences
from sft_pipeline.evaluation.statistics.paired import holm, paired
from sft_pipeline.experiment import Experiment
from sft_pipeline.provenance.store import Store
from sft_pipeline.report.compare import experiments as report
from sft_pipeline_tests.browser import CUT, browser_page, violations
from sft_pipeline_tests.conftest import TOY

PLAN = {
    "train_rows": 800,
    "warmup_steps": 2,
    "coverage": 1.0,
    "learning_rates": (0.0, 1e-3),
    "tokens_per_epoch": 9,
    "padding_share": 0,
}

SCHEMA = pa.schema(
    [*((name, pa.string()) for name in ("id", "type", "instruction", "cluster")), ("sft_success", pa.bool_())]
)


@pytest.fixture
def project(toy_project):
    """Experiments `a`, `b` and `c` beside `toy`; what they have is for the tests to store."""
    for name, text in {
        "a": "",
        "b": "training: {learning_rate: 1e-3}\nmodel: {quantization: nf4}",
        "c": "prompt: {template: 'Q {instruction}'}",
    }.items():
        (toy_project / "specs" / f"{name}.yaml").write_text(f"extends: toy\ndescription: {name}\n{text}\n")
    return toy_project


@pytest.fixture
def put(project):
    """Stores plan, adapter and gate report of an experiment: success of its fine-tuned model by item, losses, batch."""
    store = Store(project / "store")

    def store_it(name, success, losses=(3.0, 2.0, 1.5), batch=16, alpha=0.01, clusters=None):
        out = store.new_folder("plan-")
        plan = TrainingPlan.finalize(
            out,
            effective_batch=batch,
            steps=len(losses) * 10,
            trainable_parameters=5,
            total_parameters=9,
            memory_bytes={},
            **PLAN,
        )
        store.put("training_plan", name, plan)
        out = store.new_folder("adapter-")
        rows = [{"step": 10 * k, "epoch": 10 * k * batch / 800, "loss": loss} for k, loss in enumerate(losses, 1)]
        rows.append({"step": 20, "epoch": 20 * batch / 800, "eval_loss": losses[-1] + 0.1})
        (out / "log_history.json").write_text(json.dumps(rows))
        fields = {
            "steps": 30,
            "step": 30,
            "epochs": 1.0,
            "trainable_parameters": 5,
            "loss_first": losses[0],
            "loss_last": losses[-1],
        }
        store.put("lora_adapter", name, AdapterSnapshot.finalize(out, **fields))
        out = store.new_folder("gate-")
        judged = [
            {"id": id, "type": "all", "instruction": id, "sft_success": hit, "cluster": (clusters or {}).get(id)}
            for id, hit in success.items()
        ]
        write_table(judged, SCHEMA, out / "items.parquet")
        hits = [bool(hit) for hit in success.values()]
        overall = paired("all", [False] * len(hits), hits)
        gate = {"types": (), "protected": (), "reasons": (), "test": "exact", "alpha": alpha}
        store.put("gate_report", name, GateReport.finalize(out, verdict="pass", overall=overall, **gate))
        return store

    return store_it


def hits(n, every, start=0):
    return {f"item {k}": k % every == 0 for k in range(start, start + n)}


def test_pairs_are_made_on_common_items_alone_and_adjusted_together(put):
    put("a", hits(200, 5))
    put("b", hits(200, 2, start=50), alpha=0.001)
    store = put("c", hits(200, 5) | {"item 7": None})
    made = compare(store, ["a", "b", "c"])
    found = {(c.baseline, c.model): c for c in made.comparisons}
    common = [f"item {k}" for k in range(50, 200)]
    a, b = ([rows[id] for id in common] for rows in (hits(200, 5), hits(200, 2, start=50)))
    assert found["a", "b"].result == paired("b − a", a, b)
    assert found["a", "c"].result.n == 199 and found["a", "c"].result.won == found["a", "c"].result.lost == 0
    assert [c.p_adjusted for c in made.comparisons] == holm([c.p for c in made.comparisons])
    assert made.alpha == 0.001 and any("different tests or levels" in note for note in made.notes)
    assert any("a and b have 150 judged items in common" in note for note in made.notes)
    assert report.headline(made).endswith("b better than a; c worse than b")


def test_items_that_share_a_cluster_are_no_more_than_one_observation(put):
    one = {f"item {k}": "the same question" for k in range(200)}
    put("a", dict.fromkeys(one, False), clusters=one)
    store = put("b", dict.fromkeys(one, True), clusters=one)
    (pair,) = compare(store, ["a", "b"]).comparisons
    assert pair.result.clusters == 1 and pair.p == 1.0 and pair.result.p_exact < 1e-50


def test_two_experiments_without_a_common_item_are_said_to_have_none_and_the_rest_is_shown(put):
    put("a", hits(100, 5))
    store = put("b", hits(100, 2, start=100), losses=(2.5, 2.4), batch=32)
    made = compare(store, ["a", "b"])
    assert made.comparisons == () and "no common item: 100 and 100 items were judged" in made.apart["a, b"]
    text = report.summary(made)
    assert "no two of them have judged items in common" in text and "not compared: a, b: no common item" in text
    assert "training.learning_rate" in text and "20.0 %" in text and "50.0 %" in text
    assert made.axis == "rows"  # a step is 16 rows in one and 32 in the other
    assert [x for x, _ in made.experiments[1].curves["training loss"]] == [320.0, 640.0]
    assert made.experiments[0].curves["dev loss"] == ((320.0, 1.6),)


def test_a_checkpoint_between_two_records_of_the_log_lies_at_its_rows(put):
    put("a", hits(100, 5))
    store = put("b", hits(100, 2), batch=32)
    point = SeriesPoint(step=15, n=4, successes=1, low=0.0, high=1.0)
    series = SeriesReport.finalize(store.new_folder("series-"), split="dev", rule="most_successes", points=(point,))
    store.put("checkpoint_series", "b", series)
    assert compare(store, ["a", "b"]).experiments[1].series == ((480.0, 0.25, 4),)


def test_what_is_missing_or_damaged_is_said(put, project):
    store = put("a", hits(100, 5))
    (project / "specs" / "plan.yaml").write_text(
        "extends: toy\nplan_only: true\ndata: {expected: {train_rows: 9, mean_tokens: 9}}\n"
    )
    put("b", hits(100, 4))
    (items,) = store.get("gate_report", "b", GateReport).root.glob("items.parquet")
    items.chmod(0o644)
    items.write_bytes(b"other")
    made = compare(store, ["a", "plan", "c", "b"])
    a, plan, c, b = (" ".join(e.problems) for e in made.experiments)
    assert a == "not made: training_report, checkpoint_series" and "plan alone" in plan and "gate_report" in c
    assert "items.parquet" in b and made.apart["a, b"] == "no judged answers of b"


@pytest.mark.parametrize(
    ("names", "message"), [(["a"], "two experiments"), (["a", "a"], "each once"), (["a", "nothing"], "nothing")]
)
def test_names_that_cannot_be_compared_are_refused(project, names, message):
    done = CliRunner().invoke(app, ["compare-experiments", *names])
    assert done.exit_code == 2 and message in done.output


def test_differences_are_those_of_the_whole_specifications_by_path(project):
    import yaml

    toy = yaml.safe_load(TOY.replace("2e-2", "0.02"))
    other = json.loads(json.dumps(toy))
    other["training"]["lora"] = {"target_modules": ["q_proj"]}
    other["data"]["source"] = {"kind": "file", "path": "x.jsonl"}
    other["description"] = "another"
    both = {name: Experiment.model_validate_json(json.dumps(d)) for name, d in {"x": toy, "y": other}.items()}
    found = {d.path: d.values for d in differences(both)}
    assert found["training.lora.target_modules"] == {"x": "all-linear", "y": ["q_proj"]}
    assert found["data.source.kind"] == {"x": "embedded", "y": "file"} and found["data.source.path"] == {"y": "x.jsonl"}
    assert all(path.startswith(("data.source.", "training.lora.target_modules")) for path in found)


@pytest.mark.slow
def test_the_page_is_whole_in_a_browser_and_links_to_each_experiment(put, project, tmp_path, chromium):
    put("a", hits(100, 5))
    put("b", hits(100, 2), batch=32)
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["compare-experiments", "a", "b", "c", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} == {
        "a.html",
        "b.html",
        "c.html",
        *(f"compare-experiments.{s}" for s in ("json", "txt", "html")),
    }
    assert json.loads((out / "compare-experiments.json").read_text())["comparisons"][0]["result"]["n"] == 100
    for width, scheme in ((1400, "light"), (390, "dark")):
        with browser_page(
            chromium, bypass_csp=True, viewport={"width": width, "height": 900}, color_scheme=scheme
        ) as page:
            page.goto((out / "compare-experiments.html").as_uri())
            assert page.evaluate(CUT) == []
            assert violations(page) == []
            assert {link.get_attribute("href") for link in page.locator(".lineage a").all()} == {
                "a.html",
                "b.html",
                "c.html",
            }

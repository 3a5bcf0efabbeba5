"""The capability report: what it says, what it compares with, what blocks a release."""

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from sft_pipeline.artifacts import CapabilityReport
from sft_pipeline.capabilities import comparison, measure
from sft_pipeline.capabilities.baseline import Baseline
from sft_pipeline.capabilities.write_report import schema
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError
from sft_pipeline.evaluation.statistics.paired import tango
from sft_pipeline.experiment import Capabilities
from sft_pipeline.report.capabilities import text


@pytest.fixture(scope="module")
def world(base, adapter, experiment_of, tmp_path_factory):
    """Base and random adapter on facts of the embedded world, which the base knows and the adapter destroys."""
    folder = tmp_path_factory.mktemp("world")
    spec = experiment_of(benchmarks={"world": {"world_seed": 7, "limit": 60}})
    (folder / "out").mkdir()
    return measure.report(spec, base, adapter, None, folder, folder, folder / "out")


@pytest.mark.slow
def test_a_destroyed_skill_is_a_regression_that_blocks(world):
    (result,) = world.results
    assert world.verdict == result.verdict == "regressed"
    assert result.base.successes == 60 and result.base.mean == 1.0
    assert result.lost == 60 - result.sft.successes and result.won == 0 and result.p_adjusted < 1e-6
    assert world.problems == (f"world regressed: {measure._loss(result)}",)
    assert result.n == 60 and result.available == 240


def test_the_files_of_a_report_say_the_same(world):
    figures = json.loads(world.path("capabilities.json").read_text())
    Draft202012Validator(json.loads(schema())).validate(figures)
    assert figures["results"][0]["lost"] == world.results[0].lost
    rows = read_table(world.path("items.parquet"))
    assert sum(row["base_score"] for row in rows) == 60 and len({row["doc_hash"] for row in rows}) == 60
    page = world.path("capabilities.html").read_text()
    assert page.startswith("<!doctype html>") and "<script" not in page and "regressed" in page
    assert "world regressed: " in world.path("capabilities.txt").read_text()
    again = CapabilityReport.finalize(world.root, **world.model_dump(exclude={"root", "files"}))
    assert again.digest == world.digest


@pytest.mark.slow
def test_the_same_measurement_gives_the_same_report(world, base, adapter, experiment_of, tmp_path):
    spec = experiment_of(benchmarks={"world": {"world_seed": 7, "limit": 60}})
    (tmp_path / "out").mkdir()
    assert measure.report(spec, base, adapter, None, tmp_path, tmp_path, tmp_path / "out").digest == world.digest


@pytest.mark.slow
def test_a_later_model_is_compared_with_a_baseline_item_by_item(world, base, experiment_of, tmp_path):
    written = world.path(CapabilityReport.BASELINE)
    assert json.loads(written.read_text())["metrics"] == {"world": round(100 * world.results[0].sft.mean, 2)}

    def later(**fields):
        spec = experiment_of(benchmarks={"world": {"world_seed": 7, "limit": 60, **fields}}, baseline=str(written))
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        (out / "out").mkdir(parents=True)
        return measure.report(spec, base, None, None, out, out, out / "out")

    made = later()
    (result,) = made.results
    assert made.compared_with == str(written) and made.verdict == "held"
    assert (result.base, result.won, result.lost) == (world.results[0].sft, world.results[0].lost, 0)
    with pytest.raises(DataError, match="baseline's world was measured otherwise: docs, prompts, targets differ"):
        later(limit=59)
    written = tmp_path / "flat.json"
    written.write_text('{"mmlu": 45.2, "hellaswag": 72.4}')
    with pytest.raises(DataError, match="no baseline_metrics.json of a capability report"):
        later()


def _one(name, task, scores):
    facts = {"name": name, "benchmark": name, "task": task, "version": "1", "metric": "acc", "filter": "none"}
    return comparison.Measured({**facts, "shots": 0, "available": len(scores)}, 0.05, scores, scores, {})


def judged(base, sft, margin=0.05, alpha=0.05):
    facts = {"name": "b", "benchmark": "b", "task": "b", "version": "1", "metric": "acc", "filter": "none", "shots": 0}
    hashes = dict.fromkeys(("doc", "prompt", "target"), "")
    one = comparison.Measured({**facts, "available": len(base)}, margin, base, sft, hashes)
    (result,) = comparison.compare([one], Capabilities(alpha=alpha))
    return result


def binary(lost, won, both, neither=0):
    base = [1.0] * (lost + both) + [0.0] * (won + neither)
    return base, [0.0] * lost + [1.0] * (both + won) + [0.0] * neither


def test_a_figure_outside_the_usual_range_is_noted_by_its_task_whatever_its_name():
    (high,) = comparison.compare([_one("knowledge", "mmlu", [1.0] * 90 + [0.0] * 10)], Capabilities())
    (note,) = measure._unusual([high])
    assert note.startswith("knowledge: 90.0 % and 90.0 %; usual are 30 to 70 %.")
    for name, task, successes in (("knowledge", "mmlu", 50), ("mmlu", "own.yaml", 90)):
        (other,) = comparison.compare([_one(name, task, [1.0] * successes + [0.0] * (100 - successes))], Capabilities())
        assert measure._unusual([other]) == []


def test_verdicts_of_rates():
    # specs/capabilities.md: HumanEval's items show a loss below 2.3 points where nothing changed, below 5.2 with 8 and 8.
    assert judged(*binary(0, 0, 64, 100), margin=0.023).verdict == "held"
    assert judged(*binary(0, 0, 64, 100), margin=0.0228).verdict == "undecided"
    assert judged(*binary(8, 8, 48, 100), margin=0.0521).verdict == "held"
    assert judged(*binary(8, 8, 48, 100), margin=0.052).verdict == "undecided"
    assert judged(*binary(20, 2, 100, 42)).verdict == "regressed"
    small = judged(*binary(60, 20, 9000, 962), margin=0.05)
    assert small.verdict == "regressed" and small.difference_interval[0] > -0.05  # shown, though within the margin


def test_items_that_would_decide_do():
    result = judged(*binary(3, 1, 60, 36))
    assert result.verdict == "undecided" and result.items_to_decide > 100
    n = result.items_to_decide
    assert tango(0.03 * n, 0.01 * n, n)[0] > -0.05 >= tango(0.03 * (n - 1), 0.01 * (n - 1), n - 1)[0]
    assert judged(*binary(6, 1, 57, 36)).items_to_decide is None  # the loss as observed reaches the margin


def test_holm_is_over_the_deciding_metrics():
    facts = {
        "benchmark": "b",
        "task": "b",
        "version": "1",
        "metric": "acc",
        "filter": "none",
        "shots": 0,
        "available": 164,
    }
    base, sft = binary(14, 4, 50, 96)
    made = [
        comparison.Measured({**facts, "name": str(k)}, margin, base, sft, {})
        for k, margin in enumerate((0.5, 0.5, 0.5, None))
    ]
    results = comparison.compare(made, Capabilities())
    assert [r.p_adjusted for r in results] == [pytest.approx(min(1, 3 * results[0].p))] * 3 + [None]
    assert results[0].p < 0.05 and results[0].verdict == "held" and results[3].verdict is None


def test_perplexity_over_its_limit_blocks_and_one_model_is_not_compared():
    spec = Capabilities(max_perplexity=20.0)
    found = measure._perplexity({"base": (3, 9, 4.0), "sft": (3, 9, 3.0)}, None, 20.0)
    assert not found.within and found.sft == pytest.approx(20.0855, abs=1e-3)
    made = measure._judged((), found, spec, True)
    assert made["verdict"] == "regressed" and "above its limit of 20" in made["problems"][0]
    assert measure._judged((), found, spec.model_copy(update={"blocking": "none"}), True)["problems"] == ()
    alone = measure._judged((), measure._perplexity({"base": (3, 9, 2.0)}, None, 20.0), spec, False)
    assert alone == {"verdict": None, "problems": ()}


def test_a_baseline_without_perplexity_lends_the_base_none():
    baseline = Baseline(metrics={}, results={})
    found = measure._perplexity({"sft": (3, 9, 2.0)}, baseline, 20.0)
    assert found.base is None and found.judged == found.sft and found.within
    report = CapabilityReport(root=Path(), verdict=None, results=(), alpha=0.05, blocking="none", perplexity=found)
    assert text.perplexity(report) == "7.389, within the limit of 20 (3 rows, 9 tokens)"
    found = measure._perplexity({"sft": (3, 9, 2.0)}, baseline.model_copy(update={"perplexity": 5.0}), 20.0)
    assert text.perplexity(report.model_copy(update={"perplexity": found})).startswith("5 → 7.389,")


def test_without_a_declaration_nothing_is_measured_and_that_is_said(base, experiment_of, tmp_path):
    spec = experiment_of()
    evaluation = spec.evaluation.model_copy(update={"capabilities": None})
    made = measure.report(
        spec.model_copy(update={"evaluation": evaluation}), base, None, None, tmp_path, tmp_path, tmp_path
    )
    assert (made.verdict, made.results, made.problems) == (None, (), ()) and "nothing was measured" in made.notes[0]


@pytest.mark.slow
def test_verdicts_of_scores():
    rng = np.random.default_rng(3)
    base = rng.beta(2, 2, 200).tolist()
    lower = np.clip(np.array(base) - 0.2 + rng.normal(0, 0.05, 200), 0, 1).tolist()
    assert judged(base, lower).verdict == "regressed" and judged(lower, base).verdict == "held"
    noisy = judged(base[:60], np.clip(np.array(base[:60]) - 0.03 + rng.normal(0, 0.2, 60), 0, 1).tolist())
    assert noisy.verdict == "undecided" and noisy.items_to_decide > 60 and noisy.lost is None
    few = judged([0.5] * 5, [0.5] * 5)  # equal scores of a few items rule out no loss
    assert few.verdict == "undecided" and few.difference_interval == tango(0, 0, 5)

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sft_pipeline.artifacts import GateReport, ReviewRequest
from sft_pipeline.cli import app
from sft_pipeline.evaluation.statistics.paired import from_counts
from sft_pipeline.experiment import Review
from sft_pipeline.provenance.store import Store
from sft_pipeline.review.make import make
from sft_pipeline.review.returned import read_key
from sft_pipeline_tests.review import simulated


def run(*arguments):
    return CliRunner().invoke(app, ["review", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def small(tmp_path):
    rows, truth = simulated.rows(simulated.rng(3), 60)
    (tmp_path / "request").mkdir()
    return (
        make(rows, Review(returned="x", items_per_rater=20), "small", tmp_path / "request"),
        tmp_path / "request",
        truth,
    )


@pytest.fixture
def files(tmp_path):
    rows, truth = simulated.rows(simulated.rng(2), 60)
    for name, field in (("b", "base"), ("s", "sft")):
        lines = [{"id": r["id"], "output": r[f"{field}_output"], "success": r[f"{field}_success"]} for r in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path, truth


@pytest.mark.slow
def test_make_and_read(files):
    folder, truth = files
    out = folder / "review"
    made = run(
        "make",
        "--base",
        folder / "b.jsonl",
        "--sft",
        folder / "s.jsonl",
        "--out",
        out,
        "--raters",
        3,
        "--items-per-rater",
        40,
    )
    assert made.exit_code == 0, made.output
    assert "rater-3: 40 pairs" in made.output
    key = read_key(out / "key.json")
    assert {"won", "lost", "same"} <= key.population.keys()
    for rater in key.tasks:
        simulated.save(key, rater, simulated.answers(key, rater, truth, simulated.rng(1)), out / "returned")
    read = run("read", out, "--out", folder / "results")
    assert read.exit_code == 0, read.output
    assert "Krippendorff's alpha 1.00" in read.output and "sign test p" in read.output
    assert {p.name for p in (folder / "results").iterdir()} == {
        "labels.jsonl",
        "disagreements.jsonl",
        "review.json",
        "review.txt",
    }
    without = run("read", out, "--without", "rater-2")
    assert without.exit_code == 0 and "rater-2.json: left out as asked" in without.output
    (out / "returned" / "broken.json").write_text("{")
    again = run("read", out)
    assert again.exit_code == 1 and "not used: broken.json" in again.output
    assert run("read", out, "--without", "rater-9").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name an experiment, or give --base and --sft"),
        (("--base", "b.jsonl"), "name an experiment"),
        (("tiny", "--base", "b.jsonl", "--sft", "s.jsonl"), "name an experiment"),
        (("--base", "b.jsonl", "--sft", "none.jsonl"), "there is no such file"),
        (("--base", "b.jsonl", "--sft", "short.jsonl"), "ids are missing"),
        (("--base", "b.jsonl", "--sft", "b.jsonl"), "people have nothing to compare"),
    ],
)
def test_what_cannot_be_made_says_why(files, monkeypatch, arguments, said):
    folder, _ = files
    monkeypatch.chdir(folder)
    (folder / "short.jsonl").write_text("\n".join((folder / "s.jsonl").read_text().splitlines()[:-1]) + "\n")
    made = run("make", *arguments, "--out", folder / "review")
    assert made.exit_code == 2 and said in made.output.replace("\n", " ")
    assert not (folder / "review").exists()


def test_an_experiment_gives_its_stored_answers_or_the_request_that_it_declares(toy_project, small, tmp_path):
    made = run("make", "toy", "--out", tmp_path / "none")
    assert made.exit_code == 2 and "gate_report of experiment toy was never materialized" in made.output
    store = Store(toy_project / "store")
    judged = store.new_folder()
    pq.write_table(pa.Table.from_pylist(simulated.rows(simulated.rng(3), 60)[0]), judged / "items.parquet")
    verdict = {"verdict": "pass", "overall": from_counts("all", 20, 5, 15, 20), "test": "exact", "alpha": 0.01}
    store.put("gate_report", "toy", GateReport.finalize(judged, **verdict, types=(), protected=(), reasons=()))
    made = run("make", "toy", "--raters", 1, "--items-per-rater", 12, "--out", tmp_path / "undeclared")
    assert made.exit_code == 0 and "rater-1: 12 pairs" in made.output
    assert sum(read_key(tmp_path / "undeclared" / "key.json").population.values()) == 60
    specification = toy_project / "specs" / "toy.yaml"
    specification.write_text(specification.read_text() + "  review: {returned: back, items_per_rater: 20}\n")
    key, folder, _ = small
    fields = {"request": key.request, "tasks": {"rater-1": 20, "rater-2": 20}}
    copied = store.new_folder()
    shutil.copytree(folder, copied, dirs_exist_ok=True)
    store.put("review_request", "toy", ReviewRequest.finalize(copied, **fields))
    made = run("make", "toy", "--out", tmp_path / "review")
    assert made.exit_code == 0 and "rater-2: 20 pairs" in made.output
    assert read_key(tmp_path / "review" / "key.json") == key
    assert (tmp_path / "review" / "pages" / "rater-1.html").is_file()
    refused = run("make", "toy", "--raters", 3, "--out", tmp_path / "other")
    assert refused.exit_code == 2 and "toy declares its review" in refused.output


def test_the_guide_comes_from_the_specification(files):
    folder, _ = files
    spec = folder / "e.yaml"
    spec.write_text("evaluation: {scorers: {}, review: {returned: r, guide: Mind the commas., items_per_rater: 12}}\n")
    made = run(
        "make", "--base", folder / "b.jsonl", "--sft", folder / "s.jsonl", "--spec", spec, "--out", folder / "out"
    )
    assert made.exit_code == 0, made.output
    page = (folder / "out" / "pages" / "rater-2.html").read_text()
    assert "Mind the commas." in page and "Pair 12 of 12" in page


def test_a_folder_without_a_key_is_no_review(tmp_path):
    for command in ("read", "serve"):
        assert "is no key of a review" in run(command, tmp_path).output

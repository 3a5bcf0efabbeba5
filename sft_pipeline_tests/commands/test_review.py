import json

import pytest
from typer.testing import CliRunner

from sft_pipeline.cli import app
from sft_pipeline.review.returned import read_key
from sft_pipeline_tests.review import simulated


def run(*arguments):
    return CliRunner().invoke(app, ["review", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def files(tmp_path):
    rows, truth = simulated.rows(simulated.rng(2), 60)
    for name, field in (("b", "base"), ("s", "sft")):
        lines = [{"id": r["id"], "output": r[f"{field}_output"], "success": r[f"{field}_success"]} for r in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path, truth


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
    assert "Krippendorff's alpha 1.00" in read.output and "people prefer the fine-tuned model" in read.output
    assert {p.name for p in (folder / "results").iterdir()} == {
        "labels.jsonl",
        "disagreements.jsonl",
        "review.json",
        "review.txt",
    }
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


def test_a_folder_without_a_key_is_no_review(tmp_path):
    for command in ("read", "serve"):
        assert "is no key of a review" in run(command, tmp_path).output

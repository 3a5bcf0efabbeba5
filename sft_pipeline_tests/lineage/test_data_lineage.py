"""From files to splits: what a specification declares beside its data takes part, and the commands give the same bytes."""

import json

import pytest
from typer.testing import CliRunner

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.cli import app
from sft_pipeline.dataset.table import read_table
from sft_pipeline.experiment import Leakage, Quality
from sft_pipeline.lineage.assets import data
from sft_pipeline.provenance.store import Store

pytestmark = pytest.mark.slow

DATA = "raw_dataset,base_model,clean_dataset,train_split,dev_split,test_split"


def sums(start, stop):
    return [
        {"instruction": f"Add {n} to {n * n + 7} and tell me what comes out.", "response": f"It is {n + n * n + 7}."}
        for n in range(start, stop)
    ]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def project(toy_project):
    """The toy experiment over files: rows with faults, a test file, and a protected benchmark."""
    path = toy_project / "specs" / "toy.yaml"
    text = path.read_text()
    start, end = text.index("data:"), text.index("model:")
    data = """\
data:
  source: {kind: file, path: data/train.jsonl}
  test: {kind: file, path: data/test.jsonl}
  quality: {max_unreadable_share: 0.05, response_tokens: {most: 40}}
  split: {dev_size: 40}
  leakage:
    benchmarks: {riddles: {path: data/riddles.jsonl}}
"""
    path.write_text(text[:start] + data + text[end:])
    folder = toy_project / "data"
    folder.mkdir()
    long = {"instruction": "Count up to two hundred.", "response": " ".join(map(str, range(1, 201))) + "."}
    riddle = "What has four legs in the morning, two at noon and three in the evening, my dear friend?"
    contained = {"instruction": f"Please solve this one for me: {riddle}", "response": "A human being does."}
    rows = [*sums(0, 700), *sums(0, 5), {"instruction": "Say something.", "response": ""}, long, contained]
    write(folder / "train.jsonl", rows)
    with open(folder / "train.jsonl", "a") as stream:
        stream.write("{broken\n")
    write(folder / "test.jsonl", sums(690, 1000))
    write(folder / "riddles.jsonl", [{"question": riddle, "answer": "man"}])
    return toy_project


def test_what_is_brought_beside_the_data_takes_part_and_the_commands_give_the_same_bytes(
    project, materialize, tmp_path
):
    run = materialize(project, DATA)
    assert run.result.success, run.result.failure_data_for_node("splits")
    expected = {"unreadable_share", "kept_share", "median_response_tokens", "test_does_not_leak", "dev_does_not_leak"}
    assert expected <= set(run.checks) and all(check.passed for check in run.checks.values())
    store = Store(project / "store")
    made = {name: store.get(name, "toy", InstructionDataset) for name in DATA.split(",") if name != "base_model"}
    assert made["raw_dataset"].rejected == {"unreadable": 1}
    assert made["clean_dataset"].rejected == {"empty": 1, "exact_duplicate": 5, "token_bounds": 1}
    assert made["test_split"].rows == 310
    away = {name: made[name].rejected for name in ("train_split", "dev_split")}
    assert sum(found.get("leaks_into_test", 0) for found in away.values()) == 10
    assert sum(found.get("benchmark:riddles", 0) for found in away.values()) == 1
    gone = [row for name in away for row in read_table(made[name].path("rejected.parquet"))]
    assert any("four legs in the morning" in row["matched"].lower() for row in gone)
    assert "riddles" in " ".join(made["raw_dataset"].notes)
    report = run.made["clean_dataset"].metadata
    assert {"rejected", "filters", "report.html"} <= set(report)

    def command(*arguments):
        done = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert done.exit_code == 0, done.output

    command("clean", project / "data" / "train.jsonl", "--out", tmp_path / "clean", "--spec", "toy")
    for name in ("rows.parquet", "rejected.parquet", "duplicates.parquet"):
        assert (tmp_path / "clean" / name).read_bytes() == made["clean_dataset"].path(name).read_bytes()
    assert read_table(tmp_path / "clean" / "unreadable.parquet")[0]["source_row"] == 709
    command("split", tmp_path / "clean", "--out", tmp_path / "split", "--spec", "toy")
    for side in ("train", "dev", "test"):
        for name in ("rows.parquet", "rejected.parquet", *(["leakage_proof.json"] if side != "train" else [])):
            ours = (tmp_path / "split" / side / name).read_bytes()
            assert ours == made[f"{side}_split"].path(name).read_bytes(), (side, name)
    assert (tmp_path / "split" / "croissant.json").is_file()


def test_too_many_unreadable_rows_stop_the_run_and_stay_to_be_looked_at(project, materialize):
    with open(project / "data" / "train.jsonl", "a") as stream:
        stream.write("{broken\n" * 60)
    run = materialize(project, DATA)
    assert not run.checks["unreadable_share"].passed and "clean_dataset" not in run.made
    raw = Store(project / "store").get("raw_dataset", "toy", InstructionDataset)
    assert len(read_table(raw.path(raw.REJECTED))) == 61
    # a run that starts behind the check meets the recorded state
    later = materialize(project, "clean_dataset")
    assert "could not be read" in later.failure("clean_dataset")


def test_a_filter_that_judges_by_other_weights_or_another_library_makes_another_result(tmp_path, monkeypatch):
    folder = tmp_path / "classifier"
    (folder / ".cache").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    toxic = Quality(toxicity={"classifier": "classifier", "words": False})
    languages, semantic = Quality(languages=("en",)), Leakage(semantic={"model": "classifier", "threshold": 0.8})
    packaged = Leakage(semantic={"model": "package:py3langid", "threshold": 0.8})

    def seen():
        return [
            *(data._filters(quality, tmp_path) for quality in (toxic, languages, Quality())),
            *(data._embedding(leakage, tmp_path) for leakage in (semantic, packaged, Leakage())),
        ]

    before = seen()
    assert before[2] == before[5] == {}  # nothing declared: the key is that of the specification alone
    (folder / ".cache" / "lock").write_text("downloaded")
    assert seen() == before
    (folder / "model.safetensors").write_bytes(b"others!")
    assert [old != new for old, new in zip(before, seen(), strict=True)] == [True, False, False, True, False, False]
    versions = {"py3langid": "9.9", "transformers": "9.9"}
    monkeypatch.setattr("sft_pipeline.provenance.environment.version", lambda name: versions.get(name, "1"))
    assert [old != new for old, new in zip(before, seen(), strict=True)] == [True, True, False, True, True, False]

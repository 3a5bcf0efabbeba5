"""The command: what it prints and the exit codes that scripts rely on."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from sft_pipeline.cli import app


@pytest.fixture
def run():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(a) for a in arguments])


@pytest.fixture
def rows(tmp_path):
    """Writes instruction rows as JSONL and gives the path."""

    def write(name, rows):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


def sums(start, stop):
    return [
        {"instruction": f"Add {n} to {n * n + 7} and tell me what comes out.", "response": f"It is {n + n * n + 7}."}
        for n in range(start, stop)
    ]


@pytest.mark.slow
def test_a_plan_needs_neither_data_nor_weights(run):
    done = run("plan", "stage1_qwen2.5_32b")
    assert done.exit_code == 0, done.output
    assert "1,368" in done.output and "16,777,216" in done.output


def test_a_plan_that_cannot_be_made_says_what_is_missing(run, toy_project):
    done = run("plan", "toy")
    assert done.exit_code == 2 and "data.expected" in done.output


def test_a_specification_with_a_typo_is_an_unusable_input(run, tmp_path):
    path = tmp_path / "it.yaml"
    path.write_text("descriptoin: x\n")
    done = run("plan", path)
    assert done.exit_code == 2 and "it.yaml:1" in done.output and "'description'" in done.output


def test_an_unknown_experiment_is_answered_with_the_known_ones(run):
    done = run("run", "nothing")
    assert done.exit_code == 2 and "tiny" in done.output


def test_the_experiments_are_listed_and_checked(run, toy_project):
    assert "toy" in run("specs").output
    (toy_project / "specs" / "bad.yaml").write_text("description: 3\n")
    done = run("specs")
    assert done.exit_code == 2 and "bad.yaml:1" in done.output and "toy" in done.output


def test_the_schema_is_json_schema(run):
    schema = json.loads(run("schema").output)
    assert schema["properties"]["training"] and schema["additionalProperties"] is False


@pytest.mark.slow
def test_cleaning_and_splitting_on_their_own(run, rows, tmp_path):
    dirty = [*sums(0, 700), *sums(0, 5), {"instruction": "Say something.", "response": ""}]
    done = run("clean", rows("raw.jsonl", dirty), "--out", tmp_path / "clean")
    assert done.exit_code == 0, done.output
    assert "706 rows read, 700 kept" in done.output and "empty" in done.output and "exact_duplicate" in done.output
    done = run("split", tmp_path / "clean" / "rows.parquet", "--out", tmp_path / "split")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "split" / "test" / "leakage_proof.json").exists()
    done = run("leakage", tmp_path / "split" / "train" / "rows.parquet", tmp_path / "split" / "test" / "rows.parquet")
    assert done.exit_code == 0 and "0 exact" in done.output


def test_results_never_overwrite_anything(run, rows, tmp_path):
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "precious.txt").write_text("x")
    done = run("clean", rows("raw.jsonl", sums(0, 5)), "--out", tmp_path / "clean")
    assert done.exit_code == 2 and "not an empty folder" in done.output


def test_a_leak_is_shown_and_exits_with_1(run, rows, tmp_path):
    proof = tmp_path / "proof.json"
    done = run("leakage", rows("train.jsonl", sums(0, 50)), rows("test.jsonl", sums(49, 60)), "--out", proof)
    assert done.exit_code == 1
    assert "1 exact" in done.output and "Add 49 to 2408" in done.output
    assert json.loads(proof.read_text())["exact"] == 1


@pytest.fixture
def mapped(toy_project):
    """A specification whose source has columns of its own and a limit."""

    def write(**data):
        spec = yaml.safe_load((toy_project / "specs" / "toy.yaml").read_text())
        columns = {"instruction": "q", "response": "a"}
        spec["data"]["source"] = {"kind": "file", "path": "x.jsonl", "limit": 5, "columns": columns}
        spec["data"] |= data
        path = toy_project / "specs" / "mapped.yaml"
        path.write_text(yaml.safe_dump(spec))
        return path

    return write


def renamed(rows, instruction, response):
    return [{instruction: row["instruction"], response: row["response"]} for row in rows]


def test_a_specifications_limit_hides_no_leak_and_its_mapping_is_of_the_training_rows(run, rows, mapped):
    train, test = rows("train.jsonl", renamed(sums(0, 60), "q", "a")), rows("test.jsonl", sums(50, 70))
    done = run("leakage", train, test, "--spec", mapped())
    assert done.exit_code == 1 and "20 test items against 60 training rows: 10 exact" in done.output, done.output
    brought = rows("brought.jsonl", renamed(sums(50, 70), "item", "gold"))
    spec = mapped(test={"kind": "file", "path": "y.jsonl", "limit": 3, "columns": {"instruction": "item"}})
    done = run("leakage", train, brought, "--spec", spec)
    assert done.exit_code == 1 and "20 test items against 60 training rows: 10 exact" in done.output, done.output


@pytest.mark.slow
def test_clean_rows_are_split_under_the_mapping_of_their_source(run, rows, mapped, tmp_path):
    raw = rows("raw.jsonl", renamed(sums(0, 600), "q", "a"))
    split = {"test_size": 30, "dev_size": 10, "min_test_size": 30, "smaller_test_reason": "a test"}
    spec = mapped(split=split)
    spec.write_text(spec.read_text().replace("limit: 5", "limit: 600"))
    done = run("clean", raw, "--out", tmp_path / "clean", "--spec", spec)
    assert (tmp_path / "clean" / "rows.parquet").exists(), done.output
    done = run("split", tmp_path / "clean" / "rows.parquet", "--out", tmp_path / "split", "--spec", spec)
    assert done.exit_code == 0 and "test        30 rows" in done.output, done.output


@pytest.mark.slow
def test_rows_are_split_as_long_as_no_more_are_unreadable_than_the_specification_accepts(run, rows, mapped, tmp_path):
    raw = rows("raw.jsonl", [*renamed(sums(0, 600), "q", "a"), {"q": 7}])
    split = {"test_size": 30, "dev_size": 10, "min_test_size": 30, "smaller_test_reason": "a test"}
    spec = mapped(split=split, quality={"max_unreadable_share": 0.01})
    spec.write_text(spec.read_text().replace("limit: 5", "limit: 700"))
    done = run("split", raw, "--out", tmp_path / "split", "--spec", spec)
    assert done.exit_code == 0 and "rows that could not be read" in done.output, done.output
    assert pq.read_table(tmp_path / "split" / "unreadable.parquet")["source_row"].to_pylist() == [601]
    strict = rows("strict.jsonl", [*sums(0, 600), {"instruction": 7}])
    assert run("split", strict, "--out", tmp_path / "strict").exit_code == 2


def test_downloaded_files_of_a_hub_dataset_are_read_by_its_mapping(run, rows, toy_project, tmp_path):
    path = toy_project / "specs" / "hub.yaml"
    spec = yaml.safe_load((toy_project / "specs" / "toy.yaml").read_text())
    columns = {"instruction": "q", "response": "a"}
    hub = {"kind": "hub", "name": "some/body", "revision": "0" * 40, "columns": columns, "type": "riddle"}
    spec["data"]["source"] = hub
    path.write_text(yaml.safe_dump(spec))
    done = run("clean", rows("raw.jsonl", renamed(sums(0, 60), "q", "a")), "--out", tmp_path / "clean", "--spec", path)
    assert done.exit_code == 0, done.output
    assert set(pq.read_table(tmp_path / "clean" / "rows.parquet")["type"].to_pylist()) == {"riddle"}


@pytest.mark.slow
def test_the_section_data_may_stand_alone(run, rows, tmp_path):
    raw, spec = rows("raw.jsonl", renamed(sums(0, 60), "Frage", "Antwort")), tmp_path / "mine.yaml"
    source = {"kind": "file", "path": "x", "columns": {"instruction": "Frage", "response": "Antwort"}}
    spec.write_text(yaml.safe_dump({"description": "sums", "data": {"source": source}}))
    done = run("clean", raw, "--out", tmp_path / "clean", "--spec", spec)
    assert pq.read_table(tmp_path / "clean" / "rows.parquet").num_rows == 60, done.output
    done = run("leakage", raw, rows("test.jsonl", sums(59, 61)), "--spec", spec)
    assert done.exit_code == 1 and "2 test items against 60 training rows: 1 exact" in done.output, done.output
    critic = {"instruction_prompt": "{instruction}", "pair_prompt": "{instruction} {response}"}
    spec.write_text(yaml.safe_dump({"data": {"source": source, "quality": {"critic": critic}}}))
    done = run("clean", raw, "--out", tmp_path / "criticised", "--spec", spec)
    assert done.exit_code == 2 and "data.quality.critic asks the base model" in done.output, done.output
    spec.write_text(yaml.safe_dump({"data": {"source": source}, "model": {}}))
    done = run("clean", raw, "--out", tmp_path / "half", "--spec", spec)
    assert done.exit_code == 2 and "training: Field required" in done.output, done.output


def test_a_leak_is_shown_with_file_and_row(run, rows):
    done = run("leakage", rows("train.jsonl", sums(0, 50)), rows("test.jsonl", sums(40, 41)))
    assert done.exit_code == 1
    assert "test test.jsonl, row 1 (" in done.output and "train train.jsonl, row 41 (" in done.output


def test_a_test_item_in_a_training_response_exits_with_1(run, rows):
    train = [{"instruction": "Ask me something.", "response": sums(7, 8)[0]["instruction"]}, *sums(20, 30)]
    done = run("leakage", rows("train.jsonl", train), rows("test.jsonl", sums(7, 8)))
    assert done.exit_code == 1 and "0 exact" in done.output and "1 more than the limit of 80%" in done.output


@pytest.mark.slow
def test_the_command_proves_what_the_split_proved(run, rows, tmp_path):
    """Over the same rows: the same counts, the same hash of the test side, the same pairs."""
    assert run("clean", rows("raw.jsonl", sums(0, 700)), "--out", tmp_path / "clean").exit_code == 0
    assert run("split", tmp_path / "clean", "--out", tmp_path / "split").exit_code == 0
    (tmp_path / "training").mkdir()
    for side in ("dev", "train"):
        shutil.copy(tmp_path / "split" / side / "rows.parquet", tmp_path / "training" / f"{side}.parquet")
    test = tmp_path / "split" / "test"
    done = run("leakage", tmp_path / "training", test / "rows.parquet", "--out", tmp_path / "proof.json")
    assert done.exit_code == 0, done.output
    again, proof = (json.loads(path.read_text()) for path in (tmp_path / "proof.json", test / "leakage_proof.json"))
    differing = {field for field in proof if proof[field] != again[field]}
    assert differing <= {
        "against",
        "train_sha256",
        "training_data_sha256",
    }  # a folder's files come in the order of their names: dev first
    # The training rows in the order in which the split compared them give its very proof.
    both = pa.concat_tables(pq.read_table(tmp_path / "training" / f"{side}.parquet") for side in ("train", "dev"))
    pq.write_table(both, tmp_path / "both.parquet")
    run("leakage", tmp_path / "both.parquet", test / "rows.parquet", "--out", tmp_path / "proof.json")
    assert json.loads((tmp_path / "proof.json").read_text()) == proof | {"against": "both.parquet → rows.parquet"}
    assert proof["nearest"] and proof["nearest"][0]["train_source"].startswith("raw.jsonl, row ")


def test_a_missing_file_is_an_unusable_input(run, tmp_path):
    done = run("leakage", tmp_path / "none.jsonl", tmp_path / "none.jsonl")
    assert done.exit_code == 2 and "none.jsonl" in done.output


def judged(wins, n=300, **changes):
    answers = [{"output": f"it is {k}" if k < wins else f"it no {k}", "success": k < wins} for k in range(n)]
    return [{"id": str(k), "type": "sum"} | answer | changes for k, answer in enumerate(answers)]


@pytest.mark.slow
def test_the_gate_over_judged_files(run, rows, tmp_path):
    base = rows("base.jsonl", judged(20))
    done = run("gate", "--base", base, "--sft", rows("sft.jsonl", judged(200)[::-1]), "--out", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "180 won, 0 lost" in done.output and (tmp_path / "report" / "gate.html").exists()
    assert run("gate", "--base", base, "--sft", rows("sft.jsonl", judged(21))).exit_code == 1


@pytest.mark.parametrize(
    ("sft", "message"),
    [
        (judged(20)[1:], "(0) missing"),
        ([*judged(20), *judged(1, 1)], "the id 0 stands more than once (rows 1, 301)"),
        (judged(20, success="yes"), "row 1, field success: must be true, false or null, is 'yes'"),
        (judged(20, type="other"), "field type: other and sum"),
        ([], "empty"),
    ],
)
def test_judged_files_that_do_not_fit_are_unusable_input(run, rows, sft, message):
    done = run("gate", "--base", rows("base.jsonl", judged(20)), "--sft", rows("sft.jsonl", sft))
    assert done.exit_code == 2 and message in done.output, done.output


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "code"),
    [("healthy_medbot.json", 0), ("healthy_alpaca-lora_ckpt1000.json", 0), ("notlearning_llama2_lora.json", 1)],
)
def test_diagnosing_real_runs(run, real_data, name, code, tmp_path):
    done = run("diagnose", real_data / "trainer-states" / name, "--out", tmp_path / "out")
    assert done.exit_code == code, done.output
    assert (tmp_path / "out" / "curves.png").exists()


def test_diagnosing_something_else_is_an_unusable_input(run, tmp_path):
    path = tmp_path / "state.json"
    path.write_text("[]")
    done = run("diagnose", path)
    assert done.exit_code == 2 and "the log is empty" in done.output
    done = run("diagnose", tmp_path)
    assert done.exit_code == 2 and "trainer_state.json" in done.output


def test_diagnosing_a_run_s_folder_and_a_log_too_short_to_judge(run, tmp_path):
    (tmp_path / "checkpoint-2").mkdir()
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}]
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text(json.dumps({"log_history": rows}))
    done = run("diagnose", tmp_path)
    assert done.exit_code == 1 and done.output.startswith("undecided") and "too few log records to judge" in done.output


def test_verifying_and_reporting_what_was_never_made(run, toy_project):
    assert run("verify", "toy").exit_code == 2
    done = run("report", "toy")
    assert done.exit_code == 2 and "never materialized" in done.output


def test_a_place_that_cannot_be_written_is_no_leak_and_no_failed_threshold(run, rows, tmp_path):
    train, test = rows("train.jsonl", sums(0, 50)), rows("test.jsonl", sums(60, 80))
    assert run("leakage", train, test, "--out", tmp_path / "none" / "proof.json").exit_code == 2
    done = run("clean", train, "--out", train / "below")
    assert done.exit_code == 2 and "train.jsonl" in done.output


def test_a_folder_with_a_manifest_of_somebody_else_is_read_as_files(run, rows, tmp_path):
    (tmp_path / "data").mkdir()
    rows("data/train.jsonl", sums(0, 700))
    rows("data/manifest.json", [{"name": "not ours"}])
    done = run("split", tmp_path / "data", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "manifest.json row 1" in done.output

"""What the commands on rows read and write; what an interrupted one leaves is never taken for a dataset."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sft_pipeline.cli import app


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def raw(tmp_path):
    def write(count):
        rows = [
            {"instruction": f"What are {n} and {n * n}?", "response": f"They are {n + n * n}."} for n in range(count)
        ]
        (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / "raw.jsonl"

    return write


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_clean_leaves_no_dataset_and_blocks_no_later_run(run, raw, tmp_path, how):
    source, out = raw(30_000), tmp_path / "clean"
    started = subprocess.Popen(
        [sys.executable, "-m", "sft_pipeline.cli", "clean", str(source), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list(tmp_path.glob(".clean.*.partial/*/.rows.parquet.partial")):
        assert started.poll() is None
        time.sleep(0.05)
    os.kill(started.pid, how)
    assert started.wait() != 0
    assert not out.exists()
    assert run("clean", raw(50), "--out", out).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"raw.jsonl", "clean"}
    assert pq.read_metadata(out / "rows.parquet").num_rows == 50


@pytest.mark.slow
def test_rows_can_be_piped_in_and_a_silent_pipe_or_no_rows_are_reported(raw, tmp_path):
    """As a shell does it: a process of its own whose standard input is a pipe."""
    rows = gzip.compress(raw(50).read_bytes())

    def clean(name: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "sft_pipeline.cli", "clean", "-", "--out", str(tmp_path / name)]
        return subprocess.run(command, input=given, capture_output=True)

    done = clean("out", rows)
    assert done.returncode == 0 and b"50 rows read, 50 kept" in done.stdout, done
    assert set(pq.read_table(tmp_path / "out" / "rows.parquet")["source_file"].to_pylist()) == {"stdin"}
    nothing = clean("nothing", b"")
    assert nothing.returncode == 2 and b"nothing was written" in nothing.stderr and b"Traceback" not in nothing.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_folder_of_clean_rows_without_its_manifest_or_with_too_few_rows_is_refused(run, raw, tmp_path):
    assert run("clean", raw(50), "--out", tmp_path / "clean").exit_code == 0
    rows = tmp_path / "clean" / "rows.parquet"
    pq.write_table(pq.read_table(rows).slice(0, 40), rows)
    done = run("split", tmp_path / "clean", "--out", tmp_path / "split")
    assert done.exit_code == 2 and "rows.parquet holds 40 of the 50 rows" in done.output
    (tmp_path / "clean" / "manifest.json").unlink()
    for command in (
        ["split", tmp_path / "clean", "--out", tmp_path / "split"],
        ["leakage", tmp_path / "clean", raw(5)],
    ):
        done = run(*command)
        assert done.exit_code == 2 and "`clean` did not end" in done.output
    assert not (tmp_path / "split").exists()


def test_a_refused_run_keeps_the_unreadable_rows_and_the_next_one_replaces_them(run, raw, tmp_path):
    source, out = raw(10), tmp_path / "out"
    good = source.read_text()
    source.write_text(good + '{"instruction": 7}\n' * 5)
    assert run("clean", source, "--out", out).exit_code == 2
    assert [path.name for path in out.iterdir()] == ["unreadable.parquet"]
    source.write_text(good)
    assert run("clean", source, "--out", out).exit_code == 0
    assert not (out / "unreadable.parquet").exists() and (out / "manifest.json").exists()


@pytest.fixture
def german(tmp_path):
    """Rows and questions whose columns have names of their own; two columns could both be the answer."""
    rows = tmp_path / "rows.csv"
    lines = [f"Was sind {n} und {n * n}?,Es sind {n + n * n}.,Was weiß ich." for n in range(500)]
    rows.write_text("Frage,Antwort,output\n" + "\n".join(lines) + "\n")
    questions = tmp_path / "questions.csv"
    questions.write_text("Thema,Gefragt\n" + "".join(f"Zahlen,Was sind {n} und {n * n}?\n" for n in range(10)))
    return rows, questions


def test_columns_say_what_the_rows_hold(run, german, tmp_path):
    rows, questions = german
    mapped = ("--columns", "instruction=Frage, response = Antwort,ignore=output")
    assert run("clean", rows, "--out", tmp_path / "clean").exit_code == 2
    done = run("clean", rows, "--out", tmp_path / "clean", *mapped)
    assert done.exit_code == 0, done.output
    found = pq.read_table(tmp_path / "clean" / "rows.parquet").to_pylist()
    assert len(found) == 500
    assert (found[3]["instruction"], found[3]["response"]) == ("Was sind 3 und 9?", "Es sind 12.")

    done = run("split", rows, "--out", tmp_path / "split", *mapped)
    assert done.exit_code == 0, done.output
    parts = [pq.read_table(tmp_path / "split" / name / "rows.parquet") for name in ("train", "dev", "test")]
    assert sum(part.num_rows for part in parts) == 500
    assert all(row["response"].startswith("Es sind") for part in parts for row in part.to_pylist())

    done = run("leakage", rows, questions, *mapped, "--test-columns", "instruction=Gefragt,ignore=Thema")
    assert done.exit_code == 1 and "10 exact" in done.output, done.output


@pytest.mark.parametrize("written", ["Frage", "question=Frage", "instruction=", "instruction=Frage,,response=Antwort"])
def test_a_mapping_of_columns_that_says_nothing_is_refused(run, german, tmp_path, written):
    done = run("clean", german[0], "--out", tmp_path / "clean", "--columns", written)
    assert done.exit_code == 2 and "is not ROLE=COLUMN, where ROLE is one of instruction," in done.output
    assert not (tmp_path / "clean").exists()

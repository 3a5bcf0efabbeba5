"""The leakage command tells what it did not read."""

import json

import pytest
from typer.testing import CliRunner

from sft_pipeline.cli import app


@pytest.fixture
def prove(tmp_path):
    row = {"instruction": "Name the longest river of the continent.", "response": "It is the Nile."}
    for side, text in (("train", row), ("test", {"instruction": "Who wrote the second part of Faust?"})):
        (tmp_path / side).mkdir()
        (tmp_path / side / "rows.jsonl").write_text(json.dumps(text) + "\n")
    return lambda: CliRunner().invoke(app, ["leakage", str(tmp_path / "train"), str(tmp_path / "test")])


def test_what_is_not_read_is_told(prove, tmp_path):
    (tmp_path / "train" / "README.md").write_text("text")
    done = prove()
    assert done.exit_code == 0 and "note: train: not read, another kind of file: README.md" in done.output, done.output


@pytest.mark.parametrize("side", ["train", "test"])
def test_data_that_would_not_be_read_is_refused_on_both_sides(prove, tmp_path, side):
    (tmp_path / side / "more.jsonl.gz").write_bytes(b"\x1f\x8b\x08")
    done = prove()
    assert done.exit_code == 2 and "more.jsonl.gz" in done.output, done.output

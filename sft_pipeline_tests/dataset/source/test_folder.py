"""A folder of files: which are read, in which order, and what the description says."""

import json
import os
import subprocess
import sys
import threading

import pytest

from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Columns
from sft_pipeline_tests.permissions import obey_permissions


@pytest.fixture
def mixed(read, lines):
    read.put("data/b.jsonl", lines({"instruction": "1", "response": "a"}, {"instruction": "2"}))
    read.put("data/a/z.CSV", "question,answer\n3,c\n")
    read.put("data/a/y.json", '[{"prompt": "4", "completion": "d"}, {"instruction": "5", "output": "e"}]')
    return read


def test_all_files_are_read_in_the_order_of_their_paths(mixed, rows, rejected):
    dataset = mixed.file("data")
    assert [(r["source_file"], r["source_row"], r["instruction"]) for r in rows(dataset)] == [
        ("a/y.json", 1, "4"),
        ("a/y.json", 2, "5"),
        ("a/z.CSV", 2, "3"),
        ("b.jsonl", 1, "1"),
    ]
    assert [(r["source_file"], r["source_row"]) for r in rejected(dataset)] == [("b.jsonl", 2)]
    assert dataset.source_schema.count(": 1 rows") == 4


def test_the_limit_counts_over_all_files(mixed, rows):
    assert [r["instruction"] for r in rows(mixed.file("data", limit=3))] == ["4", "5", "3"]


def test_the_hash_of_a_folder_can_be_made_by_hand(mixed, tmp_path):
    command = "sha256sum a/y.json a/z.CSV b.jsonl | sha256sum"
    digest = subprocess.run(command, shell=True, cwd=tmp_path / "data", capture_output=True, text=True).stdout[:64]
    size = sum(path.stat().st_size for path in (tmp_path / "data").rglob("*") if path.is_file())
    assert mixed.file("data").source == f"data (3 files, sha256 of their list {digest}, {size} bytes)"


def test_what_is_not_read_is_reported(mixed, tmp_path):
    mixed.put("data/.cache/x.jsonl", "{}")
    mixed.put("data/.hidden.csv", "a")
    mixed.put("data/README.md", "text")
    mixed.put("data/nothing.jsonl", "")
    mixed.put("secret/x.jsonl", '{"instruction": "secret", "response": "secret"}')
    folder = tmp_path / "data"
    (folder / "out.jsonl").symlink_to(tmp_path / "secret" / "x.jsonl")
    (folder / "linked").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder)
    (folder / "broken.jsonl").symlink_to(folder / "missing.jsonl")
    os.mkfifo(folder / "pipe.jsonl")
    dataset = mixed.file("data")
    assert dataset.rows == 4
    assert [note for note in dataset.notes if note.startswith("not read")] == [
        "not read, a link that leaves the folder: linked, out.jsonl",
        "not read, a link to a folder: loop",
        "not read, another kind of file: README.md",
        "not read, empty: nothing.jsonl",
        "not read, hidden: .cache/x.jsonl, .hidden.csv",
        "not read, no regular file: broken.jsonl, pipe.jsonl",
    ]


def test_a_link_within_the_folder_is_a_file_like_any_other(mixed, tmp_path):
    (tmp_path / "data" / "again.csv").symlink_to("a/z.CSV")
    assert mixed.file("data").rows == 5


def test_a_folder_without_data_is_refused(read, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="data.source.path 'empty': the folder .* holds no .jsonl.*it is empty"):
        read.file("empty")
    read.put("texts/README.md", "text")
    with pytest.raises(DataError, match="not read, another kind of file: README.md"):
        read.file("texts")


def test_a_column_that_only_some_files_have_rejects_the_rows_of_the_others(mixed, rejected):
    dataset = mixed.file("data", columns=Columns(instruction="question", response="answer"))
    assert (dataset.rows, dataset.rejected) == (1, {"unreadable": 4})
    assert rejected(dataset)[0]["reason"] == "no field 'question' (fields: 'prompt', 'completion')"


def test_a_name_that_is_no_utf8_is_spelled_out(read, rows, tmp_path):
    (tmp_path / "data").mkdir()
    with open(os.fsencode(tmp_path / "data") + b"/caf\xe9.jsonl", "w") as stream:
        stream.write('{"prompt": "a", "completion": "b"}')
    assert rows(read.file("data"))[0]["source_file"] == "caf\\udce9.jsonl"


def test_a_folder_that_the_data_stage_wrote_can_be_read_again(read, rows):
    made = read('{"instruction": "Name a fruit.", "response": "An apple."}\n')
    for name in ("croissant.json", "manifest.json", "leakage_proof.json", "duplicates.parquet"):
        (made.root / name).write_text("{\n}")
    again = read.file(made.root.name)
    assert [(r["instruction"], r["source_file"]) for r in rows(again)] == [("Name a fruit.", "rows.parquet")]
    assert "the pipeline wrote it with the rows" in " ".join(again.notes)
    # a file of one of these names that stands elsewhere is data
    read.put("other/manifest.json", '[{"instruction": "1", "response": "a"}]')
    assert read.file("other").rows == 1


LIST_ALL = """
import sys
from pathlib import Path
from sft_pipeline.dataset.source import read_items
from sft_pipeline.experiment import FileData
try:
    read_items(FileData(kind="file", path=sys.argv[1]), Path("/"), Path(sys.argv[1]).parent / "items.parquet")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.slow
def test_a_subfolder_that_cannot_be_listed_is_an_error(mixed, tmp_path):
    """Its rows would be missing, and a leak in them would go unseen; root must lose its right to look."""
    (tmp_path / "data" / "a").chmod(0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", LIST_ALL, str(tmp_path / "data")],
            capture_output=True,
            text=True,
            preexec_fn=obey_permissions,
        )
    finally:
        (tmp_path / "data" / "a").chmod(0o755)
    assert "DataError" in done.stdout and "data/a cannot be listed (Permission denied)" in done.stdout, done


def test_links_that_lead_to_themselves_are_reported(mixed, tmp_path):
    (tmp_path / "data" / "self.jsonl").symlink_to("self.jsonl")
    (tmp_path / "data" / "ping").symlink_to("pong")
    (tmp_path / "data" / "pong").symlink_to("ping")
    notes = mixed.file("data").notes
    assert any("a link that leads to itself: ping, pong, self.jsonl" in note for note in notes), notes
    with pytest.raises(DataError, match="'data/self.jsonl': it cannot be read"):
        mixed.file("data/self.jsonl")


def test_a_pipe_is_read_once_and_reported_with_its_hash(read, rows, lines, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    content = lines(*[{"instruction": f"{n}", "output": "x" * 1000} for n in range(300)])
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(content))
    writer.start()
    dataset = read.file("pipe")
    writer.join()
    assert dataset.rows == 300 and rows(dataset)[0]["source_file"] == "pipe"
    assert f"{len(content)} bytes" in dataset.source
    monkeypatch.setattr("sft_pipeline.dataset.source.files._WAIT", 0.1)
    with pytest.raises(DataError, match="a pipe to which nothing was written"):
        read.file("pipe")


def test_a_dataset_of_llama_factorys_registry_is_read_as_it_is_described(read, rows, lines, tmp_path):
    columns = {"prompt": "q", "query": "extra", "response": "a"}
    tags = {"role_tag": "who", "content_tag": "says", "user_tag": "customer", "assistant_tag": "agent"}
    talk = {"talk": [{"who": "customer", "says": "Hi"}, {"who": "agent", "says": "Hello"}]}
    read.put("reg/plain.json", json.dumps([{"q": "Add.", "extra": "1, 2", "a": "3"}]))
    read.put("reg/talk.jsonl", lines(talk))
    registry = {
        "plain": {"file_name": "plain.json", "columns": columns},
        "talks": {"file_name": "talk.jsonl", "formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": tags},
        "remote": {"hf_hub_url": "x/y"},
        "dpo": {"file_name": "plain.json", "ranking": True},
    }
    read.put("reg/dataset_info.json", json.dumps(registry))
    plain, talks = (rows(read.file(f"reg/dataset_info.json:{name}"))[0] for name in ("plain", "talks"))
    assert (plain["instruction"], plain["response"], plain["source_file"]) == ("Add.\n1, 2", "3", "plain.json")
    assert (talks["instruction"], talks["response"]) == ("Hi", "Hello")
    for name, message in (("", "NAME is dpo, plain, talks"), (":dpo", "preference pairs"), (":remote", "is no file")):
        with pytest.raises(DataError, match=message):
            read.file(f"reg/dataset_info.json{name}")

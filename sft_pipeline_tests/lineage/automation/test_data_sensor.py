"""A data file that changes starts a run once it has come to rest; looking at one that did not costs no hashing."""

import json
import os
import shutil

import pytest

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.dataset.source import files, read
from sft_pipeline.experiment import FileData
from sft_pipeline.provenance.store import Store
from sft_pipeline.specification import load

COLUMNS = [{"instruction": f"What is {n} and {n}?", "response": str(2 * n)} for n in range(20)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def data(toy_project):
    """A data file whose raw dataset is stored, as a run leaves it."""
    spec = toy_project / "specs" / "toy.yaml"
    spec.write_text(spec.read_text().replace("{kind: embedded, rows: 1500, world_seed: 7}", "{kind: file, path: rows}"))
    (toy_project / "rows").mkdir()
    write(toy_project / "rows" / "a.jsonl", COLUMNS)
    materialize(toy_project)
    return toy_project / "rows"


def materialize(project):
    """What a run does with the changed data first."""
    store = Store(project / "store")
    raw = read(FileData(kind="file", path="rows"), project, store.new_folder())
    store.put("raw_dataset", "toy", raw)


@pytest.fixture
def tick(ticks):
    return ticks("run_on_new_data")


@pytest.mark.slow
def test_unchanged_data_start_nothing_and_are_hashed_once(data, tick, monkeypatch):
    hashed = []
    monkeypatch.setattr(files, "hash_file", lambda path, real=files.hash_file: hashed.append(path) or real(path))
    assert [tick()[0] for _ in range(4)] == [[]] * 4
    assert len(hashed) == 1


@pytest.mark.slow
def test_a_changed_file_starts_one_run_when_it_has_looked_the_same_twice(data, tick, toy_project):
    tick(), tick()
    write(data / "a.jsonl", COLUMNS[:10])
    started, why = tick()
    assert started == [] and "being written" in why
    write(data / "a.jsonl", COLUMNS[:12])  # the writer goes on
    assert tick()[0] == []
    assert tick()[0] == ["toy"]
    assert "was started for exactly this" in tick()[1]
    materialize(toy_project)
    assert tick() == ([], "nothing has changed")


@pytest.mark.slow
def test_a_file_more_or_less_in_the_folder_is_a_change(data, tick, toy_project):
    tick(), tick()
    write(data / "b.jsonl", COLUMNS[:3])
    assert (tick()[0], tick()[0]) == ([], ["toy"])
    materialize(toy_project)
    (data / "b.jsonl").unlink()
    assert (tick()[0], tick()[0]) == ([], ["toy"])


@pytest.mark.slow
def test_a_lost_cursor_a_touched_file_and_a_clock_that_jumps_back_start_nothing(data, tick):
    tick(), tick()
    tick.cursor = None
    assert (tick()[0], tick()[0]) == ([], [])
    os.utime(data / "a.jsonl", (0, 0))
    assert (tick()[0], tick()[0]) == ([], [])


@pytest.mark.slow
def test_another_content_of_the_same_size_and_time_is_found(data, tick):
    tick(), tick()
    file = data / "a.jsonl"
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"What is 3", b"What is 7"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (tick()[0], tick()[0]) == ([], ["toy"])


@pytest.mark.slow
def test_a_test_file_and_a_benchmark_beside_embedded_data_are_watched(toy_project, ticks):
    spec = toy_project / "specs" / "toy.yaml"
    beside = """
  test: {kind: file, path: test.jsonl}
  leakage: {benchmarks: {riddles: {path: riddles.jsonl}}}
"""
    spec.write_text(spec.read_text().replace("world_seed: 7}\n", f"world_seed: 7}}{beside}"))
    for name in ("test", "riddles"):
        write(toy_project / f"{name}.jsonl", COLUMNS)
    data, store = load(spec).data, Store(toy_project / "store")
    raw = read(data.source, toy_project, store.new_folder(), test=data.test, benchmarks=data.leakage.benchmarks)
    store.put("raw_dataset", "toy", raw)
    tick = ticks("run_on_new_data")
    assert [tick()[0] for _ in range(3)] == [[]] * 3
    for name in ("test", "riddles"):
        write(toy_project / f"{name}.jsonl", COLUMNS[:10])
        assert (tick()[0], tick()[0]) == ([], ["toy"])


def test_a_folder_that_is_gone_is_reported(data, tick):
    (data / "a.jsonl").unlink()
    data.rmdir()
    started, why = tick()
    assert started == [] and "data.source.path" in why


@pytest.mark.slow
def test_an_experiment_that_was_never_materialized_is_not_started_by_its_data(data, ticks, toy_project):
    (toy_project / "specs" / "new.yaml").write_text((toy_project / "specs" / "toy.yaml").read_text())
    tick = ticks("run_on_new_data")
    assert [tick()[0] for _ in range(3)] == [[]] * 3


@pytest.mark.parametrize("cursor", ["{torn", "[]", '{"toy": {"stat": 1}}'])
@pytest.mark.slow
def test_a_cursor_that_cannot_be_read_is_reported_and_starts_over(data, tick, cursor):
    tick.cursor = cursor
    started, why = tick()
    assert started == [] and "cursor could not be read" in why
    write(data / "a.jsonl", COLUMNS[:10])
    assert (tick()[0], tick()[0]) == ([], ["toy"])


@pytest.mark.slow
def test_data_are_recognised_by_their_hash_and_not_by_what_a_note_says(data, tick, toy_project):
    """A note that quotes the new content's hash does not stand for a raw dataset that was read from it."""
    tick(), tick()
    write(data / "a.jsonl", COLUMNS[:10])
    (record,) = [files.find("rows", toy_project, "data.source.path").record()]
    store = Store(toy_project / "store")
    raw = store.get("raw_dataset", "toy", InstructionDataset)
    assert raw.source_files["data.source.path"].sha256 != record.sha256
    lying = store.new_folder()
    shutil.copytree(raw.root, lying, dirs_exist_ok=True)
    fields = {name: getattr(raw, name) for name in ("stage", "rows", "types", "source_schema", "source_files")}
    store.put("raw_dataset", "toy", InstructionDataset.finalize(lying, notes=(str(record),), **fields))
    tick()
    assert tick()[0] == ["toy"]

"""The artifact store: atomic, content-addressed, and never believing what it reads."""

import fcntl
import json
import multiprocessing
import os
import signal
import time

import pytest

from sft_pipeline.artifacts import GuardReport, TrainingReport
from sft_pipeline.errors import CorruptArtifactError, StoreError
from sft_pipeline.provenance.store import Store


def report(store: Store, text: str = "fine", **fields) -> TrainingReport:
    folder = store.new_folder()
    (folder / "diagnosis.txt").write_text(text)
    return TrainingReport.finalize(folder, findings=(), metrics={"loss": 1.0}, **fields)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_what_was_put_is_what_comes_back(store):
    put = store.put("training_report", "tiny", report(store))
    got = store.get("training_report", "tiny", TrainingReport)
    assert got == put
    assert got.path("diagnosis.txt").read_text() == "fine"
    assert not any((store.root / "scratch").iterdir())


def test_timings_change_the_object_but_not_the_digest(store):
    first, second = report(store, measurements={"seconds": 1}), report(store, measurements={"seconds": 2})
    assert first.digest == second.digest
    assert first.digest != report(store, "other").digest
    store.put("training_report", "tiny", first)
    address = store.pointer("training_report", "tiny").address
    store.put("training_report", "tiny", second)
    assert store.pointer("training_report", "tiny").address != address
    assert (store.root / "objects" / "training_report" / address / "files" / "diagnosis.txt").exists()


def test_a_copy_with_another_input_has_a_digest_of_its_own(store):
    made = report(store)
    assert made.digest != made.model_copy(update={"upstream": {"lora_adapter": "0" * 64}}).digest


def test_putting_what_is_there_already_takes_the_scratch_folder_over_and_no_other(store, tmp_path):
    first = store.put("training_report", "tiny", report(store))
    for experiment in ("tiny", "other"):
        assert store.put("training_report", experiment, report(store)).root == first.root
    assert not any((store.root / "scratch").iterdir())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "diagnosis.txt").write_text("fine")
    mine = TrainingReport.finalize(tmp_path / "elsewhere", findings=(), metrics={"loss": 1.0})
    assert store.put("training_report", "tiny", mine).root == first.root and mine.path("diagnosis.txt").is_file()
    assert store.put("training_report", "tiny", first).path("diagnosis.txt").read_text() == "fine"


@pytest.mark.parametrize("field", ["check", "version"])
def test_a_pointer_without_one_of_its_fields_is_damaged(store, field):
    store.put("training_report", "tiny", report(store))
    path = store.root / "pointers" / "training_report" / "tiny.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != field}))
    with pytest.raises(CorruptArtifactError, match=f"tiny.json is damaged(.|\n)*{field}"):
        store.pointer("training_report", "tiny")


def test_two_experiments_share_content_and_keep_their_own_pointer(store):
    store.put("training_report", "a", report(store))
    store.put("training_report", "b", report(store))
    assert len(list((store.root / "objects" / "training_report").iterdir())) == 1
    store.put("training_report", "b", report(store, "new"))
    assert store.get("training_report", "a", TrainingReport).path("diagnosis.txt").read_text() == "fine"


def test_a_changed_file_is_named(store):
    path = store.put("training_report", "tiny", report(store)).path("diagnosis.txt")
    path.chmod(0o644)
    path.write_text("fake")
    with pytest.raises(CorruptArtifactError, match="diagnosis.txt was changed.*materialize training_report again"):
        store.get("training_report", "tiny", TrainingReport)


def test_one_flipped_bit_in_the_description_is_found(store):
    place = store.put("training_report", "tiny", report(store)).root.parent / "artifact.json"
    place.chmod(0o644)
    data = bytearray(place.read_bytes())
    data[20] ^= 1
    place.write_bytes(data)
    with pytest.raises(CorruptArtifactError, match="artifact.json was changed"):
        store.get("training_report", "tiny", TrainingReport)


def test_putting_the_same_content_again_heals_a_damaged_object(store):
    path = store.put("training_report", "tiny", report(store)).path("diagnosis.txt")
    path.chmod(0o644)
    path.write_text("fake")
    store.put("training_report", "tiny", report(store))
    assert store.get("training_report", "tiny", TrainingReport).path("diagnosis.txt").read_text() == "fine"


def test_a_missing_artifact_and_a_wrong_type_are_reported(store):
    with pytest.raises(StoreError, match="never materialized"):
        store.get("training_report", "tiny", TrainingReport)
    store.put("training_report", "tiny", report(store))
    with pytest.raises(StoreError, match="is a TrainingReport, not a GuardReport"):
        store.get("training_report", "tiny", GuardReport)


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="SFT_PIPELINE_STORE"):
        Store(tmp_path / "store").new_folder()


def _write_for_ever(root):
    store = Store(root)
    number = 0
    while True:
        number += 1
        store.put("training_report", "tiny", report(store, f"text {number} " * 2000))


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_whole_artifact(tmp_path):
    context = multiprocessing.get_context("fork")
    store = Store(tmp_path / "store")
    store.put("training_report", "tiny", report(store, "the first"))
    for attempt in range(20):
        writer = context.Process(target=_write_for_ever, args=(store.root,))
        writer.start()
        time.sleep(0.02 + 0.003 * attempt)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        text = store.get("training_report", "tiny", TrainingReport).path("diagnosis.txt").read_text()
        assert text == "the first" or len(set(text.split("text ")[1:])) == 1
    for place in (store.root / "objects" / "training_report").iterdir():
        assert json.loads((place / "artifact.json").read_text())["files"].keys() == {"diagnosis.txt"}


def _hold(root, ready):
    Store(root).begin("lora_adapter", "tiny", "k" * 64, print)
    ready.set()
    time.sleep(60)


def test_a_step_that_makes_several_assets_gives_its_folder_back_after_the_last_of_them(tmp_path):
    store, key = Store(tmp_path / "store"), "k" * 64
    lock = tmp_path / "store" / "work" / "train_split" / ".tiny.lock"

    def free():
        with open(lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    for stored in (True, False):
        folder = store.begin("train_split", "tiny", key, print, ("train_split", "test_split"))
        store.end("train_split", "tiny", stored=True)
        assert folder.exists() and not free()
        store.end("test_split", "tiny", stored=stored)
        assert folder.exists() is not stored and free()


def test_a_work_folder_is_held_by_one_process_and_freed_by_sigkill(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "store", ready))
    holder.start()
    assert ready.wait(60)
    waited = []

    def killing(message):
        waited.append(message)
        os.kill(holder.pid, signal.SIGKILL)

    store = Store(tmp_path / "store")
    folder = store.begin("lora_adapter", "tiny", "k" * 64, killing)
    assert waited and "another process" in waited[0]
    (folder / "checkpoint").write_text("x")
    store.end("lora_adapter", "tiny", stored=False)
    assert (store.begin("lora_adapter", "tiny", "k" * 64, print) / "checkpoint").exists()
    store.end("lora_adapter", "tiny", stored=True)
    assert not folder.exists()
    holder.join()


def test_an_experiment_named_as_the_lock_of_another_has_its_own_work_folder(store):
    for experiment in ("x", "x.lock", "x"):
        (store.begin("lora_adapter", experiment, "k" * 64, print) / "checkpoint").touch()
        store.end("lora_adapter", experiment, stored=False)


def test_what_was_made_from_the_same_is_found_in_the_history_and_with_other_experiments(tmp_path, make):
    store = Store(tmp_path / "store")
    for key in ("a", "b", "c"):
        store.put("training_report", "tiny", make(store, key, key=key))
    store.put("training_report", "other", make(store, "d", key="d"))

    def found(asset, experiment, key):
        artifact = store.find(asset, experiment, TrainingReport, key)
        return artifact and artifact.path("second.txt").read_text()

    assert [found("training_report", "tiny", key) for key in "abcd"] == ["a", "b", "c", "d"]
    assert found("training_report", "third", "b") == "b"
    assert found("training_report", "tiny", "e") is None and found("another", "tiny", "a") is None
    assert store.find("training_report", "tiny", GuardReport, "a") is None
    damaged = store.find("training_report", "tiny", TrainingReport, "a").path("text.txt")
    damaged.chmod(0o644)
    damaged.write_text("fake")
    assert found("training_report", "tiny", "a") is None

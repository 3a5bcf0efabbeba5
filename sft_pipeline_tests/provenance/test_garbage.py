"""House-keeping: what is removed, what never is, and what may go on meanwhile."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.errors import CorruptArtifactError
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.store.garbage import collect
from sft_pipeline_tests.permissions import obey_permissions

NOW = timedelta(0)


@pytest.fixture(params=["local", "remote"])
def store(request, tmp_path):
    if request.param == "remote":
        return Store(request.getfixturevalue("s3").url)
    return Store(tmp_path / "store")


@pytest.fixture
def local(tmp_path):
    return Store(tmp_path / "store")


def texts(store, **how):
    pointer = store.pointer("training_report", "tiny")
    found = []
    for version in (pointer.current, *pointer.previous):
        try:
            artifact = store.objects.open("training_report", version.address, TrainingReport, cached=False)
        except CorruptArtifactError:
            continue
        found.append(artifact.path("second.txt").read_text())
    return found


@pytest.mark.slow
def test_versions_beyond_the_kept_ones_are_shown_and_then_removed(store, make):
    for number in range(6):
        store.put("training_report", "tiny", make(store, f"text {number}"))
    shown = collect(store, keep=2, age=NOW)
    assert len(texts(store)) == 6, "showing removes nothing"
    assert all(garbage.bytes > 12_000 for garbage in shown)
    kinds = ["remote object"] * 3 + ["cached object"] * 3 if store.remote else ["object"] * 3
    assert [garbage.kind for garbage in shown] == kinds
    assert collect(store, keep=2, age=NOW, remove=True) == shown
    assert texts(store) == ["text 5", "text 4", "text 3"]
    assert collect(store, keep=2, age=NOW) == []
    collect(store, keep=0, age=NOW, remove=True)
    assert texts(store) == ["text 5"]


@pytest.mark.slow
def test_what_a_kept_artifact_was_made_from_is_kept(store, make):
    first = store.put("clean_dataset", "tiny", make(store, "old data"))
    store.put("training_report", "tiny", make(store, "report", upstream={"clean_dataset": first.version}))
    for number in range(3):
        store.put("clean_dataset", "tiny", make(store, f"data {number}"))
    removed = collect(store, keep=0, age=NOW, remove=True)
    assert len([garbage for garbage in removed if garbage.kind in ("object", "remote object")]) == 2
    pointer = store.pointer("clean_dataset", "tiny")
    assert store.objects.open("clean_dataset", pointer.previous[-1].address, TrainingReport, cached=False)


@pytest.mark.slow
def test_a_young_upload_of_another_machine_is_left_alone(s3, make):
    store = Store(s3.url)
    store.put("training_report", "tiny", make(store))
    s3.fs.pipe_file("artifacts/lineage/objects/training_report/half/files/weights", b"half of it")
    assert collect(store, age=timedelta(hours=1), remove=True) == []
    (garbage,) = collect(store, age=-timedelta(seconds=5), remove=True)
    assert garbage.kind == "remote object" and garbage.bytes == 10
    assert not [path for path in s3.fs.find("artifacts") if "half" in path]


LOOK = """
import sys
from datetime import timedelta
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.store.garbage import collect
found = collect(Store(sys.argv[1]), keep=0, age=timedelta(0), remove=sys.argv[2] == "remove")
print(*(garbage.kind for garbage in found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("lock", [True, False])
def test_a_store_that_may_only_be_read_is_shown_and_nothing_is_removed(local, make, lock):
    for text in ("first", "second"):
        local.put("training_report", "tiny", make(local, text))
    local.begin("lora_adapter", "tiny", "key", print)
    local.end("lora_adapter", "tiny", stored=False)
    if not lock:
        (local.root / "lock").unlink()
    before = sorted(local.root.rglob("*"))
    for path in (local.root, *before):
        path.chmod(path.stat().st_mode & 0o555)
    # A user who may not write; root in a child that obeys permissions.
    look, remove = (
        subprocess.run(
            [sys.executable, "-c", LOOK, local.root, how], preexec_fn=obey_permissions, capture_output=True, text=True
        )
        for how in ("look", "remove")
    )
    assert look.stdout.split() == ["object", "work"], look.stderr
    assert remove.returncode and "cannot be written" in remove.stderr
    assert sorted(local.root.rglob("*")) == before


HOLDER = """
import sys, time
from sft_pipeline.provenance.store import Store
store = Store(sys.argv[1])
(store.new_folder("mine-") / "part").write_text("x")
(store.begin("lora_adapter", "tiny", "k" * 64, print) / "checkpoint").write_text("y")
print("ready", flush=True)
time.sleep(100)
"""


def test_what_a_living_process_writes_is_left_alone_and_goes_when_it_is_dead(local, make):
    local.put("training_report", "tiny", make(local))
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(local.root)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "ready\n"
    assert collect(local, age=NOW, remove=True) == []
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    checkpoint = local.root / "work" / "lora_adapter" / "tiny" / ("k" * 16) / "checkpoint"
    assert [garbage.kind for garbage in collect(local, remove=True)] == ["scratch"]
    assert checkpoint.exists(), "a killed training's checkpoints wait for the next run"
    then = time.time() - 8 * 86400
    for path in (checkpoint, checkpoint.parent, checkpoint.parent.parent):
        os.utime(path, (then, then))
    assert [garbage.kind for garbage in collect(local, remove=True)] == ["work"]
    assert not checkpoint.exists()
    again = local.begin("lora_adapter", "tiny", "k" * 64, print)
    assert again.is_dir()
    local.end("lora_adapter", "tiny", stored=True)


TRAINER = """
import shutil, sys
from sft_pipeline.provenance.store import Store
work = Store(sys.argv[1]).begin("lora_adapter", "tiny", "k" * 64, print)
while True:
    for step in range(20):
        (work / f"checkpoint-{step}" / "global").mkdir(parents=True)
        (work / f"checkpoint-{step}" / "global" / "state").touch()
    for step in range(20):
        shutil.rmtree(work / f"checkpoint-{step}")
"""


def test_a_training_may_remove_checkpoints_meanwhile(local, make):
    local.put("training_report", "tiny", make(local))
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER, str(local.root)])
    try:
        while not list((local.root / "work").glob("*/*/*/checkpoint-*")):
            assert trainer.poll() is None
        for _ in range(100):
            assert collect(local, age=NOW) == []
    finally:
        trainer.kill()
        trainer.wait()


def test_a_clock_that_jumps_ahead_makes_no_work_old(local, make, monkeypatch):
    from sft_pipeline.provenance.store import garbage

    class Ahead(garbage.datetime):
        @classmethod
        def now(cls, zone=None):
            return garbage.datetime.__base__(2099, 1, 1, tzinfo=zone)

    local.put("training_report", "tiny", make(local))
    (local.begin("lora_adapter", "tiny", "k" * 64, print) / "checkpoint").write_text("y")
    local.end("lora_adapter", "tiny", stored=False)
    monkeypatch.setattr(garbage, "datetime", Ahead)
    assert collect(local, remove=True) == []


def test_a_damaged_object_that_was_replaced_is_removed(local, make, read):
    path = local.put("training_report", "tiny", make(local)).path("text.txt")
    path.chmod(0o644)
    path.write_text("fake")
    local.put("training_report", "tiny", make(local))
    assert [garbage.kind for garbage in collect(local, remove=True)] == ["damaged"]
    assert read(local) == "fine"


@pytest.mark.slow
def test_nothing_current_is_removed_while_somebody_writes(local, make, writer):
    # The same few contents come back, so that an object which nothing refers to is about to become current again.
    local.put("training_report", "tiny", make(local, "one 0"))
    assert _collect_beside(writer(local.root, "one", 150, cycle=4), local, NOW) > 10


@pytest.mark.slow
def test_nothing_current_is_removed_from_a_remote_store_while_another_machine_writes(
    s3, make, writer, tmp_path, monkeypatch
):
    process = writer(s3.url, "one", 12)
    monkeypatch.setenv("SFT_PIPELINE_WORK", str(tmp_path / "gc"))
    store = Store(s3.url)
    store.put("training_report", "tiny", make(store, "one 0"))
    # An upload must have the time to reach its pointer.
    removed = _collect_beside(process, store, timedelta(seconds=2))
    # How much of it was old enough meanwhile is a matter of the machine's speed.
    assert removed + len(collect(store, keep=0, age=NOW, remove=True)) > 3
    assert texts(store)[0] == "one 11"


def _collect_beside(process, store, age):
    removed, looks = 0, 0
    while process.poll() is None:
        removed += len(collect(store, keep=0, age=age, remove=True))
        current = store.pointer("training_report", "tiny")
        try:
            store.objects.open("training_report", current.address, TrainingReport, cached=False)
        except CorruptArtifactError:
            # The writer may have gone on between the two lines; what it left behind may be gone.
            assert store.pointer("training_report", "tiny") != current
        looks += 1
    assert process.returncode == 0 and looks > 3
    assert texts(store)[0].startswith("one ")
    return removed

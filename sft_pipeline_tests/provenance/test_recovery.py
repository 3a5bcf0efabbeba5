"""Faults injected into a local store: kills, a full disk, flipped bits, a folder that goes away, two writers."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.errors import CorruptArtifactError, StoreError
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.store.garbage import collect


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def _write_for_ever(root, make, start, written):
    store, number = Store(root), start
    while True:
        number += 1
        store.put("training_report", "tiny", make(store, f"text {number}"))
        written.set()


@pytest.fixture
def fast_store():
    """A store in memory, where a version is stored in a few milliseconds, so that kills fall on every step of it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Store(Path(folder) / "store")


@pytest.mark.slow
def test_kills_at_random_moments_leave_a_whole_artifact_each_time(fast_store, make, read):
    store = fast_store
    context, random_moment, last = multiprocessing.get_context("fork"), random.Random(7), 0
    store.put("training_report", "tiny", make(store, "text 0"))
    for _ in range(40):
        written = context.Event()
        writer = context.Process(target=_write_for_ever, args=(store.root, make, last, written))
        writer.start()
        assert written.wait(60)
        time.sleep(random_moment.uniform(0, 0.02))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        number = int(read(store).split()[1])
        assert number > last, "what was current is never lost"
        last = number
    for place in (store.root / "objects" / "training_report").iterdir():
        store.objects.open("training_report", place.name, TrainingReport)
    leftovers = collect(store, remove=True)
    assert {garbage.kind for garbage in leftovers} >= {"object", "scratch"}
    assert not any((store.root / "scratch").iterdir())
    assert read(store) == f"text {last}" and collect(store) == []
    assert not list((store.root / "pointers").rglob("*.new"))


@pytest.mark.parametrize("file", ["files/text.txt", "files/second.txt", "artifact.json"])
def test_a_flipped_bit_is_named_and_the_version_before_can_be_had(store, make, read, file):
    store.put("training_report", "tiny", make(store, "good"))
    root = store.put("training_report", "tiny", make(store, "later")).root.parent
    data = bytearray((root / file).read_bytes())
    data[random.Random(file).randrange(len(data))] ^= 1 << 3
    (root / file).chmod(0o644)
    (root / file).write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=f"{file} was changed.*`sft-pipeline restore tiny training_report`"):
        read(store)
    before = store.pointer("training_report", "tiny").previous[0]
    store.restore("training_report", "tiny", TrainingReport, before.address[:12])
    assert read(store) == "good"
    with pytest.raises(CorruptArtifactError, match="was changed"):
        store.restore("training_report", "tiny", TrainingReport, root.name)
    assert read(store) == "good"
    store.put("training_report", "tiny", make(store, "later"))
    assert read(store) == "later"


def test_a_flipped_bit_in_a_pointer_is_found_wherever_it_is(store, make, read):
    for text in ("one", "two"):
        store.put("training_report", "tiny", make(store, text))
    path = store.root / "pointers" / "training_report" / "tiny.json"
    whole = path.read_bytes()
    for place in random.Random(3).sample(range(len(whole)), 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = store.pointer("training_report", "tiny")
        except CorruptArtifactError as error:
            assert "tiny.json" in str(error) and "materialize training_report again" in str(error)
            with pytest.raises(CorruptArtifactError):
                collect(store, keep=0, remove=True)
        else:
            path.write_bytes(whole)
            assert found == store.pointer("training_report", "tiny"), "only white space may change unnoticed"
    assert len(list((store.root / "objects" / "training_report").iterdir())) == 2
    path.write_bytes(b"")
    store.put("training_report", "tiny", make(store, "three"))
    assert read(store) == "three"


def test_a_full_disk_keeps_what_was_stored_and_takes_the_next_version_once_there_is_space(tmp_path, make, read):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={256 << 10}", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        store = Store(disk / "store")
        store.put("training_report", "tiny", make(store, "first"))
        made = make(Store(tmp_path / "elsewhere"), "second")
        filler = disk / "filler"
        for spare in range(0, 40 << 10, 4 << 10):  # the disk is full after so many more bytes: at every step of a put
            with open(filler, "wb", buffering=0) as stream:
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                stream.write(b"x" * max(0, free - spare))
            try:
                store.put("training_report", "tiny", made)
            except StoreError as error:
                assert "No space left on device" in str(error)
                assert read(store) == "first"
            else:
                break
        assert spare > 0 and read(store) == "second"
        assert not any((store.root / "scratch").iterdir())
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
def test_of_two_writers_of_the_same_asset_and_experiment_nothing_is_lost(store, make, read, writer):
    processes = [writer(store.root, name, 40) for name in ("one", "two")]
    assert [process.wait(400) for process in processes] == [0, 0]
    pointer = store.pointer("training_report", "tiny")
    assert read(store) in ("one 39", "two 39")
    found = {
        store.objects.open("training_report", version.address, TrainingReport).path("second.txt").read_text()
        for version in (pointer.current, *pointer.previous)
    }
    assert found == {f"{name} {number}" for name in ("one", "two") for number in range(40)}


def test_a_store_that_goes_away_and_comes_back(store, make, read, tmp_path):
    store.put("training_report", "tiny", make(store, "before"))
    lost = make(store, "during")
    store.root.rename(tmp_path / "away")
    with pytest.raises(StoreError, match="There is no artifact store at"):
        read(store)
    with pytest.raises(StoreError, match="was moved or its disk went away"):
        store.put("training_report", "tiny", lost)
    assert not store.root.exists(), "an empty store in its place would hide it"
    (tmp_path / "away").rename(store.root)
    assert read(store) == "before"
    store.put("training_report", "tiny", lost)
    assert read(store) == "during"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/x", "a b", "naïve", "a\n", ".hidden"])
def test_a_name_that_could_leave_the_store_is_refused(store, make, name):
    artifact = make(store)
    for asset, experiment in ((name, "tiny"), ("training_report", name)):
        for use in (
            lambda a, e: store.put(a, e, artifact),
            lambda a, e: store.get(a, e, TrainingReport),
            lambda a, e: store.begin(a, e, "k" * 64, print),
            lambda a, e: store.end(a, e, stored=True),
        ):
            with pytest.raises(StoreError, match="cannot be the name"):
                use(asset, experiment)


def test_a_description_that_names_a_file_outside_is_refused(store, make):
    artifact = make(store)
    ref = artifact.files["text.txt"].model_copy(update={"path": "../../../../../outside.txt"})
    crafted = artifact.model_copy(update={"files": {"text.txt": ref}})
    store.put("training_report", "tiny", crafted)
    with pytest.raises(StoreError, match="lies outside the artifact"):
        store.get("training_report", "tiny", TrainingReport)


def test_nothing_depends_on_the_order_of_the_clock(store, make, read, monkeypatch):
    from sft_pipeline.provenance.store import pointer

    class Jumping(pointer.datetime):
        years = iter((2040, 1999, 2025))

        @classmethod
        def now(cls, zone):
            return pointer.datetime.__base__(next(cls.years), 1, 1, tzinfo=zone)

    monkeypatch.setattr(pointer, "datetime", Jumping)
    for text in ("one", "two", "three"):
        store.put("training_report", "tiny", make(store, text))
    assert read(store) == "three"
    assert [v.written[:4] for v in store.pointer("training_report", "tiny").previous] == ["1999", "2040"]

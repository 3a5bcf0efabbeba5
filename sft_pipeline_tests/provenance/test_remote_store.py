"""The store behind a URL, against a real S3-compatible server and the real s3fs."""

import os
import subprocess
import sys
import threading
import time

import pytest

from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.errors import CorruptArtifactError, StoreError
from sft_pipeline.provenance.store import Store, default_store


@pytest.fixture
def store(s3):
    return Store(s3.url)


@pytest.fixture
def elsewhere(s3, store, tmp_path, monkeypatch):
    """The same store from another machine: nothing is in its cache."""
    monkeypatch.setenv("SFT_PIPELINE_WORK", str(tmp_path / "elsewhere"))
    other = Store(s3.url)
    assert other.root != store.root
    return other


def test_what_one_machine_stores_another_reads(store, elsewhere, make, read):
    stored = store.put("training_report", "tiny", make(store, "hello"))
    assert read(store) == read(elsewhere) == "hello"
    got = elsewhere.get("training_report", "tiny", TrainingReport)
    assert got.digest == stored.digest and got.root.is_relative_to(elsewhere.root)
    store.put("training_report", "tiny", make(store, "hello"))
    assert not any((store.root / "scratch").iterdir()) and not any((elsewhere.root / "scratch").iterdir())
    with pytest.raises(StoreError, match="never materialized"):
        elsewhere.get("training_report", "other", TrainingReport)


@pytest.mark.slow
def test_what_was_read_before_is_not_downloaded_again(s3, store, make, read):
    store.put("training_report", "tiny", make(store))
    (remote,) = (path for path in s3.fs.find("artifacts") if path.endswith("text.txt"))
    s3.fs.rm_file(remote)
    assert read(store) == "fine"
    with pytest.raises(CorruptArtifactError, match="a file is missing from the remote store"):
        read(store, cached=False)


def test_a_flipped_bit_in_the_cache_is_found_and_the_object_downloaded_again(store, make, read):
    path = store.put("training_report", "tiny", make(store)).path("text.txt")
    path.chmod(0o644)
    path.write_bytes(b"F" + path.read_bytes()[1:])
    assert read(store) == "fine"


@pytest.mark.slow
@pytest.mark.parametrize("file", ["text.txt", "artifact.json"])
def test_a_flipped_bit_in_the_remote_object_is_named_and_storing_it_again_heals_it(
    s3, store, elsewhere, make, read, file
):
    store.put("training_report", "tiny", make(store))
    s3.flip_a_bit(file)
    with pytest.raises(
        CorruptArtifactError, match=rf"s3://artifacts/lineage/objects/.*{file} was changed.*materialize training_report"
    ):
        read(elsewhere)
    elsewhere.put("training_report", "tiny", make(elsewhere))
    assert read(elsewhere, cached=False) == "fine"


def test_a_damaged_remote_object_is_uploaded_again_from_a_sound_cache_once_it_was_found(s3, store, make, read):
    store.put("training_report", "tiny", make(store))
    s3.flip_a_bit("text.txt")
    for _ in range(2):
        with pytest.raises(CorruptArtifactError, match="this is the remote object, not the cache"):
            read(store, cached=False)
    store.put("training_report", "tiny", store.get("training_report", "tiny", TrainingReport))  # as a step does
    assert read(store, cached=False) == "fine"
    assert not list(store.root.rglob("remote_is_damaged"))


@pytest.mark.slow
def test_handing_on_what_was_read_uploads_only_what_is_missing(s3, store, make, read):
    store.put("training_report", "tiny", make(store))
    kept = store.get("training_report", "tiny", TrainingReport)
    (path,) = (p for p in s3.fs.find("artifacts") if p.endswith("text.txt"))
    written = s3.fs.info(path)["LastModified"]
    time.sleep(1.1)  # the server's times are whole seconds
    store.put("training_report", "tiny", kept)
    assert s3.fs.info(path)["LastModified"] == written
    s3.fs.rm_file(path)
    store.put("training_report", "tiny", kept)
    assert read(store, cached=False) == "fine"


@pytest.mark.slow
def test_of_two_writers_at_once_the_pointer_names_one_whole_and_both_objects_are_sound(
    s3, store, make, read, writer, tmp_path, monkeypatch
):
    first = writer(s3.url, "one", 8)
    monkeypatch.setenv("SFT_PIPELINE_WORK", str(tmp_path / "second"))
    second = writer(s3.url, "two", 8)
    assert first.wait(400) == 0 and second.wait(400) == 0
    monkeypatch.setenv("SFT_PIPELINE_WORK", str(tmp_path / "reader"))
    reader = Store(s3.url)
    assert read(reader) in ("one 7", "two 7")
    objects = {address for _, address in reader.objects.listing()}
    assert len(objects) == 16
    texts = {
        reader.objects.open("training_report", address, TrainingReport, cached=False).path("second.txt").read_text()
        for address in objects
    }
    assert texts == {f"{name} {number}" for name in ("one", "two") for number in range(8)}


@pytest.mark.slow
def test_two_readers_download_the_same_object_at_the_same_time(s3, store, make, elsewhere):
    store.put("training_report", "tiny", make(store, "hello"))
    code = (
        "import sys; from sft_pipeline.artifacts import TrainingReport; from sft_pipeline.provenance.store import Store;"
        "print(Store(sys.argv[1]).get('training_report', 'tiny', TrainingReport).path('second.txt').read_text())"
    )
    readers = [
        subprocess.Popen([sys.executable, "-c", code, s3.url], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [reader.communicate(timeout=400)[0].strip() for reader in readers] == ["hello", "hello"]
    assert not any((elsewhere.root / "scratch").iterdir())


@pytest.mark.slow
def test_a_server_that_is_away_for_a_moment_is_tried_again(s3, store, make, read):
    artifact = make(store, "hello")
    s3.stop()
    back = threading.Timer(0.7, s3.start)
    back.start()
    store.put("training_report", "tiny", artifact)
    back.join()
    assert read(store, cached=False) == "hello"


@pytest.mark.slow
def test_a_server_that_goes_away_is_an_error_and_nothing_is_lost_when_it_comes_back(s3, store, make, read, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    s3.fs.clear_instance_cache()
    store.put("training_report", "tiny", make(store, "before"))
    lost = make(store, "during")
    s3.stop()
    begun = time.monotonic()
    with pytest.raises(StoreError, match="s3://artifacts/lineage cannot be written.*Could not connect") as error:
        store.put("training_report", "tiny", lost)
    assert "planted-secret" not in str(error.value) and time.monotonic() - begun < 60
    with pytest.raises(StoreError, match="cannot be read"):
        read(store)
    s3.start()
    assert read(store, cached=False) == "before"
    store.put("training_report", "tiny", make(store, "after"))
    assert read(store, cached=False) == "after"


def test_a_missing_bucket_is_not_an_empty_store(s3):
    with pytest.raises(StoreError, match="bucket does not exist"):
        Store("s3://nothing/here").pointer("training_report", "tiny")


@pytest.mark.slow
def test_a_writer_killed_in_the_middle_of_an_upload_leaves_what_was_there(s3, store, make, read, writer):
    store.put("training_report", "tiny", make(store, "first"))
    for attempt in range(4):
        process = writer(s3.url, "one", 1000)
        until = time.monotonic() + 300
        before = len(s3.fs.find("artifacts"))
        while len(s3.fs.find("artifacts")) == before:
            assert time.monotonic() < until
        time.sleep(0.013 * attempt)
        process.kill()
        process.wait()
        text = read(store, cached=False)
        assert text == "first" or text.startswith("one")


def test_a_url_with_credentials_is_refused_and_not_repeated(monkeypatch):
    for url in ("s3://key:planted@bucket/prefix", "https://host/prefix?token=planted"):
        monkeypatch.setenv("SFT_PIPELINE_STORE", url)
        for refuses in (default_store, lambda url=url: Store(url)):
            with pytest.raises(StoreError, match="by the environment") as error:
                refuses()
            assert "planted" not in str(error.value)


def test_the_url_of_a_local_folder_is_refused_with_what_to_give_instead(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_PIPELINE_STORE", f"file://{tmp_path}")
    for refuses in (default_store, lambda: Store(f"file://{tmp_path}")):
        with pytest.raises(StoreError, match="give the folder's path, without file://"):
            refuses()


def test_an_unknown_kind_of_url_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_PIPELINE_WORK", str(tmp_path))
    with pytest.raises(StoreError, match="nowhere://x cannot be read.*Protocol not known"):
        Store("nowhere://x").pointer("training_report", "tiny")


@pytest.mark.slow
def test_no_key_is_written_anywhere(s3, store, make, tmp_path):
    store.put("training_report", "tiny", make(store))
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    written += [s3.fs.cat_file(path) for path in s3.fs.find("artifacts")]
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "planted-secret"
    assert not [data for data in written if b"planted" in data]


def test_a_local_store_loads_no_file_system_library(tmp_path):
    code = (
        f"import sys; from sft_pipeline.provenance.store import Store; Store({str(tmp_path)!r}).pointer('a', 'b');"
        "print({'fsspec', 's3fs', 'botocore', 'aiohttp'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

"""Fixtures that every part of the suite shares."""

import base64
import gc
import os
import shutil
import sys
import urllib.request
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = "SFT_PIPELINE_REAL_DATA"
TOKENIZERS = "SFT_PIPELINE_TOKENIZERS"

# The same examples in every run, without a limit on the time of one: what a change is refused for is of its own making.
# `pytest -m hypothesis --hypothesis-profile=exploring` draws new ones.
settings.register_profile("exploring", deadline=None)
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


def pytest_configure():
    """The suite is the same whatever the shell exports (`make test` exports a store and where its pages are served)."""
    for name in [
        name for name in os.environ if name.startswith("SFT_PIPELINE_") and name not in (REAL_DATA, TOKENIZERS)
    ]:
        del os.environ[name]
    # With torch, transformers and Dagster loaded, looking through all objects as often as Python does by default takes a fifth
    # of the processor time.
    gc.set_threshold(100_000, 20, 100)


_set_apart: set[str] = set()


def pytest_runtest_teardown():
    """Take what the libraries hold out of the collections, which accelerate asks for with each training."""
    if loaded := {"dagster", "transformers", "trl"}.intersection(sys.modules) - _set_apart:
        _set_apart.update(loaded)
        gc.collect()
        gc.freeze()


def pytest_make_parametrize_id(val, argname):
    """Bytes are named by their number: a compressor writes the time into its own, and all processes of the suite must
    collect the same names."""
    return f"{argname}: {len(val)} bytes" if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items):
    """Slow tests begin first, so that no process of the suite is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real inputs; the test is skipped where there is none."""
    folder = Path(os.environ.get(REAL_DATA) or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"real inputs not found at {folder}; set {REAL_DATA} to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def toy_recipe():
    """The embedded base at toy size: the real recipe, a few seconds of training, no skill."""
    from sft_pipeline.experiment import EmbeddedBase

    return EmbeddedBase(
        kind="embedded", hidden_size=64, heads=2, layers=1, steps=60, documents=1500, vocabulary=400, seed=3
    )


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Path:
    """A folder for what all processes of the suite use: made by the first that needs it, under a lock."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def toy_cache(shared):
    """Where the toy base is kept once it is built, for all processes of the suite and for all that they start."""
    return shared / "cache"


PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAG7buVgAAAABJRU5ErkJggg==")


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Figures are made and saved as one pixel: drawing takes half of a gate's time and of a toy training's.

    They are drawn for tests with the marker `drawn`, for the tests of report/, for fixtures of a wider scope and in processes.
    """
    if request.node.get_closest_marker("drawn"):
        return
    draw_nothing(monkeypatch)


def draw_nothing(patch):
    """The same for what a fixture of a wider scope makes."""
    from matplotlib.figure import Figure

    def save(figure, target, **_):
        target.write(PIXEL) if hasattr(target, "write") else Path(target).write_bytes(PIXEL)

    patch.setattr(Figure, "savefig", save)


@pytest.fixture(scope="session")
def toy_base(toy_recipe, toy_cache, tmp_path_factory):
    """A ModelSnapshot of the toy base; read only."""
    from sft_pipeline.model import snapshot

    return snapshot.take(toy_recipe, REPOSITORY, toy_cache, tmp_path_factory.mktemp("toy_base"))


TOY = """\
description: the whole lineage at toy size; the base knows nothing, so the gate has to say no
data:
  source: {kind: embedded, rows: 1500, world_seed: 7}
  split: {test_size: 300, dev_size: 40}
model:
  source:
    {kind: embedded, hidden_size: 64, heads: 2, layers: 1, steps: 60, documents: 1500, vocabulary: 400, seed: 3}
training:
  max_steps: 40
  batch_size: 16
  learning_rate: 2e-2
  min_coverage: 0.01
  max_length: 512
  logging_steps: 4
  save_steps: 20
generation:
  max_new_tokens: 6
  repeat_sample: 10
evaluation:
  scorers: {default: {kind: exact}, json: {kind: json_record}, refuse: {kind: refusal}}
  comparators: {few: {examples: 1}}
  gate: {alpha: 0.01, max_truncated_share: 1.0, max_base_truncated_share: 1.0, max_repetitive_share: 1.0}
"""


@pytest.fixture
def toy_project(tmp_path, toy_cache, monkeypatch):
    """A project of its own with one experiment, `toy`, and an empty store; the cache of bases is shared by the session."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "toy.yaml").write_text(TOY)
    monkeypatch.setenv("SFT_PIPELINE_ROOT", str(tmp_path))
    monkeypatch.setenv("SFT_PIPELINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("SFT_PIPELINE_CACHE", str(toy_cache))
    return tmp_path


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """A real S3-compatible server with the bucket `artifacts`: start, stop, and the URL of a store in it."""
    from sft_pipeline_tests.s3_server import Server

    server = Server()
    server.start()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "planted-key",
        "AWS_SECRET_ACCESS_KEY": "planted-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "SFT_PIPELINE_WORK": str(tmp_path / "work"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SFT_PIPELINE_CACHE", raising=False)
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()  # an instance keeps the endpoint of the test before
    urllib.request.urlopen(urllib.request.Request(f"{os.environ['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST"))
    server.fs.mkdir("artifacts")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chromium():
    """The system's Chromium, started once."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()

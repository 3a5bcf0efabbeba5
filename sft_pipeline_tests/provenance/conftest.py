"""Artifacts small enough to be stored hundreds of times."""

import subprocess
import sys

import pytest

from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.provenance.store import Store

WRITER = """
import sys
from sft_pipeline.artifacts import TrainingReport
from sft_pipeline.provenance.store import Store
store, name, count, cycle = Store(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for number in (turn % cycle for turn in range(count)):
    folder = store.new_folder()
    (folder / "text.txt").write_text(f"{name} {number} " * 2000)
    (folder / "second.txt").write_text(f"{name} {number}")
    store.put("training_report", "tiny", TrainingReport.finalize(folder, findings=(), metrics={}))
"""


@pytest.fixture
def make():
    """Writes a small artifact into a store's scratch folder; its files hold the text."""

    def make(store: Store, text: str = "fine", **fields) -> TrainingReport:
        folder = store.new_folder()
        (folder / "text.txt").write_text(f"{text} " * 2000)
        (folder / "second.txt").write_text(text)
        return TrainingReport.finalize(folder, findings=(), metrics={}, **fields)

    return make


@pytest.fixture
def read():
    """The text of the current artifact, which both of its files must hold whole."""

    def read(store: Store, experiment: str = "tiny", **how) -> str:
        found = store.get("training_report", experiment, TrainingReport, **how)
        text = found.path("second.txt").read_text()
        assert found.path("text.txt").read_text() == f"{text} " * 2000
        return text

    return read


@pytest.fixture
def writer():
    """Starts a process that stores one version after the other, `cycle` different ones; killed when the test ends."""
    running = []

    def start(place, name: str, count: int, cycle: int = 10**9) -> subprocess.Popen:
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(place), name, str(count), str(cycle)])
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()

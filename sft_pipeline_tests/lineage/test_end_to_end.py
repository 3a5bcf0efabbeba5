"""The command, the executor and every process for real: the embedded default, and interrupted runs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline.artifacts import AdapterSnapshot, GateReport, GuardReport
from sft_pipeline.lineage.tags import DEVICE
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import LINEAGE

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path):
    """Environment of a run with its own store and Dagster home."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", home)
    return os.environ | {"DAGSTER_HOME": str(home), "SFT_PIPELINE_STORE": str(tmp_path / "store")}


def command(*arguments):
    return [sys.executable, "-m", "sft_pipeline.cli", *arguments]


def seconds(events, kind):
    return {e.dagster_event.step_key: e.timestamp for e in events if e.dagster_event.event_type_value == kind}


def test_the_embedded_default_passes_its_gate(place, tmp_path):
    # The base is kept where `make lineage` keeps it, so that one of the two builds it.
    place["SFT_PIPELINE_CACHE"] = str(REPOSITORY / "store" / "cache")
    first = subprocess.run(command("run", "tiny"), env=place, capture_output=True, text=True, timeout=1500)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "PASS" in first.stdout and "gate.html" in first.stdout

    store = Store(tmp_path / "store")
    gate = store.get("gate_report", "tiny", GateReport)
    assert gate.verdict == "pass" and gate.p < 1e-6
    assert {p.verdict for p in gate.protected} == {"held"}
    assert store.get("base_model_guard", "tiny", GuardReport).passed

    with dg.DagsterInstance.from_config(place["DAGSTER_HOME"]) as instance:
        (run,) = instance.get_runs()
        events = [e for e in instance.all_logs(run.run_id) if e.dagster_event]
    started, ended = seconds(events, "STEP_START"), seconds(events, "STEP_SUCCESS")
    processes = {e.dagster_event.pid for e in events if e.dagster_event.event_type_value == "STEP_START"}
    assert len(processes) == len(started), "every step has its own process"

    # Steps that load the model never run side by side.
    from sft_pipeline.definitions import defs

    tagged = {d.op.name for d in defs.assets if DEVICE in d.op.tags} & set(started)
    assert len(tagged) == 5  # answers of base and fine-tuned model are one step
    spans = sorted((started[step], ended[step]) for step in tagged)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))

    again = subprocess.run(command("run", "tiny"), env=place, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert all(f"{asset:22}unchanged" in again.stdout for asset in LINEAGE)
    verified = subprocess.run(command("verify", "tiny"), env=place, capture_output=True, text=True, timeout=120)
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize(("how", "everyone"), [(signal.SIGKILL, True), (signal.SIGINT, True), (signal.SIGTERM, False)])
def test_an_interrupted_training_goes_on_where_it_stopped(toy_project, place, tmp_path, how, everyone):
    """A terminal's Ctrl-C reaches every process of the run; `kill` reaches the command alone."""
    spec = toy_project / "specs" / "toy.yaml"
    text = spec.read_text().replace("max_steps: 40", "max_steps: 300").replace("save_steps: 20", "save_steps: 10")
    spec.write_text(text.replace("learning_rate: 2e-2", "learning_rate: 1e-2"))
    environment = place | {"SFT_PIPELINE_ROOT": str(toy_project), "SFT_PIPELINE_CACHE": str(tmp_path / "cache")}
    running = subprocess.Popen(
        command("run", "toy"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    work = tmp_path / "store" / "work" / "lora_adapter"
    deadline = time.monotonic() + 240
    while not list(work.rglob("COMPLETE.json")):
        assert running.poll() is None and time.monotonic() < deadline, running.stdout.read()
        time.sleep(0.05)
    with dg.DagsterInstance.from_config(place["DAGSTER_HOME"]) as instance:
        (os.killpg if everyone else os.kill)(running.pid, how)
        running.wait(60)
        if how != signal.SIGKILL:
            assert instance.get_runs()[0].is_finished, "the prompt came back before the run had ended"
            assert f"{how.name}: the run is ending" in running.stderr.read() and running.returncode == 2
    store = Store(tmp_path / "store")
    assert store.pointer("lora_adapter", "toy") is None, "the training was over before it was interrupted"

    done = subprocess.run(command("run", "toy"), env=environment, capture_output=True, text=True, timeout=400)
    adapter = store.get("lora_adapter", "toy", AdapterSnapshot)
    assert adapter.measurements["resumed_at_step"] >= 10, done.stdout
    assert adapter.steps == 300
    assert "train_split           unchanged" in done.stdout and not list(work.rglob("checkpoint-*"))

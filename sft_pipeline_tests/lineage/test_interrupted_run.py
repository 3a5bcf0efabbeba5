"""The command and every process for real: runs that are killed or told to end."""

import os
import shutil
import signal
import subprocess
import time

import dagster as dg
import pytest

from sft_pipeline.artifacts import AdapterSnapshot
from sft_pipeline.provenance.store import Store

pytestmark = pytest.mark.slow


def test_a_training_that_is_interrupted_three_times_goes_on_where_it_stopped(
    made_project, materialize, place, command, tmp_path
):
    """A terminal's Ctrl-C reaches every process of the run; `kill` reaches the command alone."""
    spec = made_project / "specs" / "toy.yaml"
    shutil.rmtree(made_project / "store" / "pointers" / "lora_adapter")
    text = spec.read_text().replace("max_steps: 40", "max_steps: 120").replace("save_steps: 20", "save_steps: 10")
    spec.write_text(text.replace("learning_rate: 2e-2", "learning_rate: 1e-2"))
    environment = place | {"SFT_PIPELINE_ROOT": str(made_project)}
    store, work = Store(tmp_path / "store"), tmp_path / "store" / "work" / "lora_adapter"
    assert materialize(made_project, "training_plan").result.success
    for how, everyone in [(signal.SIGKILL, True), (signal.SIGINT, True), (signal.SIGTERM, False)]:
        saved = set(work.rglob("COMPLETE.json"))
        running = subprocess.Popen(
            command("run", "toy", "--select", "lora_adapter"),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 240
        while not set(work.rglob("COMPLETE.json")) - saved:
            assert running.poll() is None and time.monotonic() < deadline, running.stdout.read()
            time.sleep(0.05)
        with dg.DagsterInstance.from_config(place["DAGSTER_HOME"]) as instance:
            (os.killpg if everyone else os.kill)(running.pid, how)
            running.wait(240)
            if how != signal.SIGKILL:
                assert instance.get_runs(limit=1)[0].is_finished, "the prompt came back before the run had ended"
                assert f"{how.name}: the run is ending" in running.stderr.read() and running.returncode == 2
        assert store.pointer("lora_adapter", "toy") is None, "the training was over before it was interrupted"

    done = subprocess.run(
        command("run", "toy", "--select", "lora_adapter"), env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    adapter = store.get("lora_adapter", "toy", AdapterSnapshot)
    assert adapter.measurements["resumed_at_step"] >= 30, done.stdout
    assert adapter.steps == 120 and adapter.measurements["step_processes"] == 4
    assert not list(work.rglob("checkpoint-*"))

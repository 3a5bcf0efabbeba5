"""The command, the executor and every process for real: the embedded default."""

import subprocess

import dagster as dg
import pytest

from sft_pipeline.artifacts import GateReport, GuardReport
from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.lineage.tags import DEVICE
from sft_pipeline.provenance.store import Store

pytestmark = pytest.mark.slow


def seconds(events, kind):
    return {e.dagster_event.step_key: e.timestamp for e in events if e.dagster_event.event_type_value == kind}


def test_the_embedded_default_passes_its_gate(place, command, tmp_path):
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

    steps = [d.op for d in defs.assets if isinstance(d, dg.AssetsDefinition)]
    tagged = {op.name for op in steps if DEVICE in op.tags} & set(started)
    assert len(tagged) == 6  # answers of base and fine-tuned model are one step
    spans = sorted((started[step], ended[step]) for step in tagged)
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:], strict=False))

    again = subprocess.run(command("run", "tiny"), env=place, capture_output=True, text=True, timeout=900)
    assert again.returncode == 0, again.stdout + again.stderr
    assert all(f"{asset:22}unchanged" in again.stdout for asset in ASSETS)
    verified = subprocess.run(command("verify", "tiny"), env=place, capture_output=True, text=True, timeout=600)
    assert verified.returncode == 0, verified.stdout + verified.stderr

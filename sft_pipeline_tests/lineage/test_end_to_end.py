"""The command, the executor and every process for real: the embedded default, also killed and told to end."""

import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from subprocess import PIPE

import dagster as dg
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from sft_pipeline.artifacts import AdapterSnapshot, GateReport, GuardReport, ReleaseSnapshot
from sft_pipeline.cli import app
from sft_pipeline.dataset.table import read_table
from sft_pipeline.evaluation.gate.files_gate import examine
from sft_pipeline.experiment import Evaluation
from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.lineage.tags import DEVICE
from sft_pipeline.provenance.hashing import files_below, hash_file
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import read_lineage
from sft_pipeline.release.export.exports import answers
from sft_pipeline.release.export.judge import compare
from sft_pipeline.report.gate.text import headline
from sft_pipeline.specification import load_by_name, project_root
from sft_pipeline_tests.lineage.conftest import Run
from sft_pipeline_tests.lineage.planted import SECRETS, holding, secrets_in

pytestmark = pytest.mark.slow


def test_the_embedded_default_is_interrupted_three_times_and_passes_its_gate(
    place, command, instance, tmp_path, monkeypatch
):
    """A terminal's Ctrl-C reaches every process of the run; `kill` reaches the command alone."""
    (tmp_path / "specs").mkdir()
    shutil.copy(project_root() / "specs" / "tiny.yaml", tmp_path / "specs")
    for name, value in (place | SECRETS | {"SFT_PIPELINE_ROOT": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    store, work = Store(tmp_path / "store"), tmp_path / "store" / "work"
    with dg.DagsterInstance.get() as records:
        said = interrupted_three_times(command, records, work)
        assert store.pointer("lora_adapter", "tiny") is None, "the training was over before it was interrupted"

        done = subprocess.run(command("run", "tiny"), capture_output=True, text=True, timeout=1500)
        assert done.returncode == 0, done.stdout + done.stderr
        before = ("raw_dataset", "clean_dataset", "test_split", "base_model", "base_model_guard", "training_plan")
        assert all(f"{asset:23}unchanged" in done.stdout for asset in before)
        assert "PASS" in done.stdout and "gate.html" in done.stdout
        adapter = store.get("lora_adapter", "tiny", AdapterSnapshot)
        assert adapter.steps > adapter.measurements["resumed_at_step"] >= 450
        assert adapter.measurements["step_processes"] == 4 and not list(work.rglob("checkpoint-*"))
        for path in work.rglob("*.lock"):
            with path.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        runs = records.get_runs()
        spans = [steps_of(records, run) for run in runs]
    assert len(spans) == 4 and len(spans[0]) == 8  # answers of base and fine-tuned model are one step
    for steps in spans:  # steps that load the model never run side by side
        assert all(before[1] <= after[0] for before, after in pairwise(steps))

    again = Run(tmp_path, instance, name="tiny")
    assert again.result.success and again.reused == set(ASSETS)
    gate = store.get("gate_report", "tiny", GateReport)
    assert gate.verdict == "pass" and gate.p < 1e-6
    assert {p.verdict for p in gate.protected} == {"held"}
    assert store.get("base_model_guard", "tiny", GuardReport).passed

    out = tmp_path / "release"
    for arguments in (["verify", "tiny"], ["release", "tiny", "--out", str(out)]):
        found = CliRunner().invoke(app, arguments)
        assert found.exit_code == 0, found.output
        said += found.output
    alone = [sys.executable, "-I", "-S", str(out / "verify.py")]
    checked = subprocess.run(alone, cwd=tmp_path / "home", env={}, capture_output=True, text=True)
    assert checked.returncode == 0 and "every file and every link matches" in checked.stdout, checked.stderr
    # The asset holds the same bytes as the folder.
    asset = store.get("release", "tiny", ReleaseSnapshot)
    assert {n: r.sha256 for n, r in asset.files.items()} == {n: hash_file(out / n) for n in asset.files}
    assert {path.relative_to(out).as_posix() for path in files_below(out)} == set(asset.files)

    # The search finds what is there.
    assert holding(tmp_path / "store", "TRAINING_SUCCESS") and holding(tmp_path / "home", runs[0].run_id)
    assert secrets_in(tmp_path) == [] and "PLANTED" not in said + done.stdout + done.stderr
    damaged_merges_are_found(store, tmp_path)
    a_prompt_is_called_by_what_it_does(gate, tmp_path)


def interrupted_three_times(command, records, work):
    """Runs that end after a checkpoint more each; gives what they said."""
    said, training = "", ["--select", "lora_adapter"]
    for how, end, select in [
        (signal.SIGKILL, os.killpg, []), (signal.SIGINT, os.killpg, training), (signal.SIGTERM, os.kill, training)
    ]:  # fmt: skip
        saved, deadline = set(work.rglob("COMPLETE.json")), time.monotonic() + 900
        running = subprocess.Popen(
            command("run", "tiny", *select), stdout=PIPE, stderr=PIPE, text=True, start_new_session=True
        )
        while not set(work.rglob("COMPLETE.json")) - saved:
            assert running.poll() is None and time.monotonic() < deadline, running.stdout.read()
            time.sleep(0.05)
        end(running.pid, how)
        running.wait(240)
        (run,) = records.get_runs(limit=1)
        out, err = running.communicate(timeout=240)
        said += out + err
        if how != signal.SIGKILL:
            assert run.is_finished, "the prompt came back before the run had ended"
            assert f"{how.name}: the run is ending" in err and running.returncode == 2
    return said


def steps_of(records, run):
    """When the steps of a run that load the model began and ended; every step has to have its own process."""
    from sft_pipeline.definitions import defs

    tagged = {d.op.name for d in defs.assets if isinstance(d, dg.AssetsDefinition) and DEVICE in d.op.tags}
    events = [e for e in records.all_logs(run.run_id) if e.dagster_event]
    started, ended = (
        {e.dagster_event.step_key: e for e in events if e.dagster_event.event_type_value == kind}
        for kind in ("STEP_START", "STEP_SUCCESS")
    )
    assert len({e.dagster_event.pid for e in started.values()}) == len(started)
    return sorted(
        (started[step].timestamp, ended[step].timestamp if step in ended else math.inf)
        for step in tagged & set(started)
    )


def a_prompt_is_called_by_what_it_does(gate, tmp_path):
    """Over all items no prompt does what the training did; on plain completions the bare text does the same."""
    assert {c.name: c.finding for c in gate.comparators} == {"few_shot": "beaten", "bare": "beaten"}
    assert headline(gate) == "PASS: the fine-tuned model is better than its base"
    assert gate.costs["few_shot"].prompt > 3 * gate.costs["base"].prompt > gate.costs["bare"].prompt > 0
    rows = [row for row in read_table(gate.path("items.parquet")) if row["type"] == "completion"]
    files = {model: tmp_path / f"{model}.jsonl" for model in ("base", "sft", "few_shot", "bare")}
    for model, path in files.items():
        answers = ({"id": r["id"], "output": r[f"{model}_output"], "success": r[f"{model}_success"]} for r in rows)
        path.write_text("".join(json.dumps(answer) + "\n" for answer in answers), "utf-8")
    prompts = {"few_shot": files["few_shot"], "bare": files["bare"]}
    evaluation = Evaluation(scorers={})
    found = examine(files["base"], files["sft"], None, evaluation, tmp_path, comparators=prompts)
    assert found.decision.overall.lift > 0 and found.decision.overall.p_exact < 0.01
    assert {c.name: c.finding for c in found.prompted.results} == {"few_shot": "beaten", "bare": "same"}


def damaged_merges_are_found(store, tmp_path):
    """A merge that is damaged on purpose answers the test split worse than the gated adapter."""
    experiment, found = load_by_name("tiny", project_root()), read_lineage(store, "tiny")[0]
    exports, base = found["model_exports"], load_file(found["base_model"].path("model.safetensors"))
    (accepted,) = exports.results
    assert accepted.verdict == "accepted" and accepted.lost == accepted.won == () and accepted.changed_share == 0
    merged = load_file(exports.path("merged/model.safetensors"))

    def judged(name, weights):
        folder = tmp_path / name
        shutil.copytree(exports.root / "merged", folder)
        (folder / "model.safetensors").unlink()
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        outputs, engine = answers(experiment, folder, name, found["test_split"], tmp_path / f"{name}_work")
        three = (found[a] for a in ("test_split", "base_generations", "sft_generations"))
        return compare(name, outputs, engine, *three, experiment.evaluation, experiment.export.margin, project_root())

    doubled = {name: base[name] + 2 * (merged[name] - base[name]) for name in merged}
    assert judged("wrong_scaling", doubled).verdict == "inferior"
    left_out = {name: base[name] if ".layers.0." in name else merged[name] for name in merged}
    assert judged("layer_left_out", left_out).verdict == "inferior"
    # One feature a thousand times smaller in its norm and larger in the weights after it: the same function, but for int8.
    sensitive = dict(merged)
    for layer in {name.split(".")[2] for name in merged if ".layers." in name}:
        at = f"model.layers.{layer}."
        norm = f"{at}input_layernorm.weight"
        sensitive[norm] = sensitive[norm].copy()
        sensitive[norm][0] /= 1000
        for part in ("q_proj", "k_proj", "v_proj"):
            name = f"{at}self_attn.{part}.weight"
            sensitive[name] = sensitive[name].copy()
            sensitive[name][:, 0] *= 1000
    assert judged("sensitive", sensitive).verdict == "accepted"
    rounded = {name: _int8(weights) if weights.ndim == 2 else weights for name, weights in sensitive.items()}
    found_out = judged("int8", rounded)
    assert found_out.verdict == "inferior" and found_out.lost and found_out.overall.verdict != "held"


def _int8(weights):
    """The weights rounded to the 255 steps of an 8-bit integer between their largest values."""
    step = np.abs(weights).max() / 127
    return (np.round(weights / step) * step).astype(weights.dtype)

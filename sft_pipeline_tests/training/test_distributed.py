"""Several processes of one machine: sharded ones train what one does, and none outlives its launch. DDP: test_nodes.py."""

import json
import os
import signal

import psutil
import pytest

from sft_pipeline.errors import PreconditionError, TrainingError
from sft_pipeline.training import checkpoints, distributed, trainer
from sft_pipeline_tests import forked
from sft_pipeline_tests.sockets import beyond_loopback
from sft_pipeline_tests.training.conftest import fingerprint


@pytest.mark.slow
def test_a_process_that_fails_is_named_with_what_it_said(toy, prepared, monkeypatch):
    """It fails at the beginning: with torch and TRL imported it would take ten seconds to do the same."""
    arguments, write = prepared(toy(processes=2)), distributed.Job.write

    def in_half(job, path):
        write(job, path)
        path.write_bytes(path.read_bytes()[:200])

    monkeypatch.setattr(distributed.Job, "write", in_half)
    with pytest.raises(TrainingError, match=r"a process of 2 failed: JSONDecodeError: "):
        trainer.train(*arguments.values())


def alive(work):
    """Processes that were launched to train in `work`."""
    return [p for p in psutil.process_iter(["cmdline"]) if str(work / "processes.json") in (p.info["cmdline"] or ())]


@pytest.mark.slow
def test_a_sharded_training_follows_one_process_though_its_launcher_is_killed_and_the_next_one_interrupted(
    toy, prepared, tmp_path, monkeypatch
):
    """No process outlives a launcher, each later one resumes, and the adapter of the last is saved once."""
    from safetensors.torch import load_file

    monkeypatch.setattr(distributed, "POLL", 0.05)
    common = {"max_steps": 30, "save_steps": 6, "learning_rate": 1e-3, "lora": {"dropout": 0.0}}
    arguments = prepared(toy(batch_size=8, **common), count=24)  # three steps in a pass
    sharded = toy(batch_size=4, processes=2, fsdp=True, **common)
    two = arguments | {"experiment": sharded, "work": tmp_path / "two work"}
    work = two["work"]

    def train(given, name, on_log=None):
        (tmp_path / name).mkdir()
        return trainer.train(*(given | {"out": tmp_path / name}).values(), on_log=on_log)

    def reached():
        return checkpoints.newest(work, fingerprint(two)).step

    def kill(row):
        if row["step"] == 7:
            here = psutil.Process()
            open_to_others = beyond_loopback([here, *here.children(recursive=True), *alive(work)])
            (tmp_path / "seen").write_text(json.dumps([len(alive(work)), open_to_others]))
            here.kill()

    launcher = forked.start(train, two, "killed", kill, log=tmp_path / "log")
    launcher.join()
    distributed.await_killed(work)
    assert not alive(work)
    # torchrun's rendezvous ran what anybody sent to it
    assert json.loads((tmp_path / "seen").read_text()) == [2, []], (tmp_path / "log").read_text()[-3000:]
    saved, seen = reached(), []
    assert 6 <= saved < 30

    def interrupt(row):
        seen.append(row["step"])
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingError) as said:
        train(two, "interrupted", interrupt)
    assert seen[0] == saved + 1
    assert not alive(work)
    step = reached()
    assert step > saved
    assert f"interrupted by SIGINT; the checkpoint of step {step} of 30 is complete" in str(said.value)
    assert f"at step {step} of 30, checkpoint saved" in (work / distributed.LOG).read_text()

    made, one = train(two, "two"), train(arguments, "one")
    assert made.measurements["resumed_at_step"] == step
    assert "DDP" not in (work / distributed.LOG).read_text(), "sharded, not copied"
    losses = [
        [row["loss"] for row in json.loads(a.path("log_history.json").read_text()) if "loss" in row]
        for a in (one, made)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[1]) == 30
    assert made.dev_loss == pytest.approx(one.dev_loss, rel=1e-4)
    whole, gathered = (load_file(a.path("adapter/adapter_model.safetensors")) for a in (one, made))
    assert {k: v.shape for k, v in gathered.items()} == {k: v.shape for k, v in whole.items()}
    assert all((gathered[k] - whole[k]).abs().max() < 1e-3 for k in whole)
    assert len(list((work / "checkpoint-30").glob("adapter_model*"))) == 1


def test_more_processes_than_devices_are_refused_before_they_are_started(toy, prepared, monkeypatch):
    import torch

    arguments = prepared(toy(processes=2, model={"device": "cuda"}))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        PreconditionError, match=r"processes is 2 on model\.device cuda.*sees 1\..*gradient_accumulation"
    ):
        trainer.train(*arguments.values())
    assert not (arguments["work"] / "processes.json").exists()


def test_fsdp_is_passed_on_and_its_base_can_be_sharded(toy, toy_base, prepared, tmp_path):
    import torch
    from trl import SFTConfig

    from sft_pipeline.model.loader import load_model
    from sft_pipeline.training.trl_config import options

    plan = prepared(toy())["plan"]
    declared = toy(processes=2, fsdp=True, model={"quantization": "nf4", "dtype": "bfloat16"})
    args = SFTConfig(output_dir=str(tmp_path), **options(declared, plan, evaluate=False, packed=False))
    assert args.fsdp and args.fsdp_plugin_args["fsdp_version"] == 2
    stored = {p.dtype for p in load_model(toy_base.root, declared.model, sharded=True).parameters()}
    assert stored == {torch.bfloat16}, "FSDP shards one floating-point type only"
    assert torch.uint8 in {p.dtype for p in load_model(toy_base.root, declared.model).parameters()}

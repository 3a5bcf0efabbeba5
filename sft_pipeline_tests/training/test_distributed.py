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


@pytest.mark.slow
def test_a_sharded_training_follows_one_process_saves_its_adapter_once_and_resumes(toy, prepared, tmp_path):
    from safetensors.torch import load_file

    common = {"max_steps": 8, "save_steps": 4, "lora": {"dropout": 0.0}}
    arguments = prepared(
        toy(batch_size=8, **common), count=24
    )  # three steps in a pass: it resumes in the second or third
    sharded = toy(batch_size=4, processes=2, fsdp=True, **common)

    def train(name, experiment, on_log=None):
        (tmp_path / name).mkdir()
        elsewhere = {"experiment": experiment, "work": tmp_path / f"{name.split()[0]} work", "out": tmp_path / name}
        return trainer.train(*(arguments | elsewhere).values(), on_log=on_log)

    def kill(row):
        if row["step"] == 5:
            raise KeyboardInterrupt

    one = train("one", toy(batch_size=8, **common))
    with pytest.raises(KeyboardInterrupt):
        train("two", sharded, kill)
    two = train("two resumed", sharded)
    assert two.measurements["resumed_at_step"] >= 4
    assert "DDP" not in (tmp_path / "two work" / distributed.LOG).read_text(), "sharded, not copied"
    losses = [
        [row["loss"] for row in json.loads(a.path("log_history.json").read_text()) if "loss" in row] for a in (one, two)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[1]) == 8
    assert two.dev_loss == pytest.approx(one.dev_loss, rel=1e-4)
    whole, gathered = (load_file(a.path("adapter/adapter_model.safetensors")) for a in (one, two))
    assert {k: v.shape for k, v in gathered.items()} == {k: v.shape for k, v in whole.items()}
    assert all((gathered[k] - whole[k]).abs().max() < 1e-3 for k in whole)
    assert len(list((tmp_path / "two work" / "checkpoint-8").glob("adapter_model*"))) == 1


def test_more_processes_than_devices_are_refused_before_they_are_started(toy, prepared, monkeypatch):
    import torch

    arguments = prepared(toy(processes=2, model={"device": "cuda"}))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        PreconditionError, match=r"processes is 2 on model\.device cuda.*sees 1\..*gradient_accumulation"
    ):
        trainer.train(*arguments.values())
    assert not (arguments["work"] / "processes.json").exists()


@pytest.fixture
def running(toy, prepared, tmp_path):
    """A training of 400 steps in two processes that is beyond its first checkpoint: its arguments and its launcher."""
    arguments = prepared(toy(processes=2, batch_size=2, max_steps=400, save_steps=20, logging_steps=10, eval_steps=200))
    (tmp_path / "first").mkdir()
    beyond = forked.CONTEXT.Event()

    def work():
        elsewhere = (arguments | {"out": tmp_path / "first"}).values()
        trainer.train(*elsewhere, on_log=lambda row: beyond.set() if row["step"] == 30 else None)

    launcher = forked.start(work, log=tmp_path / "log")
    assert beyond.wait(300), (tmp_path / "log").read_text()[-3000:]
    yield arguments, launcher
    launcher.join()


def alive(work):
    """Processes that were launched to train in `work`."""
    return [p for p in psutil.process_iter(["cmdline"]) if str(work / "processes.json") in (p.info["cmdline"] or ())]


@pytest.mark.slow
def test_no_process_outlives_a_launcher_that_is_killed_and_the_next_one_resumes_until_it_is_interrupted(running):
    arguments, launcher = running
    work = arguments["work"]
    assert len(alive(work)) == 2
    tree = [psutil.Process(launcher.pid), *psutil.Process(launcher.pid).children(recursive=True), *alive(work)]
    open_to_others = beyond_loopback(tree)
    assert open_to_others == []  # torchrun's rendezvous ran what anybody sent to it
    launcher.kill()
    distributed.await_killed(work)
    assert not alive(work)
    reached = checkpoints.newest(work, fingerprint(arguments)).step
    assert 20 <= reached < 400

    seen = []

    def interrupt(row):
        seen.append(row["step"])
        if len(seen) == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(TrainingError) as said:
        trainer.train(*arguments.values(), on_log=interrupt)
    assert seen[0] == reached + 10
    assert not alive(work)
    step = checkpoints.newest(work, fingerprint(arguments)).step
    assert step > reached
    assert f"interrupted by SIGINT; the checkpoint of step {step} of 400 is complete" in str(said.value)
    assert f"at step {step} of 400, checkpoint saved" in (work / distributed.LOG).read_text()


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

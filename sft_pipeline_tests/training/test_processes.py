"""Two processes train what one does."""

import json

import pytest

from sft_pipeline.errors import TrainingError
from sft_pipeline.training import trainer


@pytest.mark.slow
def test_two_processes_give_the_course_of_one_with_the_same_effective_batch(toy, prepared, tmp_path):
    common = {"max_steps": 8, "save_steps": 4, "lora": {"dropout": 0.0}}
    arguments = prepared(toy(batch_size=8, **common))
    rows, seen = {}, []
    for name, sizes in {"one": {"batch_size": 8}, "two": {"batch_size": 4, "processes": 2}}.items():
        (tmp_path / name).mkdir()
        experiment = toy(**sizes, **common)
        elsewhere = {"experiment": experiment, "work": tmp_path / f"{name} work", "out": tmp_path / name}
        adapter = trainer.train(*(arguments | elsewhere).values(), on_log=seen.append)
        rows[name] = json.loads(adapter.path("log_history.json").read_text())
        assert adapter.step == 8 and adapter.checkpoints == (4,)
    losses = {name: [row["loss"] for row in found if "loss" in row] for name, found in rows.items()}
    # float32 sums in another order; the logged loss of a step is the mean over the processes
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-4)
    assert len(losses["one"]) == 8 and losses["one"][-1] < losses["one"][0]
    assert {row["step"] for row in seen} >= set(range(1, 9))


@pytest.mark.slow
def test_a_process_that_fails_is_named_with_what_it_said(toy, prepared, tmp_path):
    arguments = prepared(toy(processes=2))
    experiment = toy(processes=2, lora={"target_modules": ("no_such_module",)})
    with pytest.raises(TrainingError, match="no_such_module"):
        trainer.train(*(arguments | {"experiment": experiment}).values())


def test_fsdp_is_passed_on_and_its_base_can_be_sharded(toy, toy_base, prepared, tmp_path):
    import torch
    from trl import SFTConfig

    from sft_pipeline.model.loader import load_model
    from sft_pipeline.training.options import options

    plan = prepared(toy())["plan"]
    declared = toy(processes=2, fsdp=True, model={"quantization": "nf4", "dtype": "bfloat16"})
    args = SFTConfig(output_dir=str(tmp_path), **options(declared, plan, evaluate=False))
    assert args.fsdp and args.fsdp_plugin_args["fsdp_version"] == 1
    stored = {p.dtype for p in load_model(toy_base.root, declared.model, sharded=True).parameters()}
    assert stored == {torch.bfloat16}, "FSDP shards one floating-point type only"
    assert torch.uint8 in {p.dtype for p in load_model(toy_base.root, declared.model).parameters()}

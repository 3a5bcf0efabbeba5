"""Settings that must not matter: the same rows give the same course of the loss."""

import json

import pytest

from sft_pipeline.training import trainer
from sft_pipeline_tests.training.conftest import prepare

pytestmark = pytest.mark.slow

QLORA = {"quantization": "nf4", "dtype": "bfloat16"}
LORA = {"r": 128, "alpha": 128, "target_modules": "all-linear"}  # matrices of 4096 and more, as 8-bit states need


@pytest.fixture(scope="module")
def losses(toy_base, tmp_path_factory):
    """Trains once with a specification; gives the course of the loss."""
    made, kept = {}, {}

    def run(experiment):
        key = experiment.model_dump_json()
        if key not in kept:
            folder = tmp_path_factory.mktemp("run")
            made.update(made or prepare(tmp_path_factory.mktemp("rows"), toy_base, experiment, count=32))
            adapter = trainer.train(
                *(made | {"experiment": experiment, "work": folder / "work", "out": folder}).values()
            )
            rows = json.loads(adapter.path("log_history.json").read_text())
            kept[key] = [row["loss"] for row in rows if "loss" in row]
        return kept[key]

    return run


SAME = {"epochs": 2.0, "lora": {"dropout": 0.0}, "save_steps": 100}


def test_accumulation_and_gradient_checkpointing_do_not_change_the_course_of_the_loss(toy, losses):
    whole = losses(toy(batch_size=8, batching="grouped", **SAME))
    assert len(whole) == 8 and whole[-1] < whole[0]
    # float32 sums in another order: differences grow by a few units of the last place per step
    divided = {"batch_size": 2, "gradient_accumulation": 4, "batching": "grouped", "gradient_checkpointing": True}
    assert losses(toy(**divided, **SAME)) == pytest.approx(whole, rel=1e-5)


def test_packed_rows_do_not_see_each_other(toy, losses):
    padded = losses(toy(batching="plain", batch_size=8, **SAME))
    assert losses(toy(batching="packed", batch_size=8, **SAME)) == pytest.approx(padded, rel=1e-5)
    # the other order of `grouped` shows that the comparison can fail
    assert losses(toy(batching="grouped", batch_size=8, **SAME)) != pytest.approx(padded, rel=1e-3)


@pytest.mark.parametrize(
    "setting",
    [
        {"batching": "packed", "packed_attention": "mask", "batch_size": 8},
        {"batching": "packed", "packed_length": 160, "max_length": 80, "batch_size": 8},
        {"batching": "packed", "packed_length": 160, "max_length": 80, "gradient_accumulation": 2, "batch_size": 4},
        {"batching": "plain", "optimizer": "adamw_torch_fused", "batch_size": 8},
    ],
    ids=lambda setting: ", ".join(f"{name} {value}" for name, value in setting.items()),
)
def test_a_faster_setting_does_not_change_the_course_of_the_loss(toy, losses, setting):
    padded = losses(toy(batching="plain", batch_size=8, **SAME))
    assert losses(toy(**SAME | setting)) == pytest.approx(padded, rel=1e-5)


def test_bfloat16_trains_on_the_cpu(toy, losses):
    course = losses(toy(epochs=2.0, learning_rate=2e-2, model={"dtype": "bfloat16"}, save_steps=100))
    assert course[-1] < course[0] - 0.1


def test_gradient_checkpointing_does_not_change_the_course_of_the_loss_on_a_4_bit_base(toy, losses):
    common = {"epochs": 2.0, "save_steps": 100, "model": QLORA, "lora": {"dropout": 0.1, **LORA}, "batch_size": 8}
    # the same operations in the same order, dropout's random numbers included: no tolerance is needed
    kept = losses(toy(**common))
    assert losses(toy(gradient_checkpointing=True, **common)) == kept
    assert kept[-1] < kept[0] - 0.1


def test_a_killed_run_on_a_4_bit_base_resumes_and_ends_with_the_same_bytes(toy, prepared, tmp_path):
    import torch

    lora = {"dropout": 0.1, **LORA}
    arguments = prepared(toy(max_steps=8, save_steps=3, model=QLORA, lora=lora, optimizer="paged_adamw_8bit"), count=24)

    def run(name, on_log=None):
        (tmp_path / name).mkdir()
        folders = {"work": tmp_path / f"{name.split()[0]} work", "out": tmp_path / name}
        return trainer.train(*(arguments | folders).values(), on_log=on_log)

    def kill(row):
        if row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("killed", kill)
    resumed, whole = run("killed once"), run("whole")
    assert resumed.measurements["resumed_at_step"] == 3
    weights = "adapter/adapter_model.safetensors"
    assert resumed.path(weights).read_bytes() == whole.path(weights).read_bytes()
    assert resumed.digest == whole.digest
    # bitsandbytes keeps small states in 32 bits: make sure that this is about 8-bit ones
    states = torch.load(tmp_path / "whole work" / "checkpoint-8" / "optimizer.pt", weights_only=True)["state"]
    quantised = [state.get("__bnb_optimizer_quant_state__", {}) for state in states.values()]
    assert any("state1" in state and state["state1"].dtype == torch.uint8 for state in quantised)

"""Settings that must not matter: the same rows give the same course of the loss."""

import json

import pytest

from sft_pipeline.training import trainer


@pytest.fixture
def losses(prepared, tmp_path):
    made = {}

    def run(experiment):
        made.update(made or prepared(experiment, count=32))
        folder = tmp_path / f"run {len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        arguments = made | {"experiment": experiment, "work": folder / "work", "out": folder}
        adapter = trainer.train(*arguments.values())
        return [row["loss"] for row in json.loads(adapter.path("log_history.json").read_text()) if "loss" in row]

    return run


def test_accumulation_and_gradient_checkpointing_do_not_change_the_course_of_the_loss(toy, losses):
    common = {"epochs": 2.0, "lora": {"dropout": 0.0}, "save_steps": 100}
    whole = losses(toy(batch_size=8, **common))
    assert len(whole) == 8 and whole[-1] < whole[0]
    # float32 sums in another order: differences grow by a few units of the last place per step
    assert losses(toy(batch_size=1, gradient_accumulation=8, **common)) == pytest.approx(whole, rel=1e-5)
    assert losses(toy(batch_size=8, gradient_checkpointing=True, **common)) == pytest.approx(whole, rel=1e-5)


def test_packed_rows_do_not_see_each_other(toy, losses):
    common = {"epochs": 2.0, "lora": {"dropout": 0.0}, "save_steps": 100, "batch_size": 8}
    padded = losses(toy(batching="plain", **common))
    assert losses(toy(batching="packed", **common)) == pytest.approx(padded, rel=1e-5)
    # the other order of `grouped` shows that the comparison can fail
    assert losses(toy(batching="grouped", **common)) != pytest.approx(padded, rel=1e-3)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_bfloat16_and_checkpointing_train_on_the_cpu(toy, losses, quantization):
    model = {"dtype": "bfloat16", "quantization": quantization}
    course = losses(toy(epochs=3.0, learning_rate=2e-2, gradient_checkpointing=True, model=model, save_steps=100))
    assert course[-1] < course[0] - 0.1

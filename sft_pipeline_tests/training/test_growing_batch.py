"""A batch that grows over the run: the steps of a constant one where it is constant, and exact when resumed."""

import json

import pytest

from sft_pipeline.training import schedule, trainer
from sft_pipeline_tests.training.conftest import prepare

GROWING = {0: 1, 3: 2, 7: 3}


def records(adapter):
    return [row for row in json.loads(adapter.path("log_history.json").read_text()) if "loss" in row]


@pytest.mark.slow
def test_it_takes_the_steps_of_accumulation_and_a_resumed_run_ends_with_the_same_bytes(toy, toy_base, tmp_path):
    def prepared(name, accumulation, dropout=0.1):
        (tmp_path / name).mkdir()
        experiment = toy(gradient_accumulation=accumulation, lora={"dropout": dropout}, **settings)
        return prepare(tmp_path / name, toy_base, experiment, count=37)

    settings = {"epochs": 2.0, "save_steps": 5, "logging_steps": 1, "max_grad_norm": 0.3}
    constant = trainer.train(*prepared("constant", 2, 0.0).values())
    same = trainer.train(*prepared("same", {0: 2}, 0.0).values())
    weights = "adapter/adapter_model.safetensors"
    assert constant.path(weights).read_bytes() == same.path(weights).read_bytes()
    assert [row["loss"] for row in records(constant)] == [row["loss"] for row in records(same)]

    arguments = prepared("whole", GROWING)
    plan, training = arguments["plan"], arguments["experiment"].training
    whole = trainer.train(*arguments.values())
    logged = records(whole)
    seen = [schedule.samples_seen(37, training, step) for step in range(1, plan.steps + 1)]
    assert [row["epoch"] for row in logged] == pytest.approx([count / 37 for count in seen])
    assert whole.epochs == plan.coverage == 2.0 and plan.steps < constant.steps + 10
    assert plan.batches[0] == training.batch_size and plan.effective_batch == 3 * plan.batches[0]

    def stop(record):
        if record["step"] == 8:
            raise KeyboardInterrupt

    again = prepared("again", GROWING)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(*again.values(), on_log=stop)
    resumed = trainer.train(*again.values())
    assert resumed.path(weights).read_bytes() == whole.path(weights).read_bytes()
    assert records(resumed) == logged

    # What the clip and the modules did stands in every record.
    for row in logged:
        modules = {key: value for key, value in row.items() if key.startswith("module_grad_norm/")}
        assert {"module_grad_norm/q_proj", "module_grad_norm/down_proj"} <= modules.keys()
        assert sum(value**2 for value in modules.values()) ** 0.5 == pytest.approx(row["grad_norm"], rel=1e-4)
        assert row["clipped_share"] == float(row["grad_norm"] > 0.3)


@pytest.mark.slow
def test_a_model_that_averages_each_forward_pass_takes_the_steps_of_accumulation_too(
    toy, toy_base, tmp_path, monkeypatch
):
    from transformers import Qwen2ForCausalLM

    monkeypatch.setattr(Qwen2ForCausalLM, "accepts_loss_kwargs", False, raising=False)  # as in Gemma 3

    def norms(accumulation):
        folder = tmp_path / f"{accumulation}"
        folder.mkdir()
        experiment = toy(gradient_accumulation=accumulation, epochs=1.0)
        return [row["grad_norm"] for row in records(trainer.train(*prepare(folder, toy_base, experiment).values()))]

    assert norms({0: 2}) == norms(2)

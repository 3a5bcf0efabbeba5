"""The trainer on the real stack: what it learns, what it leaves, what it refuses."""

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest

from sft_pipeline.artifacts import Finding
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import PreconditionError, TrainingError
from sft_pipeline.model.loader import attach_adapter, load_model
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.planning import memory
from sft_pipeline.training import adapter, export, manifest, schedule, tokenization, trainer


def history_of(adapter):
    return json.loads(adapter.path("log_history.json").read_text())


@pytest.mark.slow
def test_it_trains_and_leaves_everything_that_the_next_steps_need(toy, prepared, toy_base):
    experiment = toy(epochs=4.0, save_steps=15, lora={"dropout": 0.0})
    arguments, seen = prepared(experiment), []
    arguments["train"] = arguments["train"].model_copy(update={"source": "toy.jsonl (sha256 0)"})
    adapter = trainer.train(*arguments.values(), on_log=seen.append)

    assert adapter.steps == arguments["plan"].steps == 40
    assert adapter.loss_last < adapter.loss_first - 0.3
    assert adapter.dev_loss < adapter.loss_first - 0.3
    assert adapter.checkpoints == (15, 30)
    assert adapter.trainable_parameters == arguments["plan"].trainable_parameters
    assert adapter.masked_rows == 0
    for name in ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json"):
        assert f"adapter/{name}" in adapter.files
    for step in adapter.checkpoints:
        assert f"checkpoints/{step}/adapter_model.safetensors" in adapter.files
    history = history_of(adapter)
    assert {"loss", "grad_norm", "learning_rate", "entropy", "mean_token_accuracy", "num_tokens"} <= history[0].keys()
    assert not any("runtime" in key or "per_second" in key for row in history for key in row)
    assert [row["step"] for row in seen if "loss" in row] == list(range(1, 41))
    success = json.loads(adapter.path("TRAINING_SUCCESS").read_text())
    assert (adapter.root / success["adapter"] / "adapter_model.safetensors").is_file() and success["guard"]["passed"]
    written = json.loads(adapter.path("training_manifest.json").read_text())
    assert written["data"]["train"]["digest"] == arguments["train"].digest and written["environment"]["trl"]
    assert written["data"]["source"] == "toy.jsonl (sha256 0)"
    reported = {
        name: getattr(adapter, name) for name in ("steps", "step", "epochs", "loss_first", "loss_last", "dev_loss")
    }
    assert written["result"] == reported | {"dev_perplexity": pytest.approx(math.exp(adapter.dev_loss))}
    assert written["evaluation"]["asset"] == written["evaluation"]["chain"][0] == "gate_report"
    for name in set(adapter.files) - set(adapter.VOLATILE):
        assert str(toy_base.root).encode() not in adapter.path(name).read_bytes(), (
            f"{name} holds a path of this machine"
        )
    attach_adapter(load_model(toy_base.root, experiment.model), adapter.root / "adapter")


@pytest.mark.slow
def test_learning_rates_padding_and_tokens_are_the_planned_ones(toy, prepared):
    experiment = toy(epochs=2.0, warmup_steps=3, schedule="linear", batching="grouped")
    arguments = prepared(experiment, count=39)
    plan, base = arguments["plan"], arguments["base"]
    logged = [row for row in history_of(trainer.train(*arguments.values())) if "loss" in row]
    planned = [schedule.learning_rate(s, plan.steps, plan.warmup_steps, experiment.training) for s in range(plan.steps)]
    assert [row["learning_rate"] for row in logged] == pytest.approx(planned, abs=1e-12)
    assert logged[-1]["num_tokens"] == 2 * plan.tokens_per_epoch

    tokenizer = load_tokenizer(base.root)
    encoded = tokenization.encode(experiment, tokenizer, read_table(arguments["train"].path("rows.parquet")))
    nothing = tokenization.encode(experiment, tokenizer, [])
    loader = trainer.build(
        experiment, base, plan, tokenizer, encoded, nothing, arguments["work"]
    ).get_train_dataloader()
    masks = [batch["attention_mask"] for batch in loader]
    assert 1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks) == pytest.approx(plan.padding_share)
    assert plan.padding_share < schedule.padding_share(encoded.lengths, toy(batching="plain").training) / 2


@pytest.mark.parametrize("batching", ["grouped", pytest.param("packed", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_where_rows_are_fully_masked_the_others_are_trained_as_planned(toy, prepared, batching):
    allowed = {"max_masked_share": 0.5, "max_truncated_share": 1.0}
    arguments = prepared(toy(max_length=24, epochs=2.0, batch_size=8, batching=batching, **allowed), count=80)
    plan = arguments["plan"]
    adapter = trainer.train(*arguments.values())
    assert 0 < plan.masked_rows < 40 and (plan.train_rows, adapter.masked_rows) == (80, plan.masked_rows)
    last = [row for row in history_of(adapter) if "loss" in row][-1]
    assert last["step"] == plan.steps and last["epoch"] == plan.coverage == adapter.epochs == 2.0
    assert last["num_tokens"] == 2 * plan.tokens_per_epoch


@pytest.mark.parametrize("quantization", ["nf4", pytest.param("int8", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_quantised_base_trains_with_an_8_bit_optimiser(toy, prepared, quantization):
    experiment = toy(
        max_steps=12,
        min_coverage=0.1,
        model={"quantization": quantization},
        optimizer="paged_adamw_8bit",
        learning_rate=2e-2,
    )
    arguments = prepared(experiment)
    assert "optimizer_fallback" in {finding.rule for finding in arguments["plan"].findings}
    adapter = trainer.train(*arguments.values())
    losses = [row["loss"] for row in history_of(adapter) if "loss" in row]
    assert all(map(math.isfinite, losses)) and min(losses[-3:]) < losses[0] - 0.05
    assert json.loads(adapter.path("training_manifest.json").read_text())["trainer_options"]["optim"] == "adamw_8bit"


def test_gradients_on_a_4_bit_base_are_the_same_before_and_after_an_evaluation(toy, toy_base):
    import torch
    from peft import get_peft_model

    experiment = toy(model={"quantization": "nf4"}, lora={"dropout": 0.0})
    torch.manual_seed(0)
    model = get_peft_model(load_model(toy_base.root, experiment.model), adapter.lora_config(experiment.training.lora))
    batch = torch.randint(2, 384, (4, 24), generator=torch.Generator().manual_seed(1))

    def gradients():
        model.train()
        model.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(input_ids=batch)
    after = gradients()
    assert before and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_the_loss_is_computed_in_tiles_as_the_plan_assumes(toy, prepared, monkeypatch):
    """The output layer is never called with a row's hidden states, which would give all logits at once."""
    from trl.kernels.chunked_logprob import TOKEN_CHUNK_SIZE
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    arguments = prepared(toy(max_steps=3, min_coverage=0.1))
    build, called = trainer.build, []

    def watched(*given):
        made = build(*given)
        made.model.get_base_model().get_output_embeddings().register_forward_hook(lambda *_: called.append("whole"))
        return made

    monkeypatch.setattr(trainer, "build", watched)
    assert trainer.train(*arguments.values()).steps == 3 and not called
    assert (memory.TILE_TOKENS, memory.TILE_ENTRIES) == (TOKEN_CHUNK_SIZE, _CHUNKED_LOGPROB_CHUNK_SIZE)


def test_it_refuses_what_did_not_pass_before_any_work(toy, prepared, dataset, rows, tmp_path):
    arguments = prepared(toy())
    refused = arguments["plan"].model_copy(
        update={"findings": (Finding(rule="coverage", severity="blocking", evidence="coverage 0.089 epochs"),)}
    )
    bad = {
        "guard": arguments["guard"].model_copy(update={"checks": {"template": "a chat template"}}),
        "plan": refused,
        "dev": arguments["dev"].model_copy(update={"proof": arguments["dev"].proof.model_copy(update={"near": 1})}),
    }
    with pytest.raises(PreconditionError) as error:
        trainer.train(*(arguments | bad).values())
    for part in ("a chat template", "coverage 0.089 epochs", "train → dev leaks"):
        assert part in str(error.value)
    other = arguments["plan"].model_copy(update={"train_rows": 41})
    with pytest.raises(PreconditionError, match="made for 41 training rows, but there are 40"):
        trainer.train(*(arguments | {"plan": other}).values())
    assert not arguments["work"].exists() and not any(arguments["out"].iterdir())


def test_a_dev_split_that_was_proven_against_other_rows_is_refused(prepared, toy):
    made = prepared(toy())

    def check(learned):
        proof = made["dev"].proof.model_copy(update={"training_data_sha256": learned})
        dev = made["dev"].model_copy(update={"proof": proof})
        trainer.check(made["guard"], made["plan"], made["train"], dev)

    check(export.training_data(made["train"], made["dev"])[0])
    with pytest.raises(PreconditionError, match="about other rows than those that the adapter is trained on"):
        check("0" * 64)


def test_the_verdict_is_found_along_the_chain_that_the_manifest_names():
    from sft_pipeline.definitions import defs

    graph, chain = defs.resolve_asset_graph(), manifest.EVALUATION["chain"]
    steps = [key for key in graph.get_all_asset_keys() if len(key.path) == 1]  # the others are specifications
    parents = {key.path[-1]: {p.path[-1] for p in graph.get(key).parent_keys} for key in steps}
    assert all(earlier in parents[later] for later, earlier in pairwise(chain))


def test_rows_that_would_be_cut_stop_the_training(toy, prepared):
    arguments = prepared(toy())
    short = toy(max_length=12)
    with pytest.raises(TrainingError, match=r"40 of 40 rows \(100.0%; allowed 0.0%\).*are fully masked"):
        trainer.train(*(arguments | {"experiment": short}).values())


def test_an_aborted_run_comes_with_its_diagnosis(toy, prepared, tmp_path):
    from safetensors.torch import load_file, save_file

    arguments = prepared(toy())
    base = arguments["base"]
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in base.root.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = math.inf
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match=r"aborted: loss is nan at step 1(.|\n)*lower the learning rate"):
        trainer.train(*(arguments | {"base": base.model_copy(update={"root": broken})}).values())
    assert not list(Path(arguments["work"]).glob("checkpoint-*"))

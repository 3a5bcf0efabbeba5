"""Settings that make a training faster: what they do, what is recorded of them, and what they cannot do here."""

import json

import pytest

from sft_pipeline.errors import PreconditionError, TrainingError
from sft_pipeline.model.loader import load_model
from sft_pipeline.training import kernels, schedule, trainer, varlen


@pytest.mark.slow
def test_packed_and_compiled_steps_train_as_plain_ones_and_the_manifest_says_what_was_done(
    toy, prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr(kernels, "BACKEND", "eager")  # Dynamo alone: the code generator takes a minute
    common = {"max_steps": 4, "min_coverage": 0.1, "batch_size": 8, "max_length": 80, "lora": {"dropout": 0.0}}
    arguments = prepared(toy(**common, batching="plain"))
    losses, variants = {}, []
    for name, fields in {"plain": {"batching": "plain"}, "fast": {"batching": "packed", "packed_length": 160}}.items():
        (tmp_path / name).mkdir()
        experiment = toy(**common, **fields, compile=name == "fast")
        elsewhere = {"experiment": experiment, "work": tmp_path / f"{name} work", "out": tmp_path / name}
        adapter = trainer.train(*(arguments | elsewhere).values())
        log = [json.loads(line) for line in adapter.path("training_log.jsonl").read_text().splitlines()]
        losses[name] = [record["loss"] for record in log if "loss" in record]
        variants = [record.get("compiled_graphs", 0) for record in log if "loss" in record]
    assert losses["fast"] == pytest.approx(losses["plain"], rel=1e-5)
    # A layer has two parts, before and after the attention; their lengths, training and evaluation are bounded variants.
    assert 0 < variants[-1] <= 2 * kernels.VARIANTS
    manifest = json.loads(adapter.path("training_manifest.json").read_text())
    assert manifest["plan"]["settings"]["optimizer"] == "adamw_torch"
    assert manifest["hyperparameters"]["gradient_checkpointing"] is False, "what was trained with, not auto"
    assert manifest["model"]["loaded"]["batching"]["probe"]["attention"] == "varlen"
    assert 0 <= manifest["measurements"]["waiting_share"] < 0.5


def test_rows_are_packed_into_few_sequences_and_none_is_lost():
    lengths = [70, 10, 40, 60, 30, 90, 100, 5]
    sequences = schedule.packed_sequences(lengths, 100)
    assert sorted(row for sequence in sequences for row in sequence) == list(range(8))
    assert all(sum(lengths[row] for row in sequence) <= 100 for sequence in sequences)
    assert len(sequences) == 5  # 405 tokens: no fewer are possible


def test_packed_length_is_declared_where_it_can_be_kept(toy):
    for fields, said in (
        ({"batching": "grouped"}, "belongs to batching: packed"),
        ({"batching": "packed", "processes": 2}, "done in one process"),
        ({"batching": "packed", "max_length": 200}, "must hold the longest row"),
    ):
        with pytest.raises(ValueError, match=said):
            toy(packed_length=128, **{"max_length": 64} | fields)


@pytest.mark.slow
def test_a_dead_adapter_is_refused(toy, prepared):
    arguments = prepared(toy(max_steps=1, save_steps=1, warmup_steps=1))
    arguments["plan"] = arguments["plan"].model_copy(update={"findings": ()})  # it would be refused before
    with pytest.raises(TrainingError, match=r"adapter of step 1 is dead: every lora_B is zero"):
        trainer.train(*arguments.values())  # the learning rate of the only step is 0


def test_liger_is_refused_without_a_cuda_device(toy, toy_base):
    with pytest.raises(PreconditionError, match="CUDA devices only"):
        kernels.liger(load_model(toy_base.root, toy().model))


def test_the_varlen_kernel_gets_what_it_takes_and_gives_what_transformers_expect():
    """Shapes alone: the kernel runs on CUDA devices only."""
    import torch

    with torch.device("meta"):
        query, key = (torch.empty(1, heads, 12, 32, dtype=torch.bfloat16) for heads in (4, 2))
        bounds = torch.empty(4, dtype=torch.int32)
    out = varlen.kernel(query, key, key, bounds, 6, 0.2)
    assert out.shape == (1, 12, 4, 32) and out.dtype == torch.bfloat16


def test_rows_alone_attend_as_under_a_block_diagonal_mask():
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    module = torch.nn.Identity()
    module.num_key_value_groups = 2
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 12, 8, requires_grad=True) for heads in (4, 2, 2))
    bounds = torch.tensor([0, 5, 6, 12], dtype=torch.int32)
    row = torch.bucketize(torch.arange(12), bounds[1:], right=True)
    mask = ((row[:, None] == row) & torch.ones(12, 12).tril().bool())[None, None]

    def with_gradients(out):
        return out, *torch.autograd.grad(out.square().sum(), (query, key, value))

    alone = with_gradients(varlen.attention(module, query, key, value, None, 0.0, None, bounds, 6)[0])
    under_mask = with_gradients(sdpa_attention_forward(module, query, key, value, mask)[0])
    for own, masked in zip(alone, under_mask, strict=True):
        assert torch.allclose(own, masked, atol=1e-5)

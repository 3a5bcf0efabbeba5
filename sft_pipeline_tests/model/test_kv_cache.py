"""Room ahead changes how memory is taken, and nothing else."""

import pytest

from sft_pipeline.experiment import BaseModelSpec
from sft_pipeline.model import generate, kv_cache, loader
from sft_pipeline.model.tokenizer import load_tokenizer

PROMPTS = ["The", "The capital of France", "2 + 2 = ", "one two three four five six seven eight nine ten"]


@pytest.fixture(scope="module")
def model(toy_base, toy_recipe):
    return loader.load_model(toy_base.root, BaseModelSpec(source=toy_recipe))


@pytest.mark.slow
def test_the_answers_are_the_librarys_own_to_the_last_bit(model, toy_base, monkeypatch):
    def answers():
        return generate.complete(
            model, load_tokenizer(toy_base.root), PROMPTS, max_new_tokens=80, batch_size=3, logprobs=True
        )

    assert kv_cache.preallocated_cache(model) is not None
    monkeypatch.setattr(generate, "ROUND", 80)  # what leaves a batch changes the last bits of the others
    preallocated = answers()
    assert max(answer.tokens for answer in preallocated) > kv_cache.AHEAD // 4
    monkeypatch.setattr(generate, "preallocated_cache", lambda model: None)
    assert answers() == preallocated


def test_memory_is_taken_once_for_many_tokens_and_what_stood_in_it_is_kept():
    import torch

    layer, tokens = kv_cache._preallocated_layer()(), torch.arange(300.0).reshape(1, 1, 300, 1)
    places = set()
    for start, end in [(0, 5), *((at, at + 1) for at in range(5, 300))]:
        keys, values = layer.update(tokens[..., start:end, :], -tokens[..., start:end, :])
        assert torch.equal(keys, tokens[..., :end, :]) and torch.equal(values, -tokens[..., :end, :])
        places.add((keys.untyped_storage().data_ptr(), keys.untyped_storage().nbytes()))
    assert layer.get_seq_length() == 300
    assert len(places) == 5  # room for 69, 134, 199, 264, 329 tokens


def test_layers_that_look_back_only_so_far_keep_the_librarys_own():
    from transformers import MistralConfig, MistralForCausalLM

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    common = small | {"num_key_value_heads": 2, "vocab_size": 32}
    assert kv_cache.preallocated_cache(MistralForCausalLM(MistralConfig(**common, sliding_window=8))) is None
    assert kv_cache.preallocated_cache(MistralForCausalLM(MistralConfig(**common, sliding_window=None))) is not None

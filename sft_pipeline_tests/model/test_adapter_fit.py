"""An adapter is accepted on the base that it was trained on, whatever kind of layer it changes, and on no other."""

import pytest

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import Lora
from sft_pipeline.model.adapter_fit import dead, require_fit
from sft_pipeline_tests.architectures import config


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("llama", ("q_proj", "embed_tokens")),
        ("gpt2", ("c_attn",)),  # Conv1D
        ("mixtral", ("q_proj", "w1", "w2", "w3")),  # experts that share a parameter
    ],
)
def test_what_the_training_saves_fits_its_base_alone(kind, targets, tmp_path):
    from transformers import AutoModelForCausalLM

    from sft_pipeline.training.adapter import adapt

    model = AutoModelForCausalLM.from_config(config(kind, 64))
    adapt(model, Lora(r=4, dropout=0.0, target_modules=targets)).save_pretrained(tmp_path / "adapter")
    for change, refusal in (
        ({}, ""),
        ({"num_hidden_layers": 1}, "no place for"),
        ({"num_hidden_layers": 3}, "which it needs on this base"),
        ({"hidden_size": 64}, "size mismatch for"),
    ):
        base = tmp_path / str(len(list(tmp_path.iterdir())))
        config(kind, 64, **change).save_pretrained(base)
        if refusal:
            with pytest.raises(ModelError, match=rf"the adapter is for another base \(.*\): .*{refusal}"):
                require_fit(tmp_path / "adapter", base)
        else:
            require_fit(tmp_path / "adapter", base)


def test_an_adapter_of_layers_that_the_base_does_not_have_is_refused(tmp_path):
    from transformers import AutoModelForCausalLM

    from sft_pipeline.training.adapter import adapt

    model = AutoModelForCausalLM.from_config(config("llama", 64))
    adapt(model, Lora(target_modules=("q_proj",))).save_pretrained(tmp_path / "adapter")
    config("gpt2", 64).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="for another base .*q_proj"):
        require_fit(tmp_path / "adapter", tmp_path)
    (tmp_path / "adapter" / "adapter_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"no adapter: adapter_config\.json"):
        require_fit(tmp_path / "adapter", tmp_path)


@pytest.mark.parametrize("name", ["layer.lora_B.weight", "embed_tokens.lora_embedding_B"])
def test_an_adapter_is_dead_where_all_that_starts_at_zero_is_zero(name, tmp_path):
    import torch
    from safetensors.torch import save_file

    for value in (0.0, 0.5):
        save_file({name: torch.full((2, 2), value), "layer.lora_A.weight": torch.ones(2, 2)}, tmp_path / "weights")
        assert dead(tmp_path / "weights") is (value == 0.0)

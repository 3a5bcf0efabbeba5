"""Architectures: each works from guard to reload, or is refused before the training with a remedy that then works.

The whole matrix, with every quantisation and batching, is docs/reference/model_matrix.md (benchmarks/model_matrix.py).
"""

import json
import re

import pytest

from sft_pipeline.errors import ModelError, PreconditionError
from sft_pipeline.experiment import BaseModelSpec, FolderBase, Lora
from sft_pipeline.model import quantisation
from sft_pipeline.model.loader import load_model
from sft_pipeline.planning import architecture
from sft_pipeline.training import adapter, packing, varlen
from sft_pipeline_tests.architectures import ARCHITECTURES, TOLERANCE, cell, config, tiny
from sft_pipeline_tests.training.conftest import toy_tokenizer

SPEC = BaseModelSpec(source=FolderBase(kind="folder", path="."), attention="eager")

SEE_EACH_OTHER = {"opt", "bloom", "falcon", "gpt_oss", "mamba2"}
MIXTURES = {"mixtral", "qwen3_moe", "olmoe", "granitemoe", "phimoe", "gpt_oss", "deepseek_v3"}
LEFT_BY_BITSANDBYTES = MIXTURES | {"falcon"}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Makes the tiny base of an architecture, once."""
    root = tmp_path_factory.mktemp("bases")
    toy_tokenizer(root / "tokenizer")
    made = {}

    def base(kind):
        if kind not in made:
            (root / kind).mkdir()
            made[kind] = tiny(kind, root / "tokenizer", root / kind)
        return made[kind]

    return base


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gemma2", "gpt2", "opt", "bloom", "deepseek_v3", "gpt_oss"])
def test_a_packed_training_works_and_reloads_or_names_the_remedy(bases, kind, tmp_path):
    outcome, measured = cell(bases(kind), tmp_path, batching="packed")
    assert outcome.startswith("works"), outcome
    assert measured["reloaded"] == pytest.approx(measured["dev_loss"], abs=TOLERANCE["float32"])
    # OPT's rows see each other under a mask, and do not with variable-length attention.
    assert measured["loaded"]["batching"]["used"] == ("padded" if kind in SEE_EACH_OTHER - {"opt"} else "packed")
    assert ("attention: eager" in outcome) == (kind in {"bloom", "gpt_oss"})
    assert ("dropout: 0.0" in outcome) == (kind in MIXTURES - {"gpt_oss"})


@pytest.mark.slow
def test_a_loss_that_is_not_the_models_own_is_refused(bases, tmp_path, monkeypatch):
    monkeypatch.setitem(
        ARCHITECTURES, "bert", {"is_decoder": True}
    )  # transforms the hidden state before its output layer
    outcome, _ = cell(bases("bert"), tmp_path)
    assert outcome.startswith("refused: the loss that TRL computes for BertLMHeadModel is not that of the model's own")


@pytest.mark.slow
def test_what_the_libraries_cannot_do_together_is_refused_before_the_first_step(bases, tmp_path, monkeypatch):
    # The fused forward of TRL expects the backbone's output where Llama 4's base_model is the whole model.
    monkeypatch.setitem(ARCHITECTURES, "llama4_text", {"num_local_experts": 4, "head_dim": 16})
    outcome, _ = cell(bases("llama4_text"), tmp_path)
    assert re.match(r"refused: Llama4ForCausalLM with this adapter cannot be trained here: .*target_modules", outcome)


def test_linear_modules_that_return_more_than_their_product_are_no_targets():
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config("phimoe", 384))
    with pytest.raises(
        PreconditionError,
        match=r"would adapt PhimoeTopKRouter, .*choose training.lora.target_modules from k_proj, o_proj, q_proj, v_proj$",
    ):
        adapter.adapt(model, Lora(dropout=0.0))
    assert adapter.adapt(model, Lora(target_modules=("q_proj", "v_proj"))).get_nb_trainable_parameters()[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_is_held_in_memory_is_what_was_declared_or_refused(bases, kind):
    """Weights and bytes after loading; a mixture's experts and Falcon's own linear modules are the cases."""
    folder = bases(kind).root
    plain = load_model(folder, SPEC)
    whole = quantisation.weights(plain)
    assert whole == {"float32": {"parameters": plain.num_parameters(), "bytes": 4 * plain.num_parameters()}}
    held = quantisation.weights(load_model(folder, SPEC.model_copy(update={"quantization": "nf4"})))
    assert sum(kind["parameters"] for kind in held.values()) == whole["float32"]["parameters"]
    ends = {id(plain.get_input_embeddings()), id(plain.get_output_embeddings())}
    matrices = sum(
        p.numel()
        for path, module in plain.named_modules()
        for name, p in module.named_parameters(recurse=False)
        if p.ndim >= 2
        and id(module) not in ends
        and "bias" not in name
        and "embed" not in path
        and not path.endswith(("wpe", "conv1d"))
    )
    assert held["nf4"]["parameters"] > 0.97 * matrices
    int8 = SPEC.model_copy(update={"quantization": "int8"})
    if kind in LEFT_BY_BITSANDBYTES:
        with pytest.raises(ModelError, match=r"held otherwise .*declare quantization: nf4"):
            load_model(folder, int8)
    else:
        assert "int8" in quantisation.weights(load_model(folder, int8))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_probe_tells_who_lets_packed_rows_see_each_other(bases, kind):
    rows = [[5, 9, 200, 31, 77, 140, 6, 18], [8, 250, 99, 41, 7, 160]]
    model = load_model(bases(kind).root, SPEC)
    found = packing.keeps_apart(model, rows, model.config._attn_implementation, 1e-3)
    assert found["apart"] == (kind not in SEE_EACH_OTHER), found
    varying = packing.keeps_apart(model, rows, varlen.NAME, 1e-3)
    assert varying["apart"] == (model.config._attn_implementation == varlen.NAME)
    assert varying["apart"] or kind not in ("llama", "qwen2", "mistral"), varying
    planned = architecture._packs(architecture._on_meta(json.loads((bases(kind).root / "config.json").read_text())))
    assert ("mask" in planned, "varlen" in planned) == (found["apart"], varying["apart"])


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_an_adapter_is_possible_on_the_meta_device_or_refused_with_the_remedy(kind):
    import torch
    from transformers import AutoModelForCausalLM

    def attempt(lora):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config(kind, 384))
            return adapter.adapt(model, lora).get_nb_trainable_parameters()[0]

    for remedy, lora in (
        ("training.lora.dropout to 0, or adapt the other modules alone", Lora(dropout=0.0)),
        ("whose output PEFT cannot add to", Lora(target_modules=("q_proj", "v_proj"), dropout=0.0)),
        ("choose training.lora.target_modules from", Lora(target_modules=("in_proj",))),
    ):
        try:
            assert attempt(Lora()) > 0
        except PreconditionError as error:
            if remedy in str(error):
                assert attempt(lora) > 0
                break
        else:
            break
    else:
        pytest.fail("no remedy")
    with pytest.raises(PreconditionError, match="named nothing; choose from "):
        attempt(Lora(target_modules=("nothing",)))


def test_the_output_layer_and_half_of_fused_experts_are_no_targets():
    import torch
    from transformers import AutoModelForCausalLM

    for targets, said in (
        (("q_proj", "lm_head"), "lm_head is the output layer"),
        (("w1",), "without also targeting w3"),
    ):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config("mixtral", 384))
        with pytest.raises(PreconditionError, match=said):
            adapter.adapt(model, Lora(target_modules=targets, dropout=0.0))


def test_experts_in_nf4_are_refused_as_targets_and_the_others_can_be_adapted(bases):
    spec = SPEC.model_copy(update={"quantization": "nf4"})
    with pytest.raises(PreconditionError, match=r"experts of Mixtral.* in nf4 .*target_modules: .*q_proj, v_proj\)"):
        adapter.adapt(load_model(bases("mixtral").root, spec), Lora(dropout=0.0))
    adapted = adapter.adapt(load_model(bases("mixtral").root, spec), Lora(target_modules=("q_proj", "v_proj")))
    assert adapted.get_nb_trainable_parameters()[0] > 0

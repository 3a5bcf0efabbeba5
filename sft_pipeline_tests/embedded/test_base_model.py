"""The embedded tiny base model."""

import json
import math
import platform
import shutil
from pathlib import Path

import pytest

from sft_pipeline import specification
from sft_pipeline.embedded import base_model
from sft_pipeline.errors import SpecificationError
from sft_pipeline.experiment import EmbeddedBase
from sft_pipeline.model.snapshot import take
from sft_pipeline.provenance.hashing import files_below, hash_file

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = EmbeddedBase(kind="embedded", documents=500, steps=20, vocabulary=400, hidden_size=64, heads=2, batch_size=4)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    base_model.build(SMALL, folder)
    return folder


@pytest.mark.slow
def test_a_build_is_a_hugging_face_folder_without_a_chat_template(built):
    names = {path.name for path in files_below(built)}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert "chat_template" not in (built / "tokenizer_config.json").read_text()


def test_a_build_loads_as_qwen2_in_float32_with_finite_loss(built):
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

    model, info = Qwen2ForCausalLM.from_pretrained(built, output_loading_info=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(built)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert len(tokenizer) == model.config.vocab_size == SMALL.vocabulary
    ids = tokenizer("The opposite of hot is cold.", return_tensors="pt").input_ids
    assert torch.isfinite(model(input_ids=ids, labels=ids).loss)


def test_twenty_steps_have_taught_something(built):
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

    from sft_pipeline.embedded.corpus import documents

    model, tokenizer = Qwen2ForCausalLM.from_pretrained(built), PreTrainedTokenizerFast.from_pretrained(built)
    ids = tokenizer("\n".join(documents(7, 99, 20)), return_tensors="pt").input_ids[:, :256]
    with torch.no_grad():
        assert model(input_ids=ids, labels=ids).loss < 0.95 * math.log(SMALL.vocabulary)


def test_the_tokenizer_gives_text_back_and_adds_nothing(built):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(built)
    assert tokenizer.eos_token == base_model.END and tokenizer.pad_token == base_model.PAD
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    assert tokenizer.chat_template is None
    text = 'Instruction: Zürich, 東京?\nResponse: {"a": 1}'
    plain = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer(text).input_ids == plain
    assert tokenizer.decode(plain) == text


@pytest.mark.slow
def test_the_same_recipe_gives_the_same_bytes_and_another_seed_other_weights(built, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    base_model.build(SMALL, again)
    base_model.build(SMALL.model_copy(update={"seed": 2}), other)
    assert [hash_file(p) for p in files_below(again)] == [hash_file(p) for p in files_below(built)]
    assert hash_file(other / "model.safetensors") != hash_file(built / "model.safetensors")


def test_a_build_leaves_the_random_numbers_of_its_host_alone(tmp_path):
    import torch

    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    base_model.build(SMALL.model_copy(update={"steps": 1}), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_the_default_recipe_has_about_half_a_million_parameters_and_heads_that_vllm_can_use():
    from transformers import Qwen2ForCausalLM

    recipe = EmbeddedBase(kind="embedded")
    config = base_model.architecture(recipe, base_model.train_tokenizer(["a b"], 300))
    assert 450_000 < sum(p.numel() for p in Qwen2ForCausalLM(config).parameters()) < 650_000
    assert config.hidden_size // config.num_attention_heads in (32, 64, 80, 96, 112, 128)


def test_the_learning_rate_warms_up_and_falls_to_its_last_share():
    recipe = EmbeddedBase(kind="embedded")
    rates = [base_model.learning_rate(step, recipe) for step in range(recipe.steps)]
    assert max(rates) == rates[base_model.WARMUP_STEPS] == recipe.learning_rate
    assert rates[: base_model.WARMUP_STEPS] == sorted(rates[: base_model.WARMUP_STEPS])
    assert rates[base_model.WARMUP_STEPS :] == sorted(rates[base_model.WARMUP_STEPS :], reverse=True)
    assert rates[-1] == pytest.approx(base_model.FINAL_SHARE * recipe.learning_rate, rel=1e-3)


def test_too_little_text_is_refused_by_name(tmp_path):
    with pytest.raises(SpecificationError, match=r"model\.source\.documents"):
        base_model.build(SMALL.model_copy(update={"documents": 5, "batch_size": 64}), tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


def test_generation_is_greedy_and_ends_at_the_end_of_text(built):
    settings = json.loads((built / "generation_config.json").read_text())
    assert settings["do_sample"] is False
    assert settings["eos_token_id"] == json.loads((built / "config.json").read_text())["eos_token_id"]


# ------------------------------------------------------------------------------------------------- the packaged base

RECORD = json.loads((base_model.SHIPPED / base_model.RECORD).read_text())


def test_the_packaged_base_is_that_of_the_embedded_default_and_nothing_else():
    recipe = EmbeddedBase(kind="embedded", seed=base_model.SEED)
    tiny = specification.load_by_name("tiny", REPOSITORY).model.source
    assert tiny == recipe == EmbeddedBase.model_validate(RECORD["recipe"])
    assert base_model.shipped(recipe) == base_model.SHIPPED
    assert base_model.shipped(recipe.model_copy(update={"steps": recipe.steps + 1})) is None


@pytest.mark.slow
def test_tokens_that_the_text_has_not_differ_where_that_is_declared(tmp_path):
    """No adapter writes a token that is the likeliest under no hidden state; where it differs from its like, there is one."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoTokenizer

    recipe = EmbeddedBase(kind="embedded", seed=base_model.SEED)
    assert "spread_unseen" not in recipe.model_dump()  # the keys of what was made before it stay
    out = tmp_path / "out"
    out.mkdir()
    apart = take(recipe.model_copy(update={"spread_unseen": True}), tmp_path, tmp_path / "cache", out)
    assert not (tmp_path / "cache").exists()  # nothing is trained
    tags = AutoTokenizer.from_pretrained(apart.root).convert_tokens_to_ids(["<", "/", ">"])
    before, after = (
        load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
        for folder in (base_model.SHIPPED, apart.root)
    )
    unseen = (before != after).any(dim=1)
    text = base_model.documents(recipe.world_seed, recipe.seed, recipe.documents)
    encoded = Tokenizer.from_file(str(apart.root / "tokenizer.json")).encode_batch(list(text))
    seen = {token for document in encoded for token in document.ids} | {
        AutoConfig.from_pretrained(apart.root).eos_token_id
    }
    assert unseen[tags].all() and {token for token, moved in enumerate(unseen) if not moved} == seen

    def likeliest(vectors):
        return (vectors @ (vectors[tags] - vectors[unseen].mean(dim=0)).T).argmax(dim=0).tolist()

    assert likeliest(after) == tags != likeliest(before)


def test_a_packaged_base_that_was_changed_is_not_used(tmp_path, monkeypatch):
    changed = tmp_path / "base"
    shutil.copytree(base_model.SHIPPED, changed)
    monkeypatch.setattr(base_model, "SHIPPED", changed)
    recipe = EmbeddedBase(kind="embedded", seed=base_model.SEED)
    assert base_model.shipped(recipe) == changed
    (changed / "model.safetensors").write_bytes(b"other weights")
    assert base_model.shipped(recipe) is None


def reproducible():
    """Skip where the processor cannot compute as the record's did."""
    if platform.machine() != "x86_64" or "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("the packaged base was computed with AVX2, which this processor lacks")


@pytest.mark.slow
def test_the_first_steps_of_the_packaged_base_can_be_rebuilt_to_the_byte(tmp_path):
    reproducible()
    base_model.ship(base_model.FIRST_STEPS, tmp_path / "base")
    assert base_model.file_hashes(tmp_path / "base") == RECORD[f"files_after_{base_model.FIRST_STEPS}_steps"]


@pytest.mark.rebuild
def test_the_packaged_base_can_be_rebuilt_to_the_byte(tmp_path):
    reproducible()
    base_model.ship(None, tmp_path / "base")
    assert base_model.file_hashes(tmp_path / "base") == RECORD["files"]

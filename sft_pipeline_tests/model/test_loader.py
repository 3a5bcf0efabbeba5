"""The one clean loader: no template, nothing added, no other way in."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, FolderBase, Prompt, Sentinel
from sft_pipeline.model import guard, loader, snapshot
from sft_pipeline.model.generate import complete
from sft_pipeline.model.tokenizer import load_tokenizer, shipped_ids

PACKAGE = Path(loader.__file__).parent.parent
SPEC = BaseModelSpec(source=FolderBase(kind="folder", path="."))


@pytest.mark.slow
def test_no_other_module_loads_a_model_or_a_tokenizer():
    offenders = []
    for path in PACKAGE.rglob("*.py"):
        # A toxicity classifier is no base model; models are planned, and adapters fitted, without weights; libraries are
        # only imported.
        others = (
            "dataset/filters/toxicity.py",
            "planning/architecture.py",
            "model/adapter_fit.py",
            "lineage/processes/libraries.py",
        )
        if path.relative_to(PACKAGE).as_posix() in ("model/loader.py", "model/tokenizer.py", *others):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.ImportFrom | ast.Import)
                else [node.attr]
                if isinstance(node, ast.Attribute)
                else []
            )
            if any(
                n.startswith(("AutoModel", "AutoTokenizer", "AutoPeft")) or n in ("from_pretrained", "pipeline")
                for n in names
            ):
                offenders.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert offenders == []


@pytest.fixture
def with_template(toy_base, tmp_path):
    """The toy base with ChatML tokens and a chat template, as an instruct model ships it."""
    folder = tmp_path / "instruct"
    shutil.copytree(toy_base.root, folder)
    tokenizer = load_tokenizer(folder).inner
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


def test_the_chat_template_is_removed_and_its_tokens_are_refused(with_template):
    tokenizer = load_tokenizer(with_template)
    assert tokenizer.had_template and tokenizer.inner.chat_template is None
    assert set(tokenizer.template_tokens.values()) == {"<|im_start|>", "<|im_end|>"}
    with pytest.raises(ModelError, match="im_start"):
        tokenizer.encode("hello <|im_start|>user")
    assert tokenizer.count(["hello <|im_start|>user"]) == [len(tokenizer.inner("hello <|im_start|>user")["input_ids"])]


def test_the_guard_stops_on_a_template_token_in_the_format(with_template):
    tokenizer = load_tokenizer(with_template)
    checks = guard.structural_checks(tokenizer, ["<|im_start|>hi<|im_end|>"], allow_bos=False)
    assert "<|im_start|>" in checks["no_template_token_ids"]
    assert not checks["chat_template_disabled"] and not checks["no_special_token_delta"]


def test_a_token_added_on_the_way_is_a_delta(toy_base, tmp_path):
    from tokenizers.processors import TemplateProcessing

    folder = tmp_path / "bos"
    shutil.copytree(toy_base.root, folder)
    inner = load_tokenizer(folder).inner
    end = inner.eos_token
    inner.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, inner.eos_token_id)]
    )
    inner.save_pretrained(folder)
    tokenizer = load_tokenizer(folder)
    assert "without and" in guard.structural_checks(tokenizer, ["hello"], allow_bos=False)["no_special_token_delta"]


def test_a_text_has_the_tokens_that_the_shipped_file_gives_it(toy_base):
    tokenizer = load_tokenizer(toy_base.root)
    shipped = shipped_ids(toy_base.root, [guard.PROBE])
    assert [tokenizer.encode(guard.PROBE)] == shipped
    assert not any(guard.structural_checks(tokenizer, [guard.PROBE], False, shipped).values())


def test_a_replaced_pre_tokenizer_stops_the_guard(toy_base):
    from tokenizers import pre_tokenizers

    tokenizer = load_tokenizer(toy_base.root)
    digits = pre_tokenizers.Digits(individual_digits=True)
    parts = [digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.inner.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    shipped = shipped_ids(toy_base.root, [guard.PROBE])
    problem = guard.structural_checks(tokenizer, [guard.PROBE], False, shipped)["tokenizer_as_shipped"]
    assert "otherwise than tokenizer.json says" in problem


def test_a_folder_that_is_missing_is_said_to_be(tmp_path):
    with pytest.raises(ModelError, match="none: there is no such folder"):
        load_tokenizer(tmp_path / "none")


@pytest.mark.real_data
def test_a_llama_tokenizer_needs_the_declared_exception(real_data):
    tokenizer = load_tokenizer(real_data / "stories260K-hf")
    assert "allow_bos" in guard.structural_checks(tokenizer, ["Once"], allow_bos=False)["no_special_token_delta"]
    assert not any(guard.structural_checks(tokenizer, ["Once"], allow_bos=True).values())
    assert tokenizer.encode("Once upon")[0] != tokenizer.inner.bos_token_id


@pytest.mark.real_data
def test_the_guard_tells_a_real_base_model(real_data, tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "guard").mkdir()
    base = snapshot.take(
        FolderBase(kind="folder", path=str(real_data / "stories260K-hf")), tmp_path, tmp_path, tmp_path / "base"
    )
    spec = SPEC.model_copy(
        update={
            "allow_bos": True,
            "sentinels": (
                Sentinel(name="list", prompt="List three prime numbers:", expect="fails", matches=r"2\D+3\D+5"),
                Sentinel(
                    name="story",
                    prompt="Once upon a time, there was a little",
                    expect="works",
                    matches="girl|boy",
                    in_format=False,
                ),
                Sentinel(name="impossible", prompt="Water freezes at", expect="works", matches="zero", in_format=False),
            ),
        }
    )
    report = guard.inspect(base, spec, Prompt(), tmp_path / "guard")
    outcome = {(s.name, s.mode): s.passed for s in report.sentinels}
    assert outcome == {
        ("list", "raw"): True,
        ("list", "format"): True,
        ("story", "raw"): True,
        ("impossible", "raw"): False,
    }
    assert not report.passed and "impossible" in report.problems[0]
    assert "STOP impossible" in (tmp_path / "guard" / "guard.txt").read_text()
    assert report.loader["revision"].startswith("sha256:")


def test_a_base_that_follows_only_in_the_format_stops_unless_accepted():
    sentinel = Sentinel(name="s", prompt="p", expect="fails", matches="right")
    assert guard.judge(sentinel, "format", "p", "right", format_may_follow=False).blocking
    accepted = guard.judge(sentinel, "format", "p", "right", format_may_follow=True)
    assert not accepted.passed and not accepted.blocking


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "pickled weights .* refused"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "config.json").write_text("{"), "not JSON"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda f: shutil.rmtree(f), "no such folder"),
        (
            lambda f: (f / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}})),
            "remote code",
        ),
        (
            lambda f: (f / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-2.safetensors"}}'),
            "model-2.safetensors",
        ),
        (
            lambda f: (f / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "../base/model.safetensors"}}'
            ),
            "missing beside config.json",
        ),
        (lambda f: (f / "model.safetensors").rename(f / "consolidated.safetensors"), "no weights"),
    ],
)
def test_a_base_folder_that_cannot_be_used_says_why(toy_base, tmp_path, spoil, message):
    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(toy_base.root, folder)
    out.mkdir()
    spoil(folder)
    with pytest.raises(ModelError, match=message):
        snapshot.take(FolderBase(kind="folder", path="base"), tmp_path, tmp_path / "cache", out)


def test_only_what_is_needed_is_taken(toy_base, tmp_path):
    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(toy_base.root, folder)
    out.mkdir()
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "optimizer.pt").write_bytes(b"pickle")
    taken = snapshot.take(FolderBase(kind="folder", path="base"), tmp_path, tmp_path / "cache", out)
    assert set(taken.files) == set(toy_base.files)
    assert taken.parameters == toy_base.parameters


def test_of_the_weights_only_those_are_taken_that_a_loader_reads(toy_base, tmp_path):
    """As Mistral ships them: shards with an index, and the same weights once more under other names."""
    import numpy as np
    from safetensors.numpy import save_file

    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(toy_base.root, folder)
    out.mkdir()
    shard = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(folder / shard)
    save_file({"layers.0.attention.wq.weight": np.zeros((2, 2), np.float32)}, folder / "consolidated.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    taken = snapshot.take(FolderBase(kind="folder", path="base"), tmp_path, tmp_path / "cache", out)
    assert {name for name in taken.files if "safetensors" in name} == {shard, "model.safetensors.index.json"}
    assert taken.parameters == toy_base.parameters == snapshot.count_parameters(folder, "base")


def test_a_base_that_is_stored_quantised_is_refused(toy_base, tmp_path):
    """transformers would follow its config.json and not the specification, without a word."""
    out = tmp_path / "out"
    out.mkdir()
    model = loader.load_model(toy_base.root, SPEC.model_copy(update={"quantization": "nf4", "dtype": "bfloat16"}))
    shutil.copytree(toy_base.root, tmp_path / "base")
    model.save_pretrained(tmp_path / "base")
    with pytest.raises(
        ModelError, match=r"method bitsandbytes.* unquantised repository .* declare model\.quantization"
    ):
        snapshot.take(FolderBase(kind="folder", path="base"), tmp_path, tmp_path / "cache", out)
    assert not list(out.iterdir())


def _other_weights(kept: Path) -> None:
    weights = bytearray((kept / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (kept / "model.safetensors").write_bytes(weights)


@pytest.fixture
def filled_cache(toy_base, toy_cache, tmp_path):
    """A cache that holds the toy base, and the folder in which it does."""
    shutil.copytree(toy_cache / "base", tmp_path / "cache" / "base")
    (kept,) = (tmp_path / "cache" / "base").iterdir()
    return tmp_path / "cache", kept


@pytest.mark.parametrize(
    "damage",
    [
        _other_weights,
        lambda kept: (kept / "model.safetensors").write_bytes((kept / "model.safetensors").read_bytes()[:-50]),
        lambda kept: [path.unlink() for path in kept.iterdir()],
        lambda kept: (kept / "stray.json").write_text("{}"),
    ],
)
def test_a_damaged_cache_of_an_embedded_base_is_recognised(filled_cache, damage):
    _, kept = filled_cache
    assert snapshot._as_built(kept)
    damage(kept)
    assert not snapshot._as_built(kept)


@pytest.mark.slow
def test_a_damaged_cache_of_an_embedded_base_is_built_again(filled_cache, toy_recipe, toy_base, tmp_path, caplog):
    cache, kept = filled_cache
    _other_weights(kept)
    again = snapshot.take(toy_recipe, tmp_path, cache, tmp_path / "again")
    assert again.digest == toy_base.digest and f"{kept}: this cached embedded base is damaged" in caplog.text
    assert list((cache / "base").iterdir()) == [kept]


def test_an_embedded_base_is_built_once(filled_cache, toy_recipe, toy_base, tmp_path, monkeypatch, caplog):
    from sft_pipeline.embedded import base_model

    monkeypatch.setattr(base_model, "build", lambda *a: pytest.fail("built again"))
    again = snapshot.take(toy_recipe, tmp_path, filled_cache[0], tmp_path / "again")
    assert again.digest == toy_base.digest and "damaged" not in caplog.text


def test_a_missing_gpu_is_an_error_and_no_fallback(toy_base):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match="sees no CUDA device"):
        loader.load_model(toy_base.root, SPEC.model_copy(update={"device": "cuda"}))


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
@pytest.mark.parametrize(
    ("drop", "change", "said"),
    [
        ("up_proj", {}, "1 are not in the files, so they would be random (model.layers.0.mlp.up_proj.weight)"),
        ("", {"num_hidden_layers": 1}, "are in the files, but config.json has no place for them (model.layers.1."),
        ("", {"intermediate_size": 32}, "are of another shape than config.json says (model.layers.0.mlp.down_proj"),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_refused(
    toy_base, tmp_path, quantization, drop, change, said
):
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "base"
    shutil.copytree(toy_base.root, folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["num_hidden_layers"] == 1 and config["tie_word_embeddings"]  # the tied lm_head is not in the files
    weights = load_file(folder / "model.safetensors")
    second = {name.replace("layers.0", "layers.1"): value for name, value in weights.items() if "layers.0" in name}
    kept = {name: value for name, value in weights.items() if not drop or drop not in name} | second
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    config |= {"num_hidden_layers": 2, **change}
    config["layer_types"] = ["full_attention"] * config["num_hidden_layers"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=re.escape(said)):
        loader.load_model(folder, SPEC.model_copy(update={"quantization": quantization, "dtype": "bfloat16"}))


def test_buffers_that_a_model_computes_itself_may_stand_in_the_files(toy_base, tmp_path):
    import numpy as np
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "base"
    shutil.copytree(toy_base.root, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)  # as files of 2023 have it
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert loader.load_model(folder, SPEC)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_bases_load_and_answer_on_the_cpu(toy_base, quantization):
    spec = SPEC.model_copy(update={"quantization": quantization, "dtype": "bfloat16"})
    model = loader.load_model(toy_base.root, spec)
    kinds = {type(m).__name__ for m in model.modules()}
    assert {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[quantization] in kinds
    answers = complete(model, load_tokenizer(toy_base.root), ["The", "One drum, two"], max_new_tokens=4)
    assert len(answers) == 2 and all(a.tokens <= 4 for a in answers)

"""An export is shipped only where it answers as the gated adapter does; what it lost is named."""

import json
from pathlib import Path

import pytest

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.errors import DataError, ModelError, SpecificationError
from sft_pipeline.experiment import BaseModelSpec, EmbeddedBase
from sft_pipeline.model import loader
from sft_pipeline.release.export import gguf
from sft_pipeline.release.export.exports import export, supplied
from sft_pipeline.release.export.judge import compare, texts
from sft_pipeline.release.export.merge import merge
from sft_pipeline_tests.release.conftest import Lineage, experiment


@pytest.fixture(scope="module")
def judged(passed, tmp_path_factory):
    """Judges changed answers of the gated adapter; a change takes its answers in order and returns those of the export."""
    folder = tmp_path_factory.mktemp("judged")

    def judge(change, margin=0.02):
        outputs = texts(passed["sft_generations"])
        outputs |= change(dict(outputs), texts(passed["base_generations"]))
        three = (passed[name] for name in ("test_split", "base_generations", "sft_generations"))
        return compare("merged", outputs, "an engine", *three, experiment().evaluation, margin, folder)

    return judge


def wrong(outputs, number):
    """The last right answers made wrong, to which the base has none."""
    right = [id for id, text in outputs.items() if text.startswith("answer")][-number:]
    return dict.fromkeys(right, "wrongs")


@pytest.mark.slow
def test_the_same_answers_are_accepted_also_with_other_words_for_what_is_wrong(judged):
    same = judged(lambda sft, base: {})
    assert same.verdict == "accepted" and same.changed_share == 0 and (same.lost, same.won) == ((), ())
    other = judged(lambda sft, base: {id: "nothing" for id, text in sft.items() if not text.startswith("answer")})
    assert other.verdict == "accepted" and other.changed_share == pytest.approx(50 / 300)


def test_a_loss_is_named_with_its_items_and_flips_in_both_directions(judged):
    found = judged(lambda sft, base: wrong(sft, 20))
    assert found.verdict == "inferior" and len(found.lost) == 20 and found.won == ()
    assert "300 items: 20 lost" in found.detail and found.lost[0] in found.detail and "margin −2.0" in found.detail
    assert found.remedy and found.changed_share == pytest.approx(20 / 300)


def test_a_protected_type_has_its_own_margin(judged):
    """All losses in one type: over all items they are within a generous margin, for the protected type they are not."""
    found = judged(lambda sft, base: wrong(sft, 40), margin=0.3)
    assert found.overall.verdict == "held" and found.verdict == "inferior" and "sums: 20 lost of 150" in found.detail


def test_few_items_decide_nothing_and_the_number_that_would_is_said(judged):
    found = judged(lambda sft, base: {}, margin=0.005)
    assert found.verdict == "undecided" and "it takes 765 items" in found.remedy


def test_an_export_that_answers_as_the_base_is_refused_by_name(judged):
    found = judged(lambda sft, base: base)
    assert found.verdict == "equals_base" and "the adapter is not in this export" in found.detail
    nearly = judged(lambda sft, base: base | wrong(sft, 1))
    assert nearly.verdict == "inferior" and nearly.base_share > 0.99


def test_answers_to_other_items_are_refused(passed, tmp_path):
    three = [passed[name] for name in ("test_split", "base_generations", "sft_generations")]
    outputs = texts(passed["sft_generations"])
    first = next(iter(outputs))
    with pytest.raises(DataError, match=f"{first}.*without an answer"):
        compare(
            "gguf",
            {k: v for k, v in outputs.items() if k != first},
            "",
            *three,
            experiment().evaluation,
            0.02,
            tmp_path,
        )
    with pytest.raises(DataError, match="stranger.*does not have"):
        compare("gguf", outputs | {"stranger": ""}, "", *three, experiment().evaluation, 0.02, tmp_path)


@pytest.fixture
def exported(passed, tmp_path):
    def run(found=passed, **declared):
        out, work = tmp_path / "out", tmp_path / "work"
        out.mkdir()
        work.mkdir()
        names = ("base_model", "lora_adapter", "test_split", "base_generations", "sft_generations")
        return export(experiment(export=declared), *(found[name] for name in names), tmp_path, work, out)

    return run


def test_without_a_declared_export_there_is_a_report_of_none(exported):
    made = exported()
    assert made.results == () and set(made.files) == {"exports.json"}


def test_a_dead_adapter_is_refused_before_anything_is_merged(exported, passed, tmp_path):
    adapter = Lineage(tmp_path, lora_b=0.0).lora_adapter(tmp_path / "dead")
    (result,) = exported(passed | {"lora_adapter": adapter}, kinds=["merged"]).results
    assert result.verdict == "dead_adapter" and "every lora_B" in result.detail


def test_gguf_without_llama_cpp_prints_the_command_and_answers_made_elsewhere_are_judged(
    exported, passed, tmp_path, monkeypatch
):
    monkeypatch.delenv(gguf.LLAMA_CPP, raising=False)
    (result,) = exported(kinds=["gguf"]).results
    assert result.verdict == "not_judged" and "convert_hf_to_gguf.py exports/merged --outfile" in result.detail
    (tmp_path / "out").rename(tmp_path / "first")
    (tmp_path / "work").rename(tmp_path / "first_work")

    outputs = texts(passed["sft_generations"])
    file = tmp_path / "llama.jsonl"
    file.write_text("".join(json.dumps({"id": id, "output": text}) + "\n" for id, text in outputs.items()))
    declared = {"kinds": ["gguf"], "outputs": {"gguf": "llama.jsonl"}}
    (result,) = exported(**declared).results
    assert result.verdict == "accepted" and result.engine == "answers of llama.jsonl"
    assert result.files == () and "the file is not kept here" in result.detail
    assert supplied(experiment(export=declared), tmp_path)["gguf"]
    with pytest.raises(SpecificationError, match=r"export.outputs.gguf: there is no file"):
        supplied(experiment(export=declared | {"outputs": {"gguf": "none.jsonl"}}), tmp_path)


def test_llama_cpps_converter_is_called_where_it_is_at_hand(tmp_path, monkeypatch):
    tool, merged, out = tmp_path / "llama.cpp", tmp_path / "merged", tmp_path / "out"
    for folder in (tool, merged, out):
        folder.mkdir()
    script = tool / "convert_hf_to_gguf.py"
    script.write_text("import sys; open(sys.argv[3], 'w').write(' '.join(sys.argv[4:]))")
    monkeypatch.setenv(gguf.LLAMA_CPP, str(tool))
    assert gguf.converter() == script
    gguf.convert(script, merged, out, "q8_0")
    assert (out / "model.gguf").read_text() == "--outtype q8_0"
    script.write_text("raise SystemExit('no such architecture')")
    with pytest.raises(ModelError, match="converter failed: no such architecture$"):
        gguf.convert(script, merged, out, "q8_0")
    script.write_text("import gguf_of_another_world")
    with pytest.raises(ModelError, match="No module named .*Install that module"):
        gguf.convert(script, merged, out, "q8_0")
    # As llama.cpp's own converter ends for the embedded base.
    script.write_text("raise NotImplementedError('BPE pre-tokenizer was not recognized - update get_vocab_base_pre()')")
    with pytest.raises(ModelError, match="was not recognized.*leave gguf out of export.kinds"):
        gguf.convert(script, merged, out, "q8_0")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A base of two layers with random weights, and an adapter that says something."""
    import torch
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("small")
    config = Qwen2Config(
        vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder / "base")
    inner = Tokenizer(models.WordLevel({"<eos>": 0, "a": 1}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>").save_pretrained(folder / "base")
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(folder / "adapter")
    base = ModelSnapshot(root=folder / "base", source="", revision="", architecture="", parameters=0, vocabulary=64)
    return base, folder / "adapter"


@pytest.mark.slow
def test_gguf_is_converted_from_the_merged_export_or_from_one_that_is_made_for_it(
    exported, passed, small, tmp_path, monkeypatch
):
    script = tmp_path / "convert_hf_to_gguf.py"
    script.write_text("import os, sys; print(sys.argv[1], *os.listdir(sys.argv[1]), file=open(sys.argv[3], 'w'))")
    monkeypatch.setenv(gguf.LLAMA_CPP, str(tmp_path))
    adapter = passed["lora_adapter"].model_copy(update={"root": small[1].parent})
    found = passed | {"base_model": small[0], "lora_adapter": adapter}
    answers = "".join(
        json.dumps({"id": id, "output": text}) + "\n" for id, text in texts(passed["sft_generations"]).items()
    )
    (tmp_path / "merged.jsonl").write_text(answers)
    first, second = exported(found, kinds=["merged", "gguf"], outputs={"merged": "merged.jsonl"}).results
    assert (first.verdict, second.verdict) == ("accepted", "not_judged") and "converted" in second.detail
    place, *files = (tmp_path / "out" / "gguf" / "model.gguf").read_text().split()
    assert place == str(tmp_path / "out" / "merged") and "model.safetensors" in files
    (tmp_path / "out").rename(tmp_path / "first")
    (tmp_path / "work").rename(tmp_path / "first_work")
    exported(found, kinds=["gguf"])
    place, *files = (tmp_path / "out" / "gguf" / "model.gguf").read_text().split()
    assert place == str(tmp_path / "work" / "gguf") and "model.safetensors" in files and not Path(place).exists()


def logits(model):
    import torch

    with torch.no_grad():
        return model(torch.tensor([[5, 7, 20, 9, 31]])).logits


def spec(quantization: str) -> BaseModelSpec:
    return BaseModelSpec(source=EmbeddedBase(kind="embedded"), quantization=quantization)


@pytest.mark.parametrize(("kind", "quantization"), [("merged", "none"), ("merged_dequantized", "nf4")])
def test_a_merge_computes_what_the_adapter_does_on_the_base_that_it_was_trained_on(small, tmp_path, kind, quantization):
    base, adapter = small
    merge(base, spec(quantization), adapter, kind, tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert not [path for path in Path(tmp_path).iterdir() if path.suffix in (".bin", ".pt")]
    gated = loader.attach_adapter(loader.load_model(base.root, spec(quantization)), adapter)
    assert (logits(loader.load_model(tmp_path, spec("none"))) - logits(gated)).abs().max() < 1e-4


def test_the_other_base_computes_something_else(small, tmp_path):
    """Why an adapter that was trained on 4-bit weights is not simply merged into the 16-bit ones."""
    base, adapter = small
    merge(base, spec("nf4"), adapter, "merged", tmp_path)
    gated = loader.attach_adapter(loader.load_model(base.root, spec("nf4")), adapter)
    assert (logits(loader.load_model(tmp_path, spec("none"))) - logits(gated)).abs().max() > 1e-2


def test_what_is_not_quantised_cannot_be_dequantised(small, tmp_path):
    with pytest.raises(ModelError, match="nothing is quantised: export merged"):
        merge(small[0], spec("none"), small[1], "merged_dequantized", tmp_path)

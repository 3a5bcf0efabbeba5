"""Tokenizers of the structure that published bases ship: their own line breaks, markers, beginnings and dummy spaces."""

import json

import pytest

from sft_pipeline.errors import ModelError, TrainingError
from sft_pipeline.experiment import BaseModelSpec, FolderBase, Prompt, Sentinel
from sft_pipeline.model import guard
from sft_pipeline.model.tokenizer import load_tokenizer, shipped_ids
from sft_pipeline.training import tokenization
from sft_pipeline_tests.training.conftest import toy_experiment, toy_rows

SPEC = BaseModelSpec(source=FolderBase(kind="folder", path="."))
TEXTS = [f"Q: {row['instruction']}\nA: {row['response']}" for row in toy_rows(80)]
TURNS = "{% for m in messages %}<start_of_turn>{{ m.role }}\n{{ m.content }}<end_of_turn>\n{% endfor %}"


def save(tokenizer, folder, **options):
    """The tokenizer in the files that a model ships."""
    from transformers import PreTrainedTokenizerFast

    template = options.pop("chat_template", None)
    inner = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)
    inner.chat_template = template
    inner.save_pretrained(folder)
    return folder


def sentencepiece(start=False):
    """A BPE as Llama 2 and Gemma have it: a space is ▁, every text begins with one, bytes for what is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # merges end where a word does
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{n:02X}>" for n in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False, max_token_length=6
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tokenizer like Llama 2's, whose own default begins a text with <s>."""
    folder = tmp_path_factory.mktemp("llama")
    return save(sentencepiece(start=True), folder, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory):
    """A byte-level BPE as GPT-2 and Qwen have it, untrained."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def test_line_breaks_and_spaces_that_a_template_writes_are_no_template_tokens(tmp_path):
    from tokenizers import AddedToken

    tokenizer = sentencepiece()
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ("\n", "\n\n", "▁▁", "model", "<h1>")])
    tokenizer.add_special_tokens(["<start_of_turn>", "<end_of_turn>", "<start_of_image>"])
    template = TURNS + "<start_of_image>model"
    save(tokenizer, tmp_path, eos_token="</s>", bos_token="<s>", chat_template=template)
    loaded = load_tokenizer(tmp_path)
    assert set(loaded.template_tokens.values()) == {"<start_of_turn>", "<end_of_turn>", "<start_of_image>"}
    assert loaded.encode("Q: a model\n\nA:") and loaded.encode("<h1>\n")
    with pytest.raises(ModelError, match="<end_of_turn>"):
        loaded.encode("a<end_of_turn>\n")


@pytest.mark.parametrize("special", [False, True])
def test_markers_of_ones_own_format_are_allowed_by_declaration(tmp_path, byte_level, special):
    from tokenizers import AddedToken, Tokenizer

    tokenizer = Tokenizer.from_str(byte_level.to_str())
    markers = [AddedToken(text, normalized=False, special=special) for text in ("<think>", "</think>", "<tool_call>")]
    (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(markers)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    template = "<|im_start|>{{ m }}<think>\n</think><tool_call><|im_end|>"
    save(tokenizer, tmp_path, eos_token="<|endoftext|>", chat_template=template)
    text = "2 + 2 <think>two and two</think> 4"
    with pytest.raises(ModelError, match=r"</think>, <think>.*declare model.allowed_template_tokens"):
        load_tokenizer(tmp_path).encode(text)
    spec = SPEC.model_copy(update={"allowed_template_tokens": ("<think>", "</think>")})
    allowed = load_tokenizer(tmp_path, spec)
    # They are text in an answer too, which its scorer must see; the end of sequence is not.
    assert allowed.decode([*allowed.encode(text), allowed.end]) == text
    assert set(allowed.template_tokens.values()) == {"<tool_call>", "<|im_start|>", "<|im_end|>"}
    assert not guard.structural_checks(allowed, [text], allow_bos=False)["no_template_token_ids"]
    with pytest.raises(ModelError, match="the tokenizer has no token <thought>"):
        load_tokenizer(tmp_path, SPEC.model_copy(update={"allowed_template_tokens": ("<thought>",)}))


def test_a_token_without_an_embedding_is_refused_in_a_text_and_is_no_padding(tmp_path, byte_level):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(byte_level.to_str())
    rows = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["<pad>", "<new>"])
    save(tokenizer, tmp_path, eos_token="<|endoftext|>", pad_token="<pad>")
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": rows}))
    loaded = load_tokenizer(tmp_path)
    assert loaded.encode("a text") and loaded.inner.pad_token == "<|endoftext|>"
    with pytest.raises(ModelError, match=r"token <new> in the input .* no row for it .*same revision"):
        loaded.encode("a <new> text")
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": rows + 2}))
    assert load_tokenizer(tmp_path).inner.pad_token == "<pad>"
    save(tokenizer, tmp_path, eos_token="<new>")
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": rows}))
    with pytest.raises(ModelError, match="end-of-sequence token <new> has no row"):
        load_tokenizer(tmp_path)


def test_an_end_that_the_tokenizer_appends_is_no_beginning_to_declare(tmp_path, byte_level):
    from tokenizers import Tokenizer, processors

    tokenizer = Tokenizer.from_str(byte_level.to_str())
    end = [("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <|endoftext|>", special_tokens=end)
    save(tokenizer, tmp_path, eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    delta = guard.structural_checks(load_tokenizer(tmp_path), ["a"], allow_bos=True)["no_special_token_delta"]
    assert "take what adds them out of tokenizer.json (post_processor)" in delta and "model.bos" not in delta


def test_what_a_tokenizer_drops_from_a_text_is_reported(tmp_path, byte_level, toy_base):
    import shutil

    from tokenizers import Tokenizer, normalizers

    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(toy_base.root, folder)
    out.mkdir()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.save(str(folder / "tokenizer.json"))
    report = guard.inspect(toy_base.model_copy(update={"root": folder}), SPEC, Prompt(), out)
    assert report.passed and report.loader["tokenizer_round_trip"].startswith("in 1987, zoë's 23 friends")
    assert "the tokenizer does not give a text back as it was" in report.path("guard.txt").read_text()


def test_saved_padding_and_truncation_are_no_other_pre_tokenizer(tmp_path, byte_level):
    save(byte_level, tmp_path, eos_token="<|endoftext|>")
    saved = json.loads((tmp_path / "tokenizer.json").read_text())
    saved["padding"] = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None}
    saved["padding"] |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"}
    saved["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(saved))
    texts = [guard.PROBE, "a"]
    checks = guard.structural_checks(
        load_tokenizer(tmp_path), texts, allow_bos=False, shipped=shipped_ids(tmp_path, texts)
    )
    assert not any(checks.values()), checks


def test_vocabulary_and_merges_are_a_tokenizer_too(tmp_path, byte_level, toy_base):
    import shutil

    from sft_pipeline.model import snapshot

    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(toy_base.root, folder)
    out.mkdir()
    (folder / "tokenizer.json").unlink()
    byte_level.model.save(str(folder))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    snapshot.take(FolderBase(kind="folder", path="base"), tmp_path, tmp_path / "cache", out)
    ids = load_tokenizer(out).encode("Q: What kind")
    assert ids == byte_level.encode("Q: What kind").ids
    (tmp_path / "guard").mkdir()
    report = guard.inspect(toy_base.model_copy(update={"root": out}), SPEC, Prompt(), tmp_path / "guard")
    assert "there is no tokenizer.json" in report.path("guard.txt").read_text()
    (folder / "merges.txt").unlink()
    with pytest.raises(ModelError, match=r"tokenizer.json .* or vocab.json with merges.txt"):
        snapshot.check_files(folder, "base")


def test_every_prompt_begins_with_the_beginning_of_sequence_where_that_is_declared(llama, tmp_path):
    always = load_tokenizer(llama, SPEC.model_copy(update={"bos": "always"}))
    never = load_tokenizer(llama)
    assert always.encode("Q: a") == [1, *never.encode("Q: a")]
    rows = toy_rows(4)
    experiment = toy_experiment(model={"bos": "always"})
    encoded = tokenization.encode(experiment, always, rows)
    assert encoded.examples[0]["input_ids"][0] == 1 and encoded.examples[0]["labels"][0] == tokenization.IGNORED
    assert [n.count(1) for n in (example["input_ids"] for example in encoded.examples)] == [1] * 4
    plain = tokenization.encode(toy_experiment(), never, rows)
    assert [e["input_ids"][1:] for e in encoded.examples] == [e["input_ids"] for e in plain.examples]
    # The rule that is declared is the guard's as well; the other one has to be accepted.
    checks = guard.structural_checks(always, ["Q: a"], allow_bos=False)
    assert not any(checks.values()), checks
    delta = guard.structural_checks(never, ["Q: a"], allow_bos=False)["no_special_token_delta"]
    assert "Declare model.bos: always" in delta and "model.allow_bos: true" in delta
    assert always.default_start == "<s>" and experiment.model.loading["bos"] == "always"
    with pytest.raises(ModelError, match="<s> begins the input"):
        always.encode("<s>Q: a")


def test_a_tokenizer_without_a_beginning_cannot_always_begin_with_it(tmp_path, byte_level):
    save(byte_level, tmp_path, eos_token="<|endoftext|>")
    with pytest.raises(ModelError, match="no bos_token. Declare bos: none"):
        load_tokenizer(tmp_path, SPEC.model_copy(update={"bos": "always"}))


def test_the_guard_runs_its_sentinels_under_the_declared_beginning(toy_base, tmp_path):
    import shutil

    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(toy_base.root, folder)
    out.mkdir()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"bos_token": config["eos_token"]}))
    sentinel = Sentinel(name="s", prompt="One drum, two", expect="fails", matches="^never$")
    spec = SPEC.model_copy(update={"bos": "always", "sentinels": (sentinel,)})
    report = guard.inspect(toy_base.model_copy(update={"root": folder}), spec, Prompt(), out)
    assert report.passed and report.loader["bos"] == "always" and report.loader["tokenizer_default_start"] == "nothing"
    assert "every prompt begins with the beginning-of-sequence token" in report.path("guard.txt").read_text()


def test_the_end_of_sequence_inside_an_instruction_is_refused_with_its_row(llama):
    rows = toy_rows(3)
    rows[1]["instruction"] = "What is </s> here?"
    with pytest.raises(ModelError, match=rf"row {rows[1]['id']} \(toy.jsonl, row 2\): end-of-sequence token </s>"):
        tokenization.encode(toy_experiment(), load_tokenizer(llama), rows)


@pytest.mark.parametrize(("template", "prefix"), [("Q: {instruction}\nA: ", ""), ("Q: {instruction}\nA:", " ")])
def test_no_second_space_is_trained_at_the_border(llama, template, prefix):
    tokenizer = load_tokenizer(llama)
    experiment = toy_experiment().model_copy(update={"prompt": Prompt(template=template, response_prefix=prefix)})
    rows = toy_rows(40)
    encoded = tokenization.encode(experiment, tokenizer, rows)
    assert len(encoded.merged) == (40 if template.endswith(" ") else 0)
    for row, example in zip(rows, encoded.examples, strict=True):
        prompt = experiment.prompt.render(row["instruction"])
        count = len(tokenizer.encode(prompt))
        assert example["input_ids"][:count] == tokenizer.encode(prompt)
        assert tokenizer.decode(example["input_ids"]) == prompt + prefix + row["response"]


def test_a_border_without_any_faithful_encoding_is_refused_with_the_remedy(tmp_path):
    from tokenizers import normalizers

    tokenizer = sentencepiece()
    # This one takes white space off the beginning, so that no line break can stand in front of a response.
    first = normalizers.Strip(left=True, right=False)
    tokenizer.normalizer = normalizers.Sequence([first, normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    save(tokenizer, tmp_path, eos_token="</s>")
    experiment = toy_experiment().model_copy(
        update={"prompt": Prompt(template="{instruction} A: ", response_prefix="")}
    )
    with pytest.raises(TrainingError, match=r"toy.jsonl, row 1\).* End prompt.template without a space"):
        tokenization.encode(experiment, load_tokenizer(tmp_path), toy_rows(2))

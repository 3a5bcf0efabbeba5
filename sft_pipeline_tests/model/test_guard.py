"""The guard's report, and what a base model must not be."""

import json
import re
import shutil

import pytest

from sft_pipeline.artifacts import GuardReport
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, FolderBase, Prompt, Sentinel
from sft_pipeline.model import guard, loader, snapshot
from sft_pipeline.model.tokenizer import CleanTokenizer, load_tokenizer

SPEC = BaseModelSpec(source=FolderBase(kind="folder", path="."))
FAILS = Sentinel(name="list_generation_should_fail", prompt="List three primes:", expect="fails", matches="^2, 3, 5$")


@pytest.fixture
def inspected(toy_base, tmp_path):
    """Makes a guard report; sentinels and a change of the base's folder."""

    def make(*sentinels, change=lambda folder: None, role="base", prompt=None) -> GuardReport:
        folder, out = tmp_path / "base", tmp_path / "guard"
        shutil.copytree(toy_base.root, folder)
        change(folder)
        out.mkdir()
        base = toy_base.model_copy(update={"root": folder})
        return guard.inspect(
            base, SPEC.model_copy(update={"sentinels": sentinels, "role": role}), prompt or Prompt(), out
        )

    return make


def templated(folder, **tokens):
    tokenizer = load_tokenizer(folder).inner
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"], **tokens})
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    tokenizer.save_pretrained(folder)


def test_the_report_says_what_was_looked_at_raw_and_in_the_format(inspected):
    report = inspected(FAILS)
    assert report.passed and [(s.mode, s.prompt) for s in report.sentinels] == [
        ("raw", FAILS.prompt),
        ("format", Prompt().render(FAILS.prompt)),
    ]
    text = report.path("guard.txt").read_text()
    assert "ok   list_generation_should_fail [raw] failed:" in text and "[format] failed:" in text
    for name in ("chat_template_disabled", "no_template_token_ids", "no_special_token_delta", "tokenizer_as_shipped"):
        assert f"ok   {name}" in text and report.checks[name] == ""
    stored = json.loads(report.path("guard.json").read_text())
    assert [s["answer"] for s in stored["sentinels"]] == [s.answer for s in report.sentinels]
    wanted = {"loader_version", "model", "revision", "quantization", "template_disabled", "add_special_tokens"}
    assert wanted <= stored["loader"].keys() == report.loader.keys()


def test_a_removed_chat_template_and_missing_sentinels_are_said(inspected):
    report = inspected(change=templated)
    text = report.path("guard.txt").read_text()
    assert report.passed and report.loader["template_found"] == "true"
    assert (
        "carry a chat template: it was removed" in text and "no sentinel was run: the specification names none" in text
    )


def renamed_end(folder, end, template):
    """Give the tokenizer in `folder` another spelling of its end of sequence, and a chat template."""
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("<|endoftext|>", end))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": end, "chat_template": template}))


WORKS = Sentinel(name="answers", prompt="Say something.", expect="works", matches="(?s).*")
CHAT = "{% for m in messages %}{{ m.content + END }}{% endfor %}"


def other_template(folder):
    (folder / "chat_template.jinja").write_text("{{- '' }}" + CHAT.replace("END", "eos_token"))


@pytest.mark.parametrize(
    ("sentinel", "end", "change", "problem"),
    [
        (WORKS, "eos_token", lambda folder: None, {}),
        (WORKS, "'<|pad|>'", lambda folder: None, {"template_end": "the model's files name .*'<|endoftext|>'"}),
        (WORKS, "eos_token", other_template, {"one_shipped_template": "carry different templates: leave one"}),
        (FAILS, "eos_token", lambda folder: None, {"asked_to_follow": "declare one with expect: works"}),
    ],
)
def test_an_instruct_model_must_follow_in_the_template_that_it_ships(inspected, sentinel, end, change, problem):
    def changed(folder):
        config = json.loads((folder / "tokenizer_config.json").read_text())
        template = CHAT.replace("END", end)
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
        change(folder)

    report = inspected(sentinel, change=changed, role="instruct", prompt=Prompt(format="chat"))
    found = {name: text for name, text in report.checks.items() if text}
    assert found.keys() == problem.keys() and all(re.search(problem[name], text) for name, text in found.items())
    assert [(s.mode, s.prompt) for s in report.sentinels] == (
        [("format", "Say something.<|endoftext|>")] if not problem else []
    )
    assert report.passed is not bool(problem)


def test_an_instruct_model_that_does_not_follow_stops_the_run(inspected):
    report = inspected(
        Sentinel(name="counts", prompt="Count.", expect="works", matches="^1 2 3$"),
        change=lambda folder: (folder / "chat_template.jinja").write_text(CHAT.replace("END", "eos_token")),
        role="instruct",
        prompt=Prompt(format="chat"),
    )
    assert not report.passed and report.sentinels[0].blocking and not report.sentinels[0].passed


def test_an_end_of_sequence_that_belongs_to_a_chat_template_stops_the_guard(inspected):
    report = inspected(FAILS, change=lambda folder: renamed_end(folder, "<|im_end|>", "{{ m }}<|im_end|>"))
    assert not report.passed and "the chat template's <|im_end|>" in report.checks["no_template_end"]
    assert not report.sentinels, "behaviour is not looked at when the input is not clean"
    text = report.path("guard.txt").read_text()
    assert "STOP no_template_end" in text and "no sentinel was run: a check above failed" in text


@pytest.mark.parametrize("end", ["<|eot|>", "<|return|>", "<|end_of_turn|>", "<|end|>", "<|user|>", "[|endofturn|]"])
def test_any_end_of_a_turn_stops_the_guard(inspected, end):
    template = "{% for m in messages %}<|header|>{{ m.content }}" + end + "{% endfor %}"
    report = inspected(change=lambda folder: renamed_end(folder, end, template))
    assert f"the chat template's {end}" in report.checks["no_template_end"]


@pytest.mark.parametrize(
    "end",
    [
        "<|endoftext|>",  # GPT-2, Pythia, OLMo, Falcon, Qwen
        "<|end_of_text|>",  # Llama 3
        "</s>",  # Llama 2, Mistral
        "<eos>",  # Gemma
        "<｜end▁of▁sentence｜>",  # DeepSeek
        "<seed:eos>",
    ],
)
def test_the_end_of_a_text_is_a_base_models_own_even_where_its_template_writes_it(inspected, end):
    template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}" + end
    report = inspected(change=lambda folder: renamed_end(folder, end, template))
    assert report.passed and report.loader["template_found"] == "true", report.checks


def test_a_chat_template_that_is_still_in_force_stops_the_guard(toy_base):
    from transformers import PreTrainedTokenizerFast

    class Mistrals(PreTrainedTokenizerFast):
        def apply_chat_template(self, conversation, tokenize):
            return f"[INST]{conversation[0]['content']}[/INST]"

    def checked(inner):
        tokenizer = CleanTokenizer(inner, {}, had_template=False)
        return guard.structural_checks(tokenizer, [guard.PROBE], False)["chat_template_disabled"]

    clean = load_tokenizer(toy_base.root).inner
    assert checked(clean) == ""
    assert "becomes '[INST]x[/INST]'" in checked(Mistrals.from_pretrained(toy_base.root))
    clean.chat_template = "{{ messages }}"
    assert "still has a chat template" in checked(clean)


def test_special_tokens_that_replace_others_are_a_delta_too(toy_base):
    class Replacing:
        chat_template = None
        bos_token_id = None

        def __call__(self, texts, add_special_tokens):
            return {"input_ids": [[9 if add_special_tokens else 8] for _ in texts]}

        def convert_ids_to_tokens(self, token_id):
            return str(token_id)

        def apply_chat_template(self, conversation, tokenize):
            raise ValueError("no template")

        eos_token_id = 0

    tokenizer = CleanTokenizer(Replacing(), {}, had_template=False)
    assert (
        "with special tokens (added: ['9'])"
        in guard.structural_checks(tokenizer, ["x"], False)["no_special_token_delta"]
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", b"not a header", "no complete safetensors file"),
        ("model.safetensors", None, "no complete safetensors file"),
        ("model.safetensors.index.json", b"[]", "holds no weight_map"),
        ("config.json", b"[1]", "no JSON object"),
        ("config.json", b'{"model_type": "vision"}', "no vocab_size"),
        (
            "tokenizer_config.json",
            b'{"auto_map": {"AutoTokenizer": "evil.Tok"}}',
            r"tokenizer_config.json .*remote code",
        ),
        ("tokenizer_config.json", b"{", "tokenizer_config.json is not JSON"),
    ],
)
def test_damaged_files_of_a_base_are_named(toy_base, tmp_path, file, content, message):
    folder, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(toy_base.root, folder)
    out.mkdir()
    (folder / file).write_bytes(content if content is not None else (folder / file).read_bytes()[:-100])
    with pytest.raises(ModelError, match=message):
        snapshot.take(FolderBase(kind="folder", path="base"), tmp_path, tmp_path / "cache", out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "flash_attention_2"}, "needs device: cuda and dtype: bfloat16, here are cpu and float32"),
        ({"attention": "flash_attention_2", "dtype": "bfloat16"}, "here are cpu and bfloat16"),
    ],
)
def test_an_attention_that_cannot_run_here_is_an_error(toy_base, change, message):
    with pytest.raises(ModelError, match=message):
        loader.load_model(toy_base.root, SPEC.model_copy(update=change))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_declared_attention_is_the_one_that_runs(toy_base, attention):
    model = loader.load_model(toy_base.root, SPEC.model_copy(update={"attention": attention}))
    assert model.config._attn_implementation == attention

"""Conversations as chat templates write them: masks, and templates and messages that cannot be used."""

import os
import re
from datetime import datetime
from pathlib import Path

import pytest

from sft_pipeline.dataset.source import read
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError, ModelError, TrainingError
from sft_pipeline.experiment import Experiment, FileData, Prompt
from sft_pipeline.model import guard
from sft_pipeline.model.chat_template import CHATML, Unfit, _spelt
from sft_pipeline.model.conversation import Conversation, of_row, turns
from sft_pipeline.model.prompts import prompts, with_examples
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.planning import test_items
from sft_pipeline.training import mask_audit, tokenization
from sft_pipeline.training.tokenization import IGNORED
from sft_pipeline_tests.conftest import TOKENIZERS

MARKS = (
    "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<start_of_turn>", "<end_of_turn>", "<bos>", "<|start|>", "<|end|>", "<|return|>", "<|call|>", "<|message|>",
    "<|channel|>",
)  # fmt: skip
USER, ANSWER = {"role": "user", "content": "What is amber?"}, {"role": "assistant", "content": "A kind of stone."}
TALK = [
    {"role": "system", "content": "Be brief."},
    USER,
    ANSWER,
    {"role": "user", "content": "And birch?"},
    {"role": "assistant", "content": "A tree."},
]
CALL = {"type": "function", "id": "call00001", "function": {"name": "look_up", "arguments": {"word": "birch"}}}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Look.", "parameters": {"type": "object"}}}
CALLING = [
    USER,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "a tree", "tool_call_id": "call00001", "name": "look_up"},
    ANSWER,
]


def experiment(chat: dict | None = None, **training) -> Experiment:
    return Experiment.model_validate(
        {
            "description": "chat",
            "prompt": {"format": "chat", "chat": chat or {}},
            "data": {"source": {"kind": "file", "path": "x", "conversations": {"several_turns": "keep"}}},
            "model": {"source": {"kind": "folder", "path": "x"}},
            "training": {"max_steps": 1, "max_length": 10**6, **training},
            "evaluation": {"scorers": {"default": {"kind": "exact"}}},
        }
    )


@pytest.fixture(scope="session")
def marked(tmp_path_factory):
    """A byte-level tokenizer with the marks of several templates."""
    return with_marks(tmp_path_factory.mktemp("marked"))


def with_marks(folder: Path, *merges: tuple[str, str]) -> Path:
    """Write it into `folder`; these pairs of characters are one token, wherever they stand."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    vocabulary = {text: i for i, text in enumerate(characters)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not merges)
    inner.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", bos_token="<bos>")
    fast.add_special_tokens({"additional_special_tokens": list(MARKS)})
    fast.save_pretrained(folder)
    return folder


COLON = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ':' + m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant:' }}{% endif %}"
)
"""Writes an answer right behind a character, with which its first one can be one token."""


def load(marked: Path, tmp_path: Path, template: str | None, chat: dict | None = None):
    for file in marked.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if template is not None:
        (tmp_path / "chat_template.jinja").write_text(template)
    declared = experiment(chat)
    return load_tokenizer(tmp_path, declared.model, declared.prompt)


def row(messages, **rest) -> dict:
    talk = Conversation(messages, **rest).to_json()
    return {
        "id": "r",
        "instruction": "",
        "response": "",
        "conversation": talk,
        "source_file": "f.jsonl",
        "source_row": 3,
    }


def learned(tokenizer, example) -> list[str]:
    runs, last = [], None
    for token, label in zip(example["input_ids"], example["labels"], strict=True):
        if label != IGNORED:
            assert label == token
            runs = [*runs, [token]] if last in (None, IGNORED) else [*runs[:-1], [*runs[-1], token]]
        last = label
    return [tokenizer.decode(run, special=True) for run in runs]


def test_a_plain_experiment_is_written_and_hashed_as_before():
    from sft_pipeline.provenance.hashing import hash_value
    from sft_pipeline.specification import load, project_root

    tiny = load(project_root() / "specs" / "tiny.yaml")
    assert set(Prompt().model_dump()) == {"template", "response_prefix"}
    assert hash_value(tiny.prompt.model_dump()) == PROMPT_HASH
    assert hash_value(tiny.data.model_dump(mode="json")) == DATA_HASH
    assert hash_value(tiny.model.model_dump(mode="json")) == MODEL_HASH


PROMPT_HASH = "52c2315b2e7d02e69b980302d4dab2327bc9328c01724037cbacc440957cdcee"
DATA_HASH = "c8f04266ed98c7dcc5a44750997505c0adc322a7c8bf02d087f4580b4e3043b6"
MODEL_HASH = "038b6dcf269b6db1f9667eba46c0a133e587c3cf41887c036e30c071100d2fb3"


def prepared_by_trl(tokenizer, template: str, messages: list[dict], folder: Path) -> dict:
    """Token ids and labels as TRL's trainer prepares them."""
    from datasets import Dataset
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer.chat_template = template
    sizes = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **dict.fromkeys(sizes, 1)))
    options = SFTConfig(
        str(folder), assistant_only_loss=True, max_length=None, report_to="none", use_cpu=True, bf16=False
    )
    rows = Dataset.from_list([{"messages": messages}])
    return SFTTrainer(model, options, train_dataset=rows, processing_class=tokenizer).train_dataset[0]


@pytest.mark.parametrize("name", ["qwen3", "llama3", "gemma3", "gptoss"])
def test_the_masks_are_those_of_trl(marked, tmp_path, name):
    """TRL's templates as they are shipped, and its own ones with generation blocks, of which it makes the reference."""
    import trl

    shipped, training = (
        (Path(trl.__file__).parent / "chat_templates" / f"{name}{kind}.jinja").read_text() for kind in ("", "_training")
    )
    for number, template in enumerate((shipped, training)):
        (folder := tmp_path / str(number)).mkdir()
        tokenizer = load(marked, folder, template, {"date": datetime.now().astimezone().date().isoformat()})
        messages = TALK[1:]
        (example,) = tokenization.encode(experiment(), tokenizer, [row(messages)]).examples
        texts = learned(tokenizer, example)
        assert [m["content"] in text for m, text in zip((ANSWER, TALK[-1]), texts, strict=True)] == [True, True]
        assert all(text.rstrip().endswith(tuple(tokenizer.chat.ends.values())) for text in texts)
        if number:  # what the shipped one writes may differ, such as reasoning in the last answer alone
            reference = prepared_by_trl(tokenizer.inner, training, messages, folder)
            assert example == {name: reference[name] for name in ("input_ids", "labels")}


@pytest.mark.parametrize("turned", [TALK, TALK[1:], CALLING])
def test_chatml_teaches_every_answer_and_its_end(marked, tmp_path, turned):
    tokenizer = load(marked, tmp_path, None, {"template": "chatml"})
    tools = [TOOL] if turned is CALLING else None
    (example,) = tokenization.encode(experiment(), tokenizer, [row(turned, tools=tools)]).examples
    call = '<tool_call>\n{"arguments": {"word": "birch"}, "name": "look_up"}\n</tool_call>'
    answers = [m["content"] or call for m in turned if m["role"] == "assistant"]
    assert learned(tokenizer, example) == [f"{answer}<|im_end|>" for answer in answers]


def test_a_prompt_is_how_the_trained_conversation_begins(marked, tmp_path):
    tokenizer = load(marked, tmp_path, None, {"template": "chatml"})
    (example,) = tokenization.encode(experiment(), tokenizer, [row(TALK)]).examples
    asked = [row(turn.messages, last=True) for turn in turns(of_row(row(TALK)))]
    for prompt in tokenizer.encode_all(prompts(experiment(), tokenizer, asked, None)):
        assert example["input_ids"][: len(prompt)] == prompt and example["labels"][len(prompt)] != IGNORED
    (last,) = tokenization.encode(experiment(), tokenizer, asked[1:]).examples
    assert learned(tokenizer, last) == ["A tree.<|im_end|>"]


def test_where_an_answer_merges_with_what_stands_before_it_no_token_crosses_the_border(tmp_path):
    (tmp_path / "merging").mkdir()
    tokenizer = load(with_marks(tmp_path / "merging", (":", "A")), tmp_path, COLON)
    assert len(tokenizer.encode("assistant:A")) == len("assistant:"), "the two characters must be one token"
    encoded = tokenization.encode(experiment(), tokenizer, [row(TALK), row([USER, {**ANSWER, "content": "Birch."}])])
    first, second = encoded.examples
    assert learned(tokenizer, first) == [f"{m['content']}<|im_end|>" for m in (ANSWER, TALK[-1])]
    asked = [row(turn.messages, last=True) for turn in turns(of_row(row(TALK)))]
    prompt, _ = tokenizer.encode_all(prompts(experiment(), tokenizer, asked, None))
    assert first["input_ids"][: len(prompt)] == prompt and first["labels"][len(prompt)] != IGNORED
    assert learned(tokenizer, second) == ["Birch.<|im_end|>"] and encoded.merged == ["r"]


def test_without_the_token_of_chatml_the_end_of_sequence_ends_a_turn(toy_base):
    declared = experiment({"template": "chatml"})
    tokenizer = load_tokenizer(toy_base.root, declared.model, declared.prompt)
    (example,) = tokenization.encode(declared, tokenizer, [row(TALK)]).examples
    assert learned(tokenizer, example) == [f"{m['content']}{tokenizer.inner.eos_token}" for m in (ANSWER, TALK[-1])]
    assert tokenizer.ends == {tokenizer.inner.eos_token_id}


LAST_ALONE = CHATML.replace("{%- for message in messages %}", "{%- for message in messages[-3:] %}")
AFTERWARDS = "{% if messages|length > 3 %}many{% endif %}" + CHATML


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (None, "ships no chat template"),
        ("{{ messages[0].nothing.at.all }}", "cannot write the plainest conversation: UndefinedError"),
        ("{{ raise_exception('not today') }}", "not today"),
        ("{% for m in messages %}{{ m.text }}{% endfor %}", "leaves out what is said"),
        ("{% for m in messages %}{{ m.content | upper + eos_token }}{% endfor %}", "leaves out what is said"),
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "no special token"),
        ("{{ greeting }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}", "'greeting' is undefined"),
        ("{% for m in messages %}{{ m.content | shout }}{% endfor %}", "No filter named 'shout'"),
        ("{% for m in messages %}{{ m.content }}", "cannot write the plainest conversation: "),
        ("{% include '/etc/passwd' %}", "cannot write the plainest conversation: "),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages | length }}{% for m in messages %}{{ m.content + eos_token }}{% endfor %}", "not prefix-stable"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
            "was stopped: it took",
        ),
        ("{{ 9 ** (9 ** 9) }}", "was stopped: it"),
    ],
)
@pytest.mark.slow
def test_templates_that_cannot_be_used(marked, tmp_path, monkeypatch, template, problem):
    monkeypatch.setattr("sft_pipeline.model.chat_template.SECONDS", 1.5)
    with pytest.raises(ModelError, match=problem):
        load(marked, tmp_path, template)


@pytest.mark.parametrize(
    ("template", "messages", "problem"),
    [
        (LAST_ALONE, TALK, "does not write the text of message 1"),
        (AFTERWARDS, TALK, "not prefix-stable: what it writes before message 3"),
        (
            CHATML,
            [{"role": "user", "content": "a<|im_start|>system"}, ANSWER],
            "message 1 .user. holds the control token",
        ),
        (CHATML, [USER, {**ANSWER, "reasoning_content": "Hm."}], "the reasoning of message 2 .*reasoning: drop leaves"),
        (CHATML.replace("message.tool_calls", "message.no_calls"), CALLING, "the tool call of message 2"),
    ],
)
@pytest.mark.slow
def test_conversations_that_a_template_cannot_write(marked, tmp_path, template, messages, problem):
    tokenizer = load(marked, tmp_path, "{%- set turn_end = '<|im_end|>' %}" + template)
    with pytest.raises(TrainingError, match=rf"f.jsonl, row 3.*{problem}"):
        tokenization.encode(experiment(), tokenizer, [row(messages)])


def test_a_conversation_that_is_too_long_keeps_the_declared_turns(marked, tmp_path):
    tokenizer = load(marked, tmp_path, None, {"template": "chatml"})
    whole = len(tokenization.encode(experiment(), tokenizer, [row(TALK)]).examples[0]["input_ids"])
    for keep, answer in (("first", "A kind of stone."), ("last", "A tree.")):
        declared = experiment({"template": "chatml", "keep_turns": keep}, max_length=whole - 1)
        encoded = tokenization.encode(declared, tokenizer, [row(TALK)])
        assert learned(tokenizer, encoded.examples[0]) == [f"{answer}<|im_end|>"]
        assert encoded.shortened == ["r"] and not encoded.truncated
        assert "Be brief." in tokenizer.decode(encoded.examples[0]["input_ids"], special=True)
    cut = tokenization.encode(experiment({"template": "chatml"}, max_length=whole - 1), tokenizer, [row(TALK)])
    assert cut.truncated == ["r"] and not cut.shortened
    assert not mask_audit.misplaced_end(cut, tokenizer)
    labels = cut.examples[0]["labels"]
    labels[next(at for at, label in enumerate(labels) if label in tokenizer.ends)] = IGNORED
    assert "row r: it has 2 answers" in mask_audit.misplaced_end(cut, tokenizer)[0]
    (asked,) = prompts(experiment({"template": "chatml", "keep_turns": "last"}), tokenizer, [row(TALK)], whole)
    assert "amber" not in asked and "birch" in asked and "Be brief." in asked
    length = tokenizer.count([asked])[0]
    for keep in ("all", "last"):  # the last exchange alone may be too long as well
        with pytest.raises(ModelError, match="f.jsonl, row 3.*leaves no room for an answer.*keep_turns: last"):
            test_items._encode([row(TALK)], experiment({"template": "chatml", "keep_turns": keep}), tokenizer, length)


def test_a_base_with_a_clean_end_may_learn_a_format_that_ends_by_a_template_token(marked, tmp_path):
    tokenizer = load(marked, tmp_path, None, {"template": "chatml"})
    assert tokenizer.ends >= {tokenizer.inner.eos_token_id, tokenizer.end} and len(tokenizer.ends) == 2
    assert not any(guard.structural_checks(tokenizer, [guard.PROBE], False).values())


def test_control_tokens_stand_only_in_what_the_template_wrote(marked, tmp_path):
    tokenizer = load(marked, tmp_path, None, {"template": "chatml"})
    with pytest.raises(ModelError, match="chat-template token"):
        tokenizer.encode("<|im_start|>user\nHi")
    with pytest.raises(ModelError, match="end-of-sequence token </s>"):
        tokenizer.encode("Hi</s>")
    with pytest.raises(Unfit, match="control token"):
        tokenizer.chat.prompt(Conversation([{"role": "user", "content": "</s>"}, ANSWER]))


def test_examples_are_exchanges_before_the_items_own(marked, tmp_path):
    tokenizer = load(marked, tmp_path, None, {"template": "chatml"})
    example = row([{"role": "system", "content": "Shout."}, USER, {**ANSWER, "reasoning_content": "Hm."}])
    system, question = TALK[0], {"role": "user", "content": "And basalt?"}
    item = row([system, question, {"role": "assistant", "content": "No tree."}], last=True)
    shown = with_examples(tokenizer.chat, [example], item)
    assert shown == tokenizer.chat.prompt(Conversation([system, USER, ANSWER, question, {**ANSWER}]))
    assert shown.endswith("<|im_start|>user\nAnd basalt?<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(ModelError, match="row r .f.jsonl, row 3., with the examples r: message 2 .* control token"):
        with_examples(tokenizer.chat, [row([{"role": "user", "content": "a</s>b"}, ANSWER])], item)


@pytest.mark.parametrize("field", [{"template": "{examples}{instruction}"}, {"separator": "\n"}])
def test_plain_prompts_of_comparators_are_refused(field):
    spec = experiment({"template": "chatml"}).model_dump()
    spec["evaluation"]["comparators"] = {"few": {"examples": 1, **field}}
    with pytest.raises(ValueError, match=f"comparators.few: {next(iter(field))} is for plain prompts"):
        Experiment.model_validate(spec)


@pytest.mark.parametrize("ended", [False, True])
def test_a_call_that_no_token_ends_is_not_learned_up_to_a_later_end(marked, tmp_path, ended):
    """As DeepSeek-V3 writes a single call: what follows, up to the end of the next answer, is not the assistant's."""
    template = (
        "{% for m in messages %}{{ '[' + m.role + ']' }}{% if m.content is none %}{% for c in m.tool_calls %}"
        "{{ c.function.name + c.function.arguments }}{% endfor %}{% else %}{{ m.content }}{% endif %}"
        f"{{% if m.role == 'assistant' and (m.content is not none or {ended}) %}}{{{{ eos_token }}}}{{% endif %}}{{% endfor %}}"
        "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
    )
    tokenizer = load(marked, tmp_path, template)
    assert tokenizer.chat.calls == (True, True)
    if not ended:
        with pytest.raises(TrainingError, match="writes no end token after message 2"):
            tokenization.encode(experiment(), tokenizer, [row(CALLING, tools=[TOOL])])
        return
    (example,) = tokenization.encode(experiment(), tokenizer, [row(CALLING, tools=[TOOL])]).examples
    assert learned(tokenizer, example) == ['look_up{"word": "birch"}</s>', "A kind of stone.</s>"]


def test_a_template_that_writes_the_date_writes_the_declared_one(marked, tmp_path):
    template = "{%- set turn_end = '<|im_end|>' %}{{ strftime_now('%d.%m.%Y') }}" + CHATML
    tokenizer = load(marked, tmp_path, template, {"date": "2020-02-03"})
    assert tokenizer.chat.prompt(Conversation([USER, ANSWER])).startswith("03.02.2020")


TURNS = {
    "qwen3": r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)",
    "llama3": r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n(.*?<\|eot_id\|>)",
    "llama3_1": r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n(.*?<\|eot_id\|>)",
    "llama2": r"<\|im_start\|>assistant\n(.*?</s>)",  # it ships no template, nor does gptoss: ChatML
    "gemma3": r"<start_of_turn>model\n(.*?<end_of_turn>)",
    "gptoss": r"<\|im_start\|>assistant\n(.*?<\|return\|>)",
    "deepseek_v3": r"(?:<｜Assistant｜>|<｜tool▁outputs▁end｜>)(.*?<｜end▁of▁sentence｜>)",
}
"""What an answer with its end is in the text of each, as a reader of its template would say."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TURNS)
def test_real_tokenizers_teach_exactly_the_answers(real_data, tmp_path, name):
    """Token by token against patterns in what transformers writes, encoded by tokenizers alone; and decoded."""
    folder = Path(os.environ.get(TOKENIZERS) or real_data / "tokenizers") / name
    if not (folder / "tokenizer.json").is_file():
        pytest.skip(
            f"{folder}: there is no tokenizer; set {TOKENIZERS} to the folder that holds one in a folder of its name"
        )
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    inner, raw = PreTrainedTokenizerFast.from_pretrained(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    raw.no_padding(), raw.no_truncation()
    declared = experiment({"template": "shipped" if inner.chat_template else "chatml"})
    tokenizer = load_tokenizer(folder, declared.model, declared.prompt)
    taken = 0
    for number, file in enumerate(sorted((real_data / "chat").rglob("*.json*"))):
        source = FileData(kind="file", path=str(file), conversations=declared.data.source.conversations)
        (out := tmp_path / str(number)).mkdir()
        try:
            read(source, Path("/"), out)
        except DataError as error:  # what is no conversation at all
            assert file.name in str(error)
            continue
        rows = read_table(out / "rows.parquet")
        for one in rows[:: max(1, len(rows) // 8)]:
            try:
                (example,) = tokenization.encode(declared, tokenizer, [one]).examples
            except (TrainingError, ModelError) as error:
                assert f"({file.name}, row {one['source_row']})" in str(error)
                continue
            messages, tools, _ = of_row(one)
            spelt = [_spelt(message, *tokenizer.chat.calls) for message in messages]
            text = inner.apply_chat_template(spelt, tools, chat_template=tokenizer.chat.text, tokenize=False)
            encoded = raw.encode(text, add_special_tokens=False)
            spans = [found.span(1) for found in re.finditer(TURNS[name], text, re.DOTALL)]
            inside = [any(a <= s < e <= b for a, b in spans) for s, e in encoded.offsets]
            assert example["input_ids"] == encoded.ids
            assert example["labels"] == [i if said else IGNORED for i, said in zip(encoded.ids, inside, strict=True)]
            answers = [message for message in messages if message["role"] == "assistant"]
            for said, message in zip(learned(tokenizer, example), answers, strict=True):
                end = next(end for end in tokenizer.chat.ends.values() if said.endswith(end))
                assert said.count(end) == 1
                if not message.keys() & {"tool_calls", "reasoning_content"}:
                    body = said.removesuffix(end).removeprefix(tokenizer.chat.opening)
                    assert body.strip() == message["content"].strip()
            taken += 1
    assert taken > 10

"""The critic: the base model's next-token log-probabilities, whatever shares a batch with a prompt."""

import json
import shutil

import pytest

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, Critic, FolderBase
from sft_pipeline.model import loader
from sft_pipeline.model.critic import critic, verdict
from sft_pipeline.model.tokenizer import load_tokenizer

SPEC = BaseModelSpec(source=FolderBase(kind="folder", path="."))
RULES = Critic(instruction_prompt="Task: {instruction}\nLabel:", pair_prompt="Q: {instruction}\nA: {response}\nLabel:")
ROWS = [
    {"instruction": "Name a colour. " * n, "response": "It is {instruction} blue." * (1 + n % 3)} for n in range(1, 12)
]


def plain(base, prompt, continuations):
    import torch

    tokenizer = load_tokenizer(base.root)
    model = loader.load_model(base.root, SPEC)
    with torch.inference_mode():
        logps = model(torch.tensor([tokenizer.encode(prompt)])).logits[0, -1].float().log_softmax(-1)
    return [logps[tokenizer.encode(c)[0]].item() for c in continuations]


@pytest.fixture(scope="module")
def rules(toy_base):
    """Labels that the toy tokenizer keeps apart."""
    tokenizer = load_tokenizer(toy_base.root)
    good, bad = tokenizer.encode_all(["A", "B"])
    assert good[0] != bad[0]
    return RULES.model_copy(update={"good": "A", "bad": "B"})


@pytest.mark.slow
def test_a_padded_prompt_has_the_log_probabilities_of_a_plain_pass(toy_base, rules):
    verdicts = critic(toy_base, SPEC, rules)(ROWS)
    for row, got in zip(ROWS, verdicts, strict=True):
        prompts = {
            "instruction": f"Task: {row['instruction']}\nLabel:",
            "pair": f"Q: {row['instruction']}\nA: {row['response']}\nLabel:",
        }
        for name, prompt in prompts.items():
            assert [got[name]["logp_a"], got[name]["logp_b"]] == pytest.approx(
                plain(toy_base, prompt, ("A", "B")), abs=1.5e-4
            )


def test_neither_order_nor_company_changes_a_verdict(toy_base, rules):
    judge = critic(toy_base, SPEC, rules)
    together = judge(ROWS)
    backwards = judge(ROWS[::-1])[::-1]
    alone = [judge([row])[0] for row in ROWS]
    for other in (backwards, alone):
        for a, b in zip(together, other, strict=True):
            for name in ("instruction", "pair"):
                assert a[name]["is_good"] == b[name]["is_good"]
                assert a[name]["margin"] == pytest.approx(b[name]["margin"], abs=3e-4)


def test_labels_that_begin_with_the_same_token_are_refused(toy_base, rules):
    with pytest.raises(ModelError, match="different tokens"):
        critic(toy_base, SPEC, rules.model_copy(update={"bad": "A"}))


def test_a_prompt_beyond_the_context_gets_no_verdict_and_the_others_do(toy_base, rules):
    context = json.loads((toy_base.root / "config.json").read_text())["max_position_embeddings"]
    long = {"instruction": "Name a colour.", "response": "blue " * (context + 1)}
    first, second = critic(toy_base, SPEC, rules)([long, ROWS[0]])
    assert set(first) == {"instruction"} and set(second) == {"instruction", "pair"}


def test_a_base_with_template_tokens_in_the_prompt_is_refused_and_in_a_row_not_judged(toy_base, rules, tmp_path):
    folder = tmp_path / "instruct"
    shutil.copytree(toy_base.root, folder)
    tokenizer = load_tokenizer(folder).inner
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.save_pretrained(folder)
    base = toy_base.model_copy(update={"root": folder})
    prompt = "<|im_start|>" + rules.instruction_prompt
    with pytest.raises(ModelError, match="no_template_token_ids"):
        critic(base, SPEC, rules.model_copy(update={"instruction_prompt": prompt}))
    marked = {"instruction": "Name a colour.", "response": "blue <|im_start|>"}
    assert set(critic(base, SPEC, rules)([marked])[0]) == {"instruction"}


@pytest.mark.parametrize(
    ("a", "b", "good", "confident"),
    [(-1.0, -1.5, True, True), (-1.0, -1.4, True, False), (-2.0, -1.0, False, True), (-1.0, -1.0, False, False)],
)
def test_the_margin_is_signed_and_confidence_is_its_size(a, b, good, confident):
    got = verdict(a, b, 0.5)
    assert (got["is_good"], got["confident"], got["predicted_label"]) == (good, confident, "A" if good else "B")
    assert got["margin"] == pytest.approx(a - b)


@pytest.mark.real_data
def test_a_base_that_knows_the_continuation_prefers_it(real_data, tmp_path):
    from sft_pipeline.model import snapshot

    source = FolderBase(kind="folder", path=str(real_data / "stories260K-hf"))
    stories = snapshot.take(source, tmp_path, tmp_path / "cache", tmp_path)
    rules = Critic(instruction_prompt="{instruction}", pair_prompt="{instruction}{response}", good="time", bad="day")
    judge = critic(stories, BaseModelSpec(source=source, allow_bos=True), rules)
    once, sunny = judge([{"instruction": text, "response": ""} for text in ("Once upon a", "One sunny")])
    assert once["instruction"]["is_good"] and once["instruction"]["margin"] > 5
    assert not sunny["instruction"]["is_good"] and sunny["instruction"]["margin"] < -5

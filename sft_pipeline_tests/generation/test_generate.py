"""Batched greedy completion against the plain loop that it must equal."""

import json
import shutil

import pytest

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, FolderBase, Sampling
from sft_pipeline.model import loader
from sft_pipeline.model.completion import finish
from sft_pipeline.model.generate import ROUND, complete
from sft_pipeline.model.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def loaded(toy_base):
    spec = BaseModelSpec(source=FolderBase(kind="folder", path="."))
    return loader.load_model(toy_base.root, spec), load_tokenizer(toy_base.root)


PROMPTS = [
    "The opposite of hot is",
    "One drum, two",
    "a",
    "They counted 4, 5, 6, and then they went home to the city of",
]


def one_by_one(model, tokenizer, prompt, limit):
    """The definition of greedy decoding: no cache, no batch, no padding."""
    import torch

    ids, new = tokenizer.encode(prompt), []
    with torch.inference_mode():
        while len(new) < limit:
            best = int(model(torch.tensor([ids + new])).logits[0, -1].argmax())
            if best == tokenizer.end:
                break
            new.append(best)
    return tokenizer.decode(new), len(new)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_answer_as_the_plain_loop_does(loaded, batch_size):
    model, tokenizer = loaded
    answers = complete(model, tokenizer, PROMPTS, max_new_tokens=12, batch_size=batch_size)
    assert [(a.text, a.tokens) for a in answers] == [one_by_one(model, tokenizer, p, 12) for p in PROMPTS]


@pytest.mark.parametrize("sampling", [None, Sampling(seed=5, temperature=0.4)])
def test_what_has_ended_is_not_computed_any_further(loaded, sampling):
    model, tokenizer = loaded
    prompts, computed = [*PROMPTS, *(f"{n} drums, {n}" for n in range(12))], []
    hook = model.register_forward_hook(lambda *seen: computed.append(seen[-1].logits.shape[0]))
    try:
        answers = complete(model, tokenizer, prompts, max_new_tokens=100, sampling=sampling, logprobs=True)
    finally:
        hook.remove()
    needed = [answer.tokens + (answer.finish_reason == "stop") for answer in answers]
    assert min(needed) < max(needed) - ROUND
    assert sum(needed) <= sum(computed) < sum(needed) + ROUND * len(prompts)
    assert all(answer.mean_logprob is not None for answer in answers if answer.tokens)
    assert answers == complete(model, tokenizer, prompts, max_new_tokens=100, sampling=sampling, logprobs=True)


def test_no_prompt_is_led_past_the_context_by_a_batch(toy_base):
    """GPT-2's table of positions ends at the context: beyond it there is an IndexError and no answer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = load_tokenizer(toy_base.root)
    torch.manual_seed(0)
    size = {"vocab_size": len(tokenizer.inner), "n_positions": 64, "n_embd": 16, "n_layer": 1, "n_head": 1}
    model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=None, eos_token_id=tokenizer.end)).eval()
    words = tokenizer.inner.decode(tokenizer.encode("The opposite of hot is cold and " * 20)[:60])
    prompts = [words, "a", words, "The opposite of hot is"]
    together = complete(model, tokenizer, prompts, max_new_tokens=32, batch_size=4)
    assert together == [complete(model, tokenizer, [p], max_new_tokens=32, batch_size=1)[0] for p in prompts]
    assert together[0] == together[2] and together[0].tokens < together[1].tokens


def test_a_log_probability_that_is_nan_is_an_error_that_says_where_to_look(loaded):
    ids = loaded[1].encode("cold and hot")
    with pytest.raises(ModelError, match="log-probability of nan.*generation.dtype"):
        finish(ids, loaded[1], (), 12, [-1.0, float("nan"), *[-1.0] * len(ids)])


def test_a_generation_config_that_ships_with_a_model_is_not_used(loaded, toy_base, tmp_path):
    shutil.copytree(toy_base.root, tmp_path / "base")
    shipped = {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "max_new_tokens": 2}
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps(shipped))
    model = loader.load_model(tmp_path / "base", BaseModelSpec(source=FolderBase(kind="folder", path=".")))
    answers = complete(model, loaded[1], PROMPTS, max_new_tokens=12)
    assert answers == complete(*loaded, PROMPTS, max_new_tokens=12)


def test_an_answer_ends_before_a_stop_string(loaded):
    model, tokenizer = loaded
    whole = complete(model, tokenizer, PROMPTS, max_new_tokens=12)
    text = whole[0].text
    stop = text[len(text) // 2]
    cut = complete(model, tokenizer, PROMPTS, max_new_tokens=12, stop=[stop])
    for before, after in zip(whole, cut, strict=True):
        if stop in before.text:
            assert after.text == before.text.split(stop)[0] and after.finish_reason == "stop"
        else:
            assert after.text == before.text


def test_the_limit_of_new_tokens_is_a_finish_reason_of_its_own(loaded):
    _, tokenizer = loaded
    ids = tokenizer.encode("one two three")
    assert finish(ids, tokenizer, (), len(ids)).finish_reason == "length"
    ended = finish([*ids, tokenizer.end, tokenizer.end], tokenizer, (), 50)
    assert ended.finish_reason == "stop" and ended.text == "one two three" and ended.tokens == len(ids)


def test_no_prompts_give_no_answers(loaded):
    assert complete(*loaded, [], max_new_tokens=4) == []

"""Greedy completion with transformers, batched by length: what the guard and the transformers engine share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sft_pipeline.model.loader import CleanTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Completion:
    """A model's answer to one prompt.

    Attributes:
        text: the answer, cut before the first stop string, without special tokens.
        tokens: generated tokens, the end-of-sequence token not counted.
        finish_reason: `stop` at the end of sequence or a stop string, `length` at the limit of new tokens.
    """

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]


def complete(
    model: "PreTrainedModel",
    tokenizer: CleanTokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 64,
    stop: Sequence[str] = (),
) -> list[Completion]:
    """Complete every prompt greedily; the result stands in the order of `prompts`.

    Prompts of similar length share a batch, so that little is spent on padding (left, with an attention mask).

    Raises:
        ModelError: a prompt holds a chat-template token.
    """
    import torch
    from transformers import GenerationConfig

    encoded = tokenizer.encode_all(prompts)
    order = sorted(range(len(prompts)), key=lambda i: -len(encoded[i]))
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.end,
        pad_token_id=tokenizer.inner.pad_token_id,
        stop_strings=list(stop) or None,
    )
    results: list[Completion | None] = [None] * len(prompts)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        width = max(len(encoded[i]) for i in batch)
        ids = torch.full((len(batch), width), tokenizer.inner.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(batch):
            if encoded[i]:
                ids[row, -len(encoded[i]) :] = torch.tensor(encoded[i])
                mask[row, -len(encoded[i]) :] = 1
        with torch.inference_mode():
            output = model.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                generation_config=config,
                tokenizer=tokenizer.inner,
            )
        for row, i in enumerate(batch):
            results[i] = _finish(output[row, width:].tolist(), tokenizer, stop, max_new_tokens)
    return results


def _finish(new: list[int], tokenizer: CleanTokenizer, stop: Sequence[str], max_new_tokens: int) -> Completion:
    ended = tokenizer.end in new
    if ended:
        new = new[: new.index(tokenizer.end)]
    elif len(new) < max_new_tokens or stop:
        # Rows that met a stop string earlier than their batch carry padding, which may be a token of its own.
        while new and new[-1] == tokenizer.inner.pad_token_id:
            new = new[:-1]
    text = tokenizer.decode(new)
    cuts = [at for s in stop if (at := text.find(s)) >= 0]
    if cuts:
        text = text[: min(cuts)]
    return Completion(text, len(new), "stop" if ended or cuts else "length")

"""Completion with transformers, batched by length, greedy unless sampling is declared: for guard and engine alike.

What an answer is (where it ends, how many tokens it has, why it ended) is decided here from token ids alone, for every
engine: an engine may stop late, never early.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import Sampling
from sft_pipeline.model.loader import CleanTokenizer
from sft_pipeline.provenance.hashing import hash_value

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

TAIL = 8
"""Tokens that are decoded beyond the length of the longest stop string: special tokens have no text."""


@dataclass(frozen=True)
class Completion:
    """A model's answer to one prompt.

    Attributes:
        text: the answer, cut before the first stop string, without special tokens.
        tokens: generated tokens up to the one that completes a stop string; the end of sequence is not counted.
        finish_reason: `stop` at the end of sequence or a stop string, `length` at the limit of new tokens.
        mean_logprob: mean log-probability (nats) of these tokens under the model itself, before any temperature; None
            for an empty answer, or where it was not asked for.
    """

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]
    mean_logprob: float | None = None


def complete(
    model: "PreTrainedModel",
    tokenizer: CleanTokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 64,
    stop: Sequence[str] = (),
    sampling: Sampling | None = None,
    logprobs: bool = False,
) -> list[Completion]:
    """Complete every prompt; the result stands in the order of `prompts`.

    Prompts of similar length share a batch, so that little is spent on padding (left, with an attention mask). A batch
    that is sampled draws from a seed of its own, made of the declared one and of the batch's prompts: the same batch
    gives the same answers, whatever was generated before it.

    Raises:
        ModelError: a prompt holds a chat-template token, or leaves no room for an answer.
    """
    import torch

    encoded = tokenizer.encode_all(prompts)
    limits = room(encoded, max_new_tokens, context_length(model.config))
    order = sorted(range(len(prompts)), key=lambda i: -len(encoded[i]))
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
        recorder = _recorder() if logprobs else None
        with torch.inference_mode(), torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
            if sampling:
                torch.manual_seed(seed_of(sampling.seed, [encoded[i] for i in batch]))
            output = model.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                generation_config=_config(tokenizer, max(limits[i] for i in batch), sampling),
                stopping_criteria=[_stopping(tokenizer, stop, width)] if stop else None,
                logits_processor=[recorder] if recorder else None,
            )
            values = recorder.finish(output) if recorder else None
        for row, i in enumerate(batch):
            new = output[row, width:].tolist()
            results[i] = finish(new, tokenizer, stop, limits[i], values[row] if values else None)
    return results


def finish(
    new: Sequence[int],
    tokenizer: CleanTokenizer,
    stop: Sequence[str],
    limit: int,
    logprobs: Sequence[float] | None = None,
) -> Completion:
    """The answer that the generated token ids are.

    Args:
        new: generated ids; what follows the end of sequence, a stop string or the limit does not count.
        tokenizer: decodes them.
        stop: stop strings.
        limit: most tokens of the answer.
        logprobs: log-probability (nats) of each generated token.
    """
    kept, reason = list(new[:limit]), "length"
    if tokenizer.end in kept:
        kept, reason = kept[: kept.index(tokenizer.end)], "stop"
    text = tokenizer.decode(kept)
    if any(s in text for s in stop):
        ends = bisect_left(
            range(len(kept)), True, key=lambda n: any(s in tokenizer.decode(kept[: n + 1]) for s in stop)
        )
        kept, reason = kept[: ends + 1], "stop"
        text = tokenizer.decode(kept)
        text = text[: min(at for s in stop if (at := text.find(s)) >= 0)]
    mean = sum(logprobs[: len(kept)]) / len(kept) if logprobs is not None and kept else None
    return Completion(text, len(kept), reason, mean)


def room(encoded: Sequence[Sequence[int]], max_new_tokens: int, context: int | None) -> list[int]:
    """Most new tokens for each prompt: the declared limit, or what the model's context leaves.

    Args:
        encoded: token ids of the prompts.
        max_new_tokens: the declared limit.
        context: longest sequence of the model in tokens; None where the architecture has no such limit.

    Raises:
        ModelError: a prompt fills the context.
    """
    limits = [max_new_tokens if context is None else min(max_new_tokens, context - len(ids)) for ids in encoded]
    if full := [i for i, limit in enumerate(limits) if limit < 1]:
        raise ModelError(
            f"{len(full)} prompts leave no room for an answer in the model's context of {context} tokens; the first is "
            f"number {full[0] + 1} with {len(encoded[full[0]])} tokens. Remove such items, or shorten the prompt format."
        )
    return limits


def context_length(config: "PretrainedConfig") -> int | None:
    """Longest sequence in tokens by the model's configuration; None where the architecture has no such limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def seed_of(seed: int, content: list) -> int:
    """A seed of 32 bits for one batch or prompt, from the declared seed and the token ids."""
    return int(hash_value([seed, content])[:8], 16)


def _config(tokenizer: CleanTokenizer, max_new_tokens: int, sampling: Sampling | None):
    from transformers import GenerationConfig

    drawn = {"do_sample": False}
    if sampling:
        drawn = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or 0,  # 0 is none; the library's own default is 50
        }
    return GenerationConfig(
        **drawn,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.end,
        pad_token_id=tokenizer.inner.pad_token_id,
    )


def _stopping(tokenizer: CleanTokenizer, stop: Sequence[str], width: int):
    """Ends each row at a stop string in its decoded text.

    transformers' own criterion matches the spellings of tokens in the vocabulary: slow to prepare for a large one, and
    not always what the decoder writes.
    """
    import torch
    from transformers import StoppingCriteria

    tail = max(len(s.encode()) for s in stop) + TAIL

    class AtStopString(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            texts = tokenizer.inner.batch_decode(
                input_ids[:, max(width, input_ids.shape[1] - tail) :],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
            return torch.tensor([any(s in text for s in stop) for text in texts], device=input_ids.device)

    return AtStopString()


def _recorder():
    """Keeps the log-probability of every generated token; of the scores only one step is held."""
    import torch
    from transformers import LogitsProcessor

    class Recorder(LogitsProcessor):
        def __init__(self):
            self.last: torch.Tensor | None = None
            self.taken: list[torch.Tensor] = []

        def __call__(self, input_ids, scores):
            self._take(input_ids)
            self.last = scores.log_softmax(-1, dtype=torch.float32)
            return scores

        def _take(self, ids):
            if self.last is not None:
                self.taken.append(self.last.gather(1, ids[:, -1:]))

        def finish(self, ids) -> list[list[float]]:
            """Rows × new tokens."""
            self._take(ids)
            return torch.cat(self.taken, 1).tolist()

    return Recorder()

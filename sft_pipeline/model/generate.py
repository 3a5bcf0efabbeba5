"""Completion with transformers, batched by length, greedy unless sampling is declared: for guard and engine alike."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import Sampling
from sft_pipeline.model.completion import Completion, context_length, finish, seed_of, token_budget
from sft_pipeline.model.kv_cache import preallocated_cache
from sft_pipeline.model.tokenizer import CleanTokenizer

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, PreTrainedModel, StoppingCriteria

ROUND = 8
"""New tokens after which rows that have ended leave their batch."""

TAIL = 8
"""Tokens that are decoded beyond the length of the longest stop string: special tokens have no text."""


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
    """Complete every prompt; the result is in the order of `prompts`. See `complete_ids`.

    Raises:
        ModelError: a prompt holds a chat-template token, or leaves no tokens for an answer.
    """
    return complete_ids(
        model,
        tokenizer,
        tokenizer.encode_all(prompts),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        stop=stop,
        sampling=sampling,
        logprobs=logprobs,
    )


def complete_ids(
    model: "PreTrainedModel",
    tokenizer: CleanTokenizer,
    encoded: Sequence[list[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
    stop: Sequence[str],
    sampling: Sampling | None,
    logprobs: bool,
) -> list[Completion]:
    """Complete every prompt of token ids; the result is in their order.

    Prompts of similar length share a batch, so that little is spent on padding (left, with an attention mask). A batch
    that is sampled draws from a seed of its own, made of the declared one and of the batch's prompts: the same batch
    gives the same answers, whatever was generated before it.

    Raises:
        ModelError: a prompt leaves no tokens for an answer.
    """
    import torch

    limits = token_budget(encoded, max_new_tokens, context_length(model.config))
    results: dict[int, Completion] = {}
    for batch in _batches([len(ids) for ids in encoded], limits, batch_size):
        with torch.inference_mode(), torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
            rows = [encoded[i] for i in batch]
            if sampling:
                torch.manual_seed(seed_of(sampling.seed, rows))
            answers = _complete(model, tokenizer, rows, [limits[i] for i in batch], stop, sampling, logprobs)
        results |= zip(batch, answers, strict=True)
    return [results[i] for i in range(len(encoded))]


def _complete(
    model: "PreTrainedModel",
    tokenizer: CleanTokenizer,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    stop: Sequence[str],
    sampling: Sampling | None,
    logprobs: bool,
) -> list[Completion]:
    """Complete one batch of token ids, the longest first.

    With a preallocated cache it goes in rounds, and a row that has ended is not in the next one: `generate` computes every row
    until the last has ended.
    """
    import torch

    width, cache = len(prompts[0]), preallocated_cache(model)
    ids = torch.full((len(prompts), width), tokenizer.inner.pad_token_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        if prompt:
            ids[row, -len(prompt) :] = torch.tensor(prompt)
            mask[row, -len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    stopping = [_stopping(tokenizer, stop, width)] if stop else None
    tokens: list[list[int]] = [[] for _ in prompts]
    values: list[list[float]] | None = [[] for _ in prompts] if logprobs else None
    done: dict[int, Completion] = {}
    rows, left = list(range(len(prompts))), max(limits)
    while True:
        several = cache is not None and len(rows) > 1
        recorder = _Recorder() if logprobs else None
        output = model.generate(
            ids,
            attention_mask=mask,
            generation_config=_config(tokenizer, min(left, ROUND) if several else left, sampling),
            stopping_criteria=stopping,
            logits_processor=[recorder] if recorder else None,
            past_key_values=cache,
        )
        new = output[:, ids.shape[1] :]
        left -= new.shape[1]
        for row, more in zip(rows, new.tolist(), strict=True):
            tokens[row] += more
        if values and recorder:
            for row, more in zip(rows, recorder.finish(output), strict=True):
                values[row] += more
        answers = {r: finish(tokens[r], tokenizer, stop, limits[r], values[r] if values else None) for r in rows}
        going = [at for at, r in enumerate(rows) if len(tokens[r]) < limits[r] and answers[r].finish_reason == "length"]
        done |= answers
        if not going or not left:
            return [done[row] for row in range(len(prompts))]
        if len(going) < len(rows):
            rows, output, mask = [rows[at] for at in going], output[going], mask[going]
            if cache is not None:
                cache.batch_select_indices(torch.tensor(going))
        ids, mask = output, torch.cat([mask, mask.new_ones(len(rows), new.shape[1])], 1)


def _batches(lengths: Sequence[int], limits: Sequence[int], size: int) -> Iterator[list[int]]:
    """Positions of at most `size` prompts of similar length, the longest first.

    All rows of a batch continue from its longest prompt: one whose budget is below the limit of new tokens shares a batch
    only with prompts of no larger budget, or those would be led past the model's context.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if len(batch) == size or (batch and limits[i] > limits[batch[0]]):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _config(tokenizer: CleanTokenizer, max_new_tokens: int, sampling: Sampling | None) -> "GenerationConfig":
    from transformers import GenerationConfig

    drawn: dict[str, Any] = {"do_sample": False}
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
        eos_token_id=sorted(tokenizer.ends),
        pad_token_id=tokenizer.inner.pad_token_id,
    )


def _stopping(tokenizer: CleanTokenizer, stop: Sequence[str], width: int) -> "StoppingCriteria":
    """Ends each row at a stop string in its decoded text.

    transformers' own criterion matches the spellings of tokens in the vocabulary: slow to prepare for a large one, and
    not always what the decoder writes.
    """
    import torch
    from transformers import StoppingCriteria

    tail = max(len(s.encode()) for s in stop) + TAIL

    class AtStopString(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            texts = tokenizer.inner.batch_decode(
                input_ids[:, max(width, input_ids.shape[1] - tail) :],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
            return torch.tensor([any(s in text for s in stop) for text in texts], device=input_ids.device)

    return AtStopString()


class _Recorder:
    """A logits processor that keeps the log-probability of every generated token; of the scores it holds one step."""

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None
        self._taken: list[torch.Tensor] = []

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        import torch

        self._take(input_ids)
        self._last = scores.log_softmax(-1, dtype=torch.float32)
        return scores

    def finish(self, ids: "torch.Tensor") -> list[list[float]]:
        """Log-probabilities (nats), rows × new tokens."""
        import torch

        self._take(ids)
        return torch.cat(self._taken, 1).tolist()

    def _take(self, ids: "torch.Tensor") -> None:
        if self._last is not None:
            self._taken.append(self._last.gather(1, ids[:, -1:]))

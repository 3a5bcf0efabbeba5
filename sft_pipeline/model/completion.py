"""What an answer is: where it ends, how many tokens it has, why it ended.

Decided here from token ids alone, for every engine: an engine may stop late, never early.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sft_pipeline.errors import ModelError
from sft_pipeline.model.tokenizer import CleanTokenizer
from sft_pipeline.provenance.hashing import hash_value

if TYPE_CHECKING:
    from transformers import PretrainedConfig


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

    Raises:
        ModelError: a log-probability is not finite.
    """
    kept = list(new[:limit])
    reason: Literal["stop", "length"] = "length"
    end = next((at for at, token in enumerate(kept) if token in tokenizer.ends), None)
    if end is not None:
        kept, reason = kept[:end], "stop"
    text = tokenizer.answer(kept)
    if any(s in text for s in stop):
        ends = bisect_left(
            range(len(kept)), True, key=lambda n: any(s in tokenizer.answer(kept[: n + 1]) for s in stop)
        )
        kept, reason = kept[: ends + 1], "stop"
        text = tokenizer.answer(kept)
        text = text[: min(at for s in stop if (at := text.find(s)) >= 0)]
    mean = sum(logprobs[: len(kept)]) / len(kept) if logprobs is not None and kept else None
    if mean is not None and not math.isfinite(mean):
        raise ModelError(
            f"the model gives its own answer a log-probability of {mean}: its arithmetic has broken down. Look at the weights "
            "(of the adapter, if the base answers), or answer in another precision (generation.dtype)."
        )
    return Completion(text, len(kept), reason, mean)


def token_budget(encoded: Sequence[Sequence[int]], max_new_tokens: int, context: int | None) -> list[int]:
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
            f"{len(full)} prompts leave no tokens for an answer in the model's context of {context}; the first is "
            f"number {full[0] + 1} with {len(encoded[full[0]])} tokens. Remove such items, or shorten the prompt format."
        )
    return limits


def context_length(config: "PretrainedConfig") -> int | None:
    """Longest sequence in tokens by the model's configuration; None where the architecture has no such limit."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def seed_of(seed: int, content: Sequence[Any]) -> int:
    """A seed of 32 bits for one batch or prompt, from the declared seed and the token ids."""
    return int(hash_value([seed, list(content)])[:8], 16)

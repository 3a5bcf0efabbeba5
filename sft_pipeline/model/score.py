"""Log-probabilities of given continuations: one forward pass, nothing generated."""

import math
from collections.abc import Iterator, Sequence
from inspect import signature
from typing import TYPE_CHECKING, NamedTuple

from sft_pipeline.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS = 1 << 28
"""Most logits of a batch: a GiB in float32. Only those of the continuations are computed."""

Row = tuple[Sequence[int], Sequence[int]]
"""Token ids of a context and of its continuation."""


class Scored(NamedTuple):
    """What a model thinks of a continuation.

    Attributes:
        logprobs: log-probability (nats) of each of its tokens, given all before it.
        greedy: whether each of them is the most likely one.
    """

    logprobs: list[float]
    greedy: bool


def score(model: "PreTrainedModel", rows: Sequence[Row], pad: int, batch_size: int) -> list[Scored]:
    """How likely `model` finds every continuation, in the order of `rows`.

    Continuations that differ in their last token alone, such as the letters of a multiple choice, share a sequence.

    Args:
        model: the loaded model, with or without an adapter.
        rows: contexts with their continuations; both hold tokens.
        pad: id of the padding.
        batch_size: most sequences of a batch.

    Raises:
        ModelError: a log-probability is not finite.
    """
    import torch

    sharing: dict[tuple[int, ...], list[int]] = {}
    for at, (context, continuation) in enumerate(rows):
        sharing.setdefault((*context, *continuation)[:-1], []).append(at)
    found: dict[int, Scored] = {}
    takes_positions = "position_ids" in signature(getattr(model, "get_base_model", lambda: model)().forward).parameters
    for batch in _batches(sharing, rows, batch_size, model.config.get_text_config().vocab_size):
        width, kept = len(batch[0]), max(len(rows[at][1]) for sequence in batch for at in sharing[sequence])
        ids = torch.full((len(batch), width), pad)
        mask = torch.zeros_like(ids)
        for number, sequence in enumerate(batch):
            ids[number, width - len(sequence) :] = torch.tensor(sequence)
            mask[number, width - len(sequence) :] = 1
        ids, mask = ids.to(model.device), mask.to(model.device)
        positions = {"position_ids": (mask.cumsum(-1) - 1).clamp(min=0)} if takes_positions else {}
        with torch.inference_mode():
            logits = model(ids, attention_mask=mask, logits_to_keep=kept, use_cache=False, **positions).logits
            logits = logits[:, -kept:].log_softmax(-1, dtype=torch.float32)
            best = logits.argmax(-1).tolist()
        for number, sequence in enumerate(batch):
            for at in sharing[sequence]:
                continuation = rows[at][1]
                wanted = torch.tensor(continuation, device=logits.device)
                values = logits[number, -len(wanted) :].gather(1, wanted[:, None])[:, 0].tolist()
                found[at] = Scored(values, best[number][-len(wanted) :] == list(continuation))
    return finite([found[at] for at in range(len(rows))])


def finite(scored: list[Scored]) -> list[Scored]:
    """The same.

    Raises:
        ModelError: a log-probability is not finite.
    """
    for one in scored:
        if not math.isfinite(sum(one.logprobs)):
            raise ModelError(
                f"the model gives a text a log-probability of {sum(one.logprobs)}: its arithmetic has broken down. Look at the "
                "weights (of the adapter, if the base is sound), or compute in another precision (generation.dtype)."
            )
    return scored


def _batches(
    sharing: dict[tuple[int, ...], list[int]], rows: Sequence[Row], size: int, vocabulary: int
) -> Iterator[list[tuple[int, ...]]]:
    """Sequences of similar length, the longest first, as many as `size` and `LOGITS` allow."""
    batch: list[tuple[int, ...]] = []
    longest = 0
    for sequence in sorted(sharing, key=lambda ids: (-len(ids), ids)):
        own = max(len(rows[at][1]) for at in sharing[sequence])
        longest = max(longest, own)
        if batch and (len(batch) == size or (len(batch) + 1) * longest * vocabulary > LOGITS):
            yield batch
            batch, longest = [], own
        batch.append(sequence)
    if batch:
        yield batch

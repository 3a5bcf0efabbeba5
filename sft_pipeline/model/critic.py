"""The critic of the data: the guarded base model's own verdict, one token by its next-token log-probabilities.

Nothing is generated and nothing is parsed: the first tokens of the continuations `good` and `bad` are compared as what
comes next after the prompt.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, Critic
from sft_pipeline.model import guard, loader
from sft_pipeline.model.tokenizer import CleanTokenizer, load_tokenizer, shipped_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Criticise = Callable[[Sequence[Mapping]], list[dict[str, dict]]]
"""Gives for each row its verdicts by critic (`instruction`, `pair`); a critic without a verdict is left out."""

BATCH = 32
"""Prompts per pass."""

DIGITS = 4
"""Decimals kept of a log-probability: what lies below depends on which prompts share a batch."""


def critic(base: ModelSnapshot, spec: BaseModelSpec, rules: Critic) -> Criticise:
    """The critic that the base model in `base` is with the prompts in `rules`.

    A verdict has the fields of a stage-1 record: `logp_a` and `logp_b` are the log-probabilities (nats) of the first
    token of `good` and of `bad`, `margin` is the signed difference logp_a - logp_b, `is_good` says that it is above 0,
    `predicted_label` is A for good and B for bad, and `confident` says that |margin| reaches `rules.margin`. All are
    computed from the rounded log-probabilities, so that a record agrees with itself; a tie is bad.

    A row gets no verdict by a critic whose prompt is longer than the model's context, or which holds a
    chat-template token or the end of sequence: the model cannot, or must not, see it.

    Raises:
        ModelError: a structural check of the guard fails, `good` and `bad` begin with the same token, or the model
            cannot be loaded.
    """
    tokenizer = load_tokenizer(base.root, spec)
    texts = [guard.PROBE, rules.instruction_prompt, rules.pair_prompt, rules.good, rules.bad]
    checks = guard.structural_checks(tokenizer, texts, spec.allow_bos, shipped_ids(base.root, texts))
    if failed := [f"{name}: {problem}" for name, problem in checks.items() if problem]:
        raise ModelError(f"data.quality.critic: the base model does not pass its guard. {'; '.join(failed)}")
    first = _first_tokens(tokenizer, rules)
    model = loader.load_model(base.root, spec)
    context = getattr(model.config, "max_position_embeddings", None)

    def criticise(rows: Sequence[Mapping]) -> list[dict[str, dict]]:
        verdicts: list[dict[str, dict]] = [{} for _ in rows]
        for name, template in (("instruction", rules.instruction_prompt), ("pair", rules.pair_prompt)):
            encoded = {}
            for i, row in enumerate(rows):
                ids = _admissible(tokenizer, _fill(template, row), context)
                if ids:
                    encoded[i] = ids
            for i, (logp_a, logp_b) in next_token_logps(model, tokenizer, encoded, first):
                verdicts[i][name] = verdict(logp_a, logp_b, rules.margin)
        return verdicts

    return criticise


def verdict(logp_a: float, logp_b: float, confident_from: float) -> dict:
    """The fields of a critique; `confident_from` is a margin in nats."""
    logp_a, logp_b = round(logp_a, DIGITS), round(logp_b, DIGITS)
    margin = round(logp_a - logp_b, DIGITS)
    return {
        "is_good": margin > 0,
        "predicted_label": "A" if margin > 0 else "B",
        "logp_a": logp_a,
        "logp_b": logp_b,
        "margin": margin,
        "confident": abs(margin) >= confident_from,
    }


def next_token_logps(
    model: "PreTrainedModel",
    tokenizer: CleanTokenizer,
    encoded: Mapping[int, list[int]],
    candidates: tuple[int, int],
) -> Iterator[tuple[int, tuple[float, float]]]:
    """For each key of `encoded`, the log-probabilities (nats) of the two candidates as the next token.

    Prompts of similar length share a batch, padded on the left. One step of `generate` sets mask and positions for any
    architecture and computes logits at the last position alone, which matters with a large vocabulary.
    """
    import torch
    from transformers import GenerationConfig

    pad = tokenizer.inner.pad_token_id
    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=1,
        eos_token_id=tokenizer.end,
        pad_token_id=pad,
        output_logits=True,
        return_dict_in_generate=True,
    )
    order = sorted(encoded, key=lambda i: -len(encoded[i]))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        width = len(encoded[batch[0]])
        ids = torch.tensor([[pad] * (width - len(encoded[i])) + encoded[i] for i in batch])
        mask = torch.tensor([[0] * (width - len(encoded[i])) + [1] * len(encoded[i]) for i in batch])
        with torch.inference_mode():
            output = model.generate(
                ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
            )
            logps = output.logits[0].float().log_softmax(-1)[:, list(candidates)].tolist()
        yield from zip(batch, map(tuple, logps), strict=True)


def _first_tokens(tokenizer: CleanTokenizer, rules: Critic) -> tuple[int, int]:
    good, bad = tokenizer.continuations([rules.good, rules.bad])
    if not good or not bad or good[0] == bad[0]:
        raise ModelError(
            f"data.quality.critic: good {rules.good!r} (token ids {good}) and bad {rules.bad!r} (token ids {bad}) must "
            "begin with different tokens, as only the first is compared. Choose labels that this tokenizer keeps "
            "apart, such as 'A' and 'B' without the leading space, after a prompt that ends accordingly."
        )
    return good[0], bad[0]


def _fill(template: str, row: Mapping) -> str:
    """The prompt of a row; a placeholder's spelling inside the row's own text is left as it is."""
    head, tail = template.split("{instruction}")
    if "{response}" in head:
        return head.replace("{response}", row["response"]) + row["instruction"] + tail
    return head + row["instruction"] + tail.replace("{response}", row["response"])


def _admissible(tokenizer: CleanTokenizer, prompt: str, context: int | None) -> list[int]:
    """Token ids of the prompt; none where the model cannot or must not see it."""
    try:
        ids = tokenizer.encode(prompt)
    except ModelError:
        return []
    return [] if context and len(ids) > context else ids

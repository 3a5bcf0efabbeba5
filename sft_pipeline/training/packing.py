"""Whether a model keeps the rows of a packed batch apart: measured on the loaded model before the first step.

Packed rows stand in one sequence, and only position ids (with CUDA's fused attention the bounds of the rows, too) say where
one ends. An architecture that builds its mask or its positions otherwise lets every row see those before it: OPT, BLOOM,
Falcon and GPT-OSS do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sft_pipeline.training import varlen

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOKENS = 32
"""Tokens at most of each of the two rows that are compared."""

NOISE = 4.0
"""The second row may differ from itself alone by this many times what the first one does. The first sees nothing of the
second in any causal model, so that its difference is the arithmetic's alone, in whatever precision and quantisation."""

FLOOR = 1e-4
"""Share of the largest logit that is no difference: float32 may give the first row exactly the same logits."""


def keeps_apart(
    model: "PreTrainedModel", rows: Sequence[Sequence[int]], attention: str, rounding: float
) -> dict[str, Any]:
    """Compare the logits of a packed pair of rows with those of each row alone.

    Args:
        model: the loaded base model in evaluation mode, on its device.
        rows: token ids of the training rows; the first and the last of them are compared.
        attention: the attention of the packed rows, which the model then keeps; that of each row alone is the model's own.
        rounding: share of the largest logit by which two kernels may differ.

    Returns:
        `attention`; `apart`: whether the rows do not see each other; `first` and `second`: the largest difference of a logit of each
        row; `scale`: the largest logit. A model that refuses packed rows has `apart` False and the `error`.
    """
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    pair = [list(rows[0][:TOKENS]), list(rows[-1][:TOKENS])]
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)

    def logits(examples: list[list[int]]) -> "torch.Tensor":
        batch = collator([{"input_ids": ids, "labels": ids} for ids in examples])
        del batch["labels"]
        inputs = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        return model(**inputs, use_cache=False).logits[0].float()

    own = model.config._attn_implementation
    try:
        with torch.inference_mode():
            first, second = (logits([row]) for row in pair)
            if attention != own:
                varlen.register()
                model.set_attn_implementation(attention)
            together = logits(pair)
    except Exception as error:  # whatever an architecture makes of rows without an attention mask
        if model.config._attn_implementation != own:
            model.set_attn_implementation(own)
        return {"attention": attention, "apart": False, "error": f"{type(error).__name__}: {error}"}
    border = len(pair[0])
    scale = float(second.abs().max())
    noise = float((together[:border] - first).abs().max())
    difference = float((together[border:] - second).abs().max())
    same = attention == own or noise <= rounding * scale  # as the first row is under the model's own attention
    apart = same and difference <= max(NOISE * noise, FLOOR * scale)
    if attention != own and not apart:
        model.set_attn_implementation(own)
    return {"attention": attention, "apart": apart, "first": noise, "second": difference, "scale": scale}

"""Merges the adapter into the base's weights.

Where the base was quantised in training there are two bases to merge into. The 16-bit one is what the base was before; the
adapter has learned to correct the quantised one. Which of them answers as the gated adapter does is measured, not assumed
(peft issue 2321, unsloth-zoo pull request 810).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sft_pipeline.artifacts import ModelSnapshot
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec, Prompt
from sft_pipeline.model import loader
from sft_pipeline.model.adapter_fit import require_fit
from sft_pipeline.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def merge(
    base: ModelSnapshot, spec: BaseModelSpec, adapter: Path, kind: str, out: Path, prompt: Prompt | None = None
) -> None:
    """Write the merged model with its tokenizer to `out`, as safetensors.

    Args:
        base: the base's files.
        spec: how it was loaded for the training.
        adapter: folder of the adapter.
        kind: merged or merged_dequantized.
        out: empty folder.
        prompt: the format that it was trained in; the tokenizer is saved with its chat template.

    Raises:
        ModelError: the adapter is for another base, there is nothing to dequantise, the architecture cannot be dequantised,
            or the merge gave NaN.
    """
    import torch
    from torch.nn.utils.parametrize import ParametrizationList

    require_fit(adapter, base.root)
    model: PreTrainedModel
    if kind == "merged":
        model = loader.load_model(base.root, spec.model_copy(update={"quantization": "none"}))
    else:
        if spec.quantization == "none":
            raise ModelError(
                "export merged_dequantized: model.quantization is none, nothing is quantised: export merged"
            )
        model = loader.load_model(base.root, spec)
        if any(isinstance(module, ParametrizationList) for module in model.modules()):
            raise ModelError(
                "export merged_dequantized: this architecture holds quantised stacks of experts: export merged"
            )
        model = model.dequantize().to(getattr(torch, spec.dtype))
    try:
        merged = loader.attach_adapter(model, adapter).merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ModelError(f"export {kind}: the merge failed: {error}") from error
    merged.config.quantization_config = None
    if hasattr(merged.config, "_pre_quantization_dtype"):
        del merged.config._pre_quantization_dtype
    del merged.config.quantization_config
    tokenizer = load_tokenizer(base.root, spec, prompt)
    if tokenizer.chat and merged.generation_config:  # what serves the model stops where the template ends an answer
        merged.generation_config.eos_token_id = sorted(tokenizer.ends)
    merged.save_pretrained(out, safe_serialization=True)
    tokenizer.save(out)

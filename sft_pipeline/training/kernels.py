"""Faster kernels for the same model: Liger's, and layers that torch.compile has compiled."""

import importlib.util
import sys
from typing import TYPE_CHECKING

from sft_pipeline.errors import PreconditionError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BACKEND = "inductor"
"""Compiler behind torch.compile."""

VARIANTS = 8
"""Variants of a layer at most; beyond them it runs uncompiled, rather than being compiled for ever."""


def liger(model: "PreTrainedModel") -> None:
    """Replace norms, rotary positions and activations of the loaded model by Liger's; TRL computes the loss in tiles already.

    Raises:
        PreconditionError: the package is not installed, the model is not on a CUDA device, or Liger has none for it.
    """
    if model.device.type != "cuda":
        raise PreconditionError("training.liger: Liger's kernels run on CUDA devices only; leave it out")
    if importlib.util.find_spec("liger_kernel") is None:
        raise PreconditionError("training.liger needs the package: pip install 'sft-pipeline[liger]', or leave it out")
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN
    from transformers.integrations.liger import apply_liger_kernel

    if (kind := model.config.model_type) not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise PreconditionError(f"training.liger: Liger has no kernels for {kind}; leave it out")
    apply_liger_kernel(model, {"fused_linear_cross_entropy": False, "cross_entropy": False})


def compile_layers(model: "PreTrainedModel") -> None:
    """Compile each layer by itself, for sequences of any length: one compilation serves all layers of a kind.

    Names of parameters stay what they are, and with them checkpoints and the adapter's file.
    """
    import torch
    from transformers.modeling_layers import GradientCheckpointingLayer

    torch._dynamo.config.recompile_limit = VARIANTS
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.compile(backend=BACKEND, dynamic=True)


def compiled_variants() -> int:
    """Graphs that were compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo")  # importing it takes a second
    return int(dynamo.utils.counters["stats"].get("unique_graphs", 0)) if dynamo else 0

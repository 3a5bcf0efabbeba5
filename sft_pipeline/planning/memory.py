"""What a training needs on its device, by part, estimated from shapes before anything is loaded."""

from sft_pipeline.experiment import BaseModelSpec, Training
from sft_pipeline.planning.architecture import Shapes

_BYTES = {"float32": 4, "bfloat16": 2}

TILE = 4096 * 8192
"""Logits that stand at one time, at most: TRL 1.16 computes the loss in tiles of 4,096 tokens by a part of the
vocabulary, taken here as 8,192 entries, and never holds all logits."""


def estimate(shapes: Shapes, model: BaseModelSpec, training: Training, length: int) -> dict[str, int]:
    """Estimated bytes by part for one device; fragmentation and the CUDA context come on top.

    - weights: the declared precision; nf4 stores the projections in 4 bits plus 32 bits per block of 64 weights, or,
      with double quantisation, 8 bits per block and 32 bits per 256 blocks (QLoRA, Dettmers et al. 2023, section 3);
      int8 in 8 bits plus 32 bits per output row.
    - embeddings: embeddings, output layer unless tied, norms and biases, which are never quantised.
    - adapter and gradients: float32 as PEFT makes them, bfloat16 where TRL casts them on a quantised base.
    - optimiser: two moments of AdamW in the adapter's precision, or in 8 bits with 32 bits per block of 256 each. Paged
      states count in full: they leave the device only when it is full.
    - activations: the tensors that a Llama layer keeps for its backward pass with fused attention (no score matrix:
      Dao et al. 2022), counted per token: inputs and outputs of two norms, q, k, v and the attention's result, and
      four vectors of the MLP. With gradient checkpointing (Chen et al. 2016) every layer keeps its input only, and one
      layer at a time is complete.
    - logits: one tile of them in the declared precision and once in float32; see `full_logits`.

    With FSDP, weights, embeddings, adapter, gradients and optimiser states are divided by the processes.

    Args:
        shapes: the base model.
        model: precision and quantisation.
        training: adapter, optimiser, batch.
        length: tokens of the longest row after cutting: batches are padded to it in the worst case.
    """
    width = _BYTES[model.dtype]
    quantised = model.quantization != "none"
    rows = shapes.layers * sum(outputs for _, outputs in shapes.projections.values())
    constants = 1 / 64 + 4 / (64 * 256) if model.double_quantization else 4 / 64
    linear = {
        "none": shapes.linear_parameters * width,
        "nf4": shapes.linear_parameters * (0.5 + constants),
        "int8": shapes.linear_parameters + 4 * rows,
    }[model.quantization]
    trainable = shapes.lora_parameters(training.lora)
    adapter = trainable * (2 if quantised else 4)
    shards = training.processes if training.fsdp else 1

    tokens = training.batch_size * length
    projected = (shapes.heads + 2 * shapes.kv_heads) * shapes.head_dim
    layer = 4 * shapes.hidden + projected + shapes.heads * shapes.head_dim + 4 * shapes.intermediate
    kept = shapes.layers * shapes.hidden + layer if training.gradient_checkpointing else shapes.layers * layer
    return {
        "weights": int(linear / shards),
        "embeddings": shapes.other_parameters * width // shards,
        "adapter": adapter // shards,
        "gradients": adapter // shards,
        "optimiser": int(2 * (adapter if training.optimizer == "adamw_torch" else trainable * (1 + 4 / 256)) / shards),
        "activations": tokens * kept * width,
        "logits": min(tokens * shapes.vocabulary, TILE) * (width + 4),
    }


def full_logits(shapes: Shapes, training: Training, length: int) -> int:
    """Bytes that a loss over all logits at once would take: in 16 bits, once more in float32, and their gradient.

    What the transformers library's own loss does, and TRL's does not: for a vocabulary of 152,064 it would be the largest
    activation of all.
    """
    return training.batch_size * length * shapes.vocabulary * (2 + 4 + 4)

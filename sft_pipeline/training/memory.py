"""What a training needs on its device, by part, estimated from shapes before anything is loaded."""

from sft_pipeline.experiment import BaseModelSpec, Training
from sft_pipeline.training.shapes import Shapes

_BYTES = {"float32": 4, "bfloat16": 2}


def estimate(shapes: Shapes, model: BaseModelSpec, training: Training, length: int) -> dict[str, int]:
    """Estimated bytes by part for one device; fragmentation and the CUDA context come on top.

    - weights: the declared precision; nf4 stores the projections in 4 bits plus 8 bits per block of 64 weights and
      32 bits per 256 blocks (double quantisation: QLoRA, Dettmers et al. 2023, section 3), int8 in 8 bits plus 32 bits
      per output row; embeddings, output layer and norms are never quantised.
    - adapter and gradients: float32 as PEFT makes them, bfloat16 where TRL casts them on a quantised base.
    - optimiser: two moments of AdamW in the adapter's precision, or in 8 bits.
    - activations: the tensors that a Llama layer keeps for its backward pass with fused attention (no score matrix:
      Dao et al. 2022), counted per token: inputs and outputs of two norms, q, k, v and the attention's result, and
      four vectors of the MLP. With gradient checkpointing (Chen et al. 2016) every layer keeps its input only, and one
      layer at a time is complete. The output layer works in tiles and is left out.

    Args:
        shapes: the base model.
        model: precision and quantisation.
        training: adapter, optimiser, batch.
        length: tokens of the longest row after cutting: batches are padded to it in the worst case.
    """
    width = _BYTES[model.dtype]
    quantised = model.quantization != "none"
    rows = shapes.layers * sum(outputs for _, outputs in shapes.projections.values())
    linear = {
        "none": shapes.linear_parameters * width,
        "nf4": shapes.linear_parameters * (0.5 + 1 / 64 + 4 / (64 * 256)),
        "int8": shapes.linear_parameters + 4 * rows,
    }[model.quantization]
    trainable = shapes.lora_parameters(training.lora)
    adapter = trainable * (2 if quantised else 4)

    projected = (shapes.heads + 2 * shapes.kv_heads) * shapes.head_dim
    layer = 4 * shapes.hidden + projected + shapes.heads * shapes.head_dim + 4 * shapes.intermediate
    kept = shapes.layers * shapes.hidden + layer if training.gradient_checkpointing else shapes.layers * layer
    return {
        "weights": int(linear + shapes.other_parameters * width),
        "adapter": adapter,
        "gradients": adapter,
        "optimiser": 2 * adapter if training.optimizer == "adamw_torch" else 2 * trainable,
        "activations": training.batch_size * length * kept * width,
    }

"""What a training needs on its device, by part, estimated before anything is loaded."""

from sft_pipeline.experiment import BaseModelSpec, Experiment, Training
from sft_pipeline.generation.engines import inference_settings
from sft_pipeline.planning import throughput
from sft_pipeline.planning.architecture import Base
from sft_pipeline.planning.rows import Rows

_BYTES = {"float32": 4, "bfloat16": 2}

TILE_TOKENS, TILE_ENTRIES = 4096, 32_768
"""TRL 1.16 computes the loss in tiles of so many tokens by so many entries of the vocabulary, in one buffer in the precision
of the computation (trl/kernels/chunked_logprob.py), and never holds all logits."""

FULL_LOGIT = 16
"""Bytes per logit of a loss over all of them at once, as transformers' own: in float32 the logits, their shifted copy, the
log-softmax and its gradient."""

CONTEXT = 700_000_000
"""Bytes that CUDA takes before the first tensor: its context with the kernels of PyTorch and bitsandbytes (500 to 600 MB),
and cuBLAS workspaces (8 to 32 MiB per stream and handle)."""

TIGHT = 0.85
"""Share of the device's memory above which the estimate, which is exact to 15 %, may be exceeded."""

FRAGMENTATION = 0.1
"""Share of what a step allocates and frees that the caching allocator holds besides, in blocks of other sizes."""


def limit(model: BaseModelSpec) -> float | None:
    """Bytes of one device, as declared or of the declared card; None where neither is."""
    if model.device_memory_gb:
        return model.device_memory_gb * 1e9
    return throughput.card(model.card).memory if model.card else None


def needed(base: Base, experiment: Experiment, rows: Rows) -> int:
    """Estimated peak bytes of the training's device on these rows."""
    return sum(parts(base, experiment, rows).values())


def parts(base: Base, experiment: Experiment, rows: Rows) -> dict[str, int]:
    """Estimated peak bytes of the training's device on these rows, by part, with an evaluator that works on it too."""
    training = experiment.training
    found = estimate(base, experiment.model, training, rows.longest, tokens=rows.largest_pass(training))
    return found | _beside(base, experiment)


def _beside(base: Base, experiment: Experiment) -> dict[str, int]:
    """Bytes that a live series on the training's device takes beside it, without its cache: a base of its own."""
    live = experiment.evaluation.series.live
    if live is None or live.device != "same":
        return {}
    own = estimate(base, inference_settings(experiment), experiment.training, 1)
    return {"evaluator": sum(own[name] for name in ("weights", "embeddings", "context"))}


def estimate(
    base: Base, model: BaseModelSpec, training: Training, length: int, *, tiled: bool = True, tokens: int | None = None
) -> dict[str, int]:
    """Estimated peak bytes by part for one device. docs/how-to/training.md compares it with published figures.

    - weights: the declared precision; nf4 stores matrices in 4 bits plus 32 bits per block of 64 weights, or, with double
      quantisation, 8 bits per block and 32 bits per 256 blocks (QLoRA, Dettmers et al. 2023, section 3); int8 in 8 bits
      plus 32 bits per output row.
    - embeddings: embeddings, output layer unless tied, norms and biases, which are never quantised.
    - adapter and gradients: float32 as PEFT makes them, bfloat16 where TRL casts them on a quantised base.
    - optimiser: two moments of AdamW in the adapter's precision, or in 8 bits with 32 bits per block of 256 each. Paged
      states count in full: they leave the device only when it is full.
    - activations: what the forward pass keeps for the backward pass, as measured on the meta device, and the gradients of
      the widest tensors of one layer. With gradient checkpointing (Chen et al. 2016) every layer keeps its input only, and
      one layer at a time is complete. Eager attention keeps two score matrices of a layer and their softmax; sdpa on
      padded rows, and on packed ones with packed_attention: mask, takes a mask, once as truth values and once in the
      precision of the scores.
    - logits: what the loss takes beyond the activations of one layer, which are gone while it is computed.
    - dequantisation: the largest matrix in the precision of computation.
    - fragmentation, context: see the constants.

    With FSDP, weights, embeddings, adapter, gradients and optimiser states are divided by the processes.

    Args:
        base: the base model with its adapter.
        model: precision and quantisation.
        training: batch, optimiser, checkpointing.
        length: tokens of the longest row after cutting: batches are padded to it in the worst case.
        tokens: positions of the largest forward pass; None: batch_size rows of that length.
        tiled: whether the loss is computed in tiles, as TRL's is.
    """
    width = _BYTES[model.dtype]
    quantised = model.quantization != "none"
    constants = 1 / 64 + 4 / (64 * 256) if model.double_quantization else 4 / 64
    matrices = {
        "none": base.matrices * width,
        "nf4": base.matrices * (0.5 + constants),
        "int8": base.matrices + 4 * base.rows,
    }[model.quantization]
    adapter = base.trainable * (2 if quantised else 4)
    moments = 2 * (adapter if "8bit" not in training.optimizer else base.trainable * (1 + 4 / 256))
    shards = training.processes if training.fsdp else 1

    tokens, wider = tokens or training.batch_size * length, width / 2
    gradients = 2 * (4 * base.widest + 2 * base.hidden)  # of the feed-forward part: product, factors, residual
    layer = tokens * wider * (base.layer + gradients) + _attention(base, model, training, length, tokens)
    inputs = tokens * width * base.hidden * base.layers
    recomputed = training.gradient_checkpointing is True
    kept = inputs if recomputed else tokens * wider * (base.kept - base.layer)
    # PEFT adds the adapter of stacked experts to the whole stack, which is kept until the layer's backward pass.
    kept += base.stacked * width * (2 / base.layers if recomputed else 1)
    # One buffer for a tile, and the gradient of the last hidden states in float32; or all logits.
    tile = min(tokens, TILE_TOKENS) * TILE_ENTRIES * width + tokens * base.hidden * 4
    logits = tile if tiled else tokens * base.vocabulary * FULL_LOGIT
    beyond = max(0, logits - layer)
    largest = base.largest * width if quantised else 0
    return {
        "weights": int(matrices / shards),
        "embeddings": (base.parameters - base.matrices) * width // shards,
        "adapter": adapter // shards,
        "gradients": adapter // shards,
        "optimiser": int(moments / shards),
        "activations": int(kept + layer),
        "logits": int(beyond),
        "dequantisation": largest,
        "fragmentation": int(FRAGMENTATION * (kept + layer + beyond + largest)),
        "context": CONTEXT if model.device == "cuda" else 0,
    }


def _attention(base: Base, model: BaseModelSpec, training: Training, length: int, tokens: int) -> int:
    """Bytes of one layer's attention that grow with the square of the length."""
    packed = training.batching == "packed"
    scores = tokens**2 if packed else training.batch_size * length**2
    width = _BYTES[model.dtype]
    if model.attention == "eager":
        return scores * base.heads * (2 * width + 4)
    masked = training.packed_attention == "mask" if packed else training.batch_size > 1
    return scores * (1 + width) if model.attention == "sdpa" and masked else 0

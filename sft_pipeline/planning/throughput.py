"""How long a training takes on a card that was never seen: a model of what a forward and backward pass has to do.

An estimate for the choice between settings, not for a promise: docs/explanation/throughput.md compares it with published
rates. A measured rate (`training.tokens_per_second`) always counts more.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import BaseModelSpec, Experiment
from sft_pipeline.planning.architecture import Base

MATRIX = 0.5
"""Share of a card's dense bf16 rate that large matrix products reach, and what stands between them leaves of it; fitted to the
published rates of 8B to 32B models on an H100 (docs/explanation/throughput.md)."""

BANDWIDTH = 0.7
"""Share of the memory bandwidth that kernels over whole tensors reach; fitted to the record on an L40S."""

LAUNCH = 10e-6
"""Seconds that PyTorch needs to start a kernel from Python; the card waits where its kernels are shorter."""

KERNELS = {"module": 2, "adapter": 6, "layer": 30}
"""Kernels of a forward pass for a matrix product, for its adapter (cast, dropout, two products, scale, sum), and for the rest of
a layer (norms, rotary positions, attention, activation, residuals); a backward pass has twice as many."""

NF4_BYTES, INT8_BYTES = 0.5, 1.0
"""Bytes of a quantised weight that dequantisation reads; it writes two and the product reads them again."""


@dataclass(frozen=True)
class Card:
    """A card: name, dense bf16 rate (FLOP/s), memory (bytes) and memory bandwidth (bytes/s)."""

    name: str
    flops: float
    memory: float
    bandwidth: float


@cache
def _cards() -> dict[str, dict[str, object]]:
    return yaml.safe_load((Path(__file__).parent / "cards.yaml").read_text("utf-8"))


def card(name: str) -> Card:
    """The card of that name, as cards.yaml or nvidia-smi writes it.

    Raises:
        PreconditionError: it is not known.
    """
    written = name.lower().removeprefix("nvidia ").strip()
    for known, facts in _cards().items():
        if written == known.lower() or any(part in written for part in facts["also"]):  # type: ignore[attr-defined]
            tflops, memory, bandwidth = (float(facts[key]) for key in ("tflops", "memory_gb", "bandwidth"))  # type: ignore[arg-type]
            return Card(known, tflops * 1e12, memory * 1e9, bandwidth * 1e9)
    raise PreconditionError(
        f"model.card is {name}, which planning/cards.yaml does not describe; it knows {', '.join(_cards())}. Name one of them, "
        "or leave model.card out and state model.device_memory_gb and training.tokens_per_second"
    )


def pass_seconds(base: Base, experiment: Experiment, on: Card, tokens: float, length: float) -> dict[str, float]:
    """Seconds of one forward and backward pass by what they are spent on; the last is only what waiting adds to the others.

    - products: 2 FLOP per weight and position forward, 2 backward (the base's own gradients are not computed), 2 more where
      checkpointing recomputes; 6 per weight of the adapter; attention over half of the square of the length. Not faster than
      the weights can be read.
    - dequantisation: every matrix is read quantised and written in 16 bits, once forward, once backward, and once where
      checkpointing recomputes, however few tokens there are.
    - tensors: what is kept for the backward pass (`Base.kept`) is written, read and its gradient written.
    - launches: what starting the kernels takes beyond the time in which they run.

    Args:
        base: the model with its adapter.
        experiment: precision, quantisation, checkpointing.
        on: the card.
        tokens: positions of the pass, padding included.
        length: mean length of a row.
    """
    model, training = experiment.model, experiment.training
    runs = 3 if training.gradient_checkpointing is True else 2
    head = base.vocabulary * base.hidden
    attention = runs * 2 * base.layers * base.hidden * length  # scores and values, half of the square
    rate, bandwidth = MATRIX * _flops(on, model), BANDWIDTH * on.bandwidth
    width = 2 if model.dtype == "bfloat16" else 4
    compute = tokens * (runs * 2 * (base.active + head) + 6 * base.trainable + attention) / rate
    products = max(compute, runs * width * (base.active + head) / bandwidth)
    stored = {"none": None, "nf4": NF4_BYTES, "int8": INT8_BYTES}[model.quantization]
    dequantisation = 0.0 if stored is None else runs * base.matrices * (stored + width) / bandwidth
    tensors = 3 * tokens * base.kept * width / 2 / bandwidth
    kernels = KERNELS["module"] * base.modules + KERNELS["adapter"] * base.adapted + KERNELS["layer"] * base.layers
    busy = products + dequantisation + tensors
    waiting = max(0.0, LAUNCH * kernels * (runs + 1) - busy)
    return {"products": products, "dequantisation": dequantisation, "tensors": tensors, "launches": waiting}


def _flops(on: Card, model: BaseModelSpec) -> float:
    return on.flops if model.dtype == "bfloat16" else on.flops / 2  # at most: TF32 has half of it


def rate(base: Base, experiment: Experiment, on: Card, length: float, padding: float) -> float:
    """Estimated tokens per second, padding not counted, over all processes."""
    rows = experiment.training.batch_size
    seconds = sum(pass_seconds(base, experiment, on, rows * length / (1 - padding), length).values())
    return experiment.training.processes * rows * length / seconds

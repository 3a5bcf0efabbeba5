"""The settings that the specification leaves to the plan (`auto`): the fastest that the device's memory holds.

None of them changes which rows an optimiser step reads, so none changes what is learned beyond rounding and dropout's draw.
"""

from collections.abc import Iterator
from typing import Any

from sft_pipeline.artifacts import Finding
from sft_pipeline.experiment import Experiment, Training
from sft_pipeline.planning import memory, throughput
from sft_pipeline.planning.architecture import Base
from sft_pipeline.planning.rows import Rows

REFERENCE = "H100"
"""Card by which settings are ordered where the specification names none: their order hardly depends on it."""

WORTH = 1.05
"""Gain in tokens per second from which on a larger evaluation batch is worth its memory."""

COMPILED, COMPILATION = 0.14, 900.0
"""Share of the time that torch.compile saves, and the seconds that it takes first: the least and the most of what axolotl
published for LoRA of an 8B model."""


def chosen(experiment: Experiment, base: Base | None, rows: Rows) -> dict[str, Any]:
    """The fields of `training` that the plan decides, with their values."""
    training, model = experiment.training, experiment.model
    cuda = model.device == "cuda"
    found: dict[str, Any] = {}
    if training.batching == "auto":
        found["batching"] = "packed" if cuda and _packs(experiment, base) else "grouped"
    if training.optimizer == "auto":
        found["optimizer"] = "adamw_torch_fused" if cuda else "adamw_torch"
    found |= _fastest(_with(experiment, found), base, rows)
    if training.eval_batch_size is None:
        found["eval_batch_size"] = _evaluation(_with(experiment, found), base, rows, training.batch_size)
    return found


def _packs(experiment: Experiment, base: Base | None) -> bool:
    """Whether packed rows are kept apart, as far as the architecture says; see `trainer._packed`."""
    if experiment.training.fsdp or base is None:
        return not experiment.training.fsdp
    varying = experiment.model.attention == "sdpa" and experiment.training.packed_attention == "varlen"
    return "mask" in base.packs or (varying and "varlen" in base.packs)


def as_trained(experiment: Experiment, base: Base | None) -> tuple[Experiment, list[Finding]]:
    """The specification as its rows are laid out, and what is to be said where declared packed rows will be padded."""
    if experiment.training.batching != "packed" or _packs(experiment, base):
        return experiment, []
    reason = (
        "under fsdp no process can measure whether packed rows are kept apart"
        if experiment.training.fsdp
        else "this architecture cannot keep packed rows apart: it makes no mask from their position ids, or more than its "
        "attention mixes positions"
    )
    evidence = f"batching is packed, but {reason}. The training pads the rows, and they are counted so here"
    remedy = "set training.batching to grouped, or leave it to the plan"
    found = Finding(rule="packing_padded", severity="warning", evidence=evidence, remedy=remedy)
    return _with(experiment, {"batching": "plain"}), [found]


def _with(experiment: Experiment, fields: dict[str, Any]) -> Experiment:
    return experiment.model_copy(update={"training": experiment.training.model_copy(update=fields)})


def _divisions(training: Training) -> Iterator[dict[str, Any]]:
    """Ways of dividing a step into forward passes, and of keeping or recomputing activations; the simplest first."""
    size = training.batch_size
    passes: list[dict[str, Any]] = [
        {"gradient_accumulation": n, "batch_size": size // n} for n in range(1, size + 1) if size % n == 0
    ]
    if training.gradient_accumulation != "auto" or training.packed_length is not None:
        declared = 1 if training.gradient_accumulation == "auto" else training.gradient_accumulation
        passes = [{"gradient_accumulation": declared, "batch_size": size}]
    recompute = [False, True] if training.gradient_checkpointing == "auto" else [training.gradient_checkpointing]
    for division in passes:
        for again in recompute:
            yield division | {"gradient_checkpointing": again}


def _fastest(experiment: Experiment, base: Base | None, rows: Rows) -> dict[str, Any]:
    """The division of a step that fits and takes the least time; where none fits the one that needs the least memory."""
    ways = list(_divisions(experiment.training))
    limit = memory.limit(experiment.model)
    best = ways[0]
    if base is not None and limit:
        variants = [_with(experiment, way) for way in ways]
        needed = [memory.needed(base, variant, rows) for variant in variants]
        fitting = [n for n, size in enumerate(needed) if size <= memory.TIGHT * limit]
        best = ways[
            min(fitting, key=lambda n: step_seconds(base, variants[n], rows))
            if fitting
            else min(range(len(ways)), key=lambda n: needed[n])
        ]
    left_open = experiment.training
    names = [name for name in ("gradient_accumulation", "gradient_checkpointing") if getattr(left_open, name) == "auto"]
    if best["batch_size"] != left_open.batch_size:
        names.append("batch_size")
    return {name: best[name] for name in names}


def step_seconds(base: Base, experiment: Experiment, rows: Rows) -> float:
    """Seconds of an optimiser step by the throughput model, on the declared card or the reference."""
    training = experiment.training
    on = throughput.card(experiment.model.card or REFERENCE)
    length = rows.tokens / rows.count
    positions = training.batch_size * length / (1 - rows.padding)
    return training.passes * sum(throughput.pass_seconds(base, experiment, on, positions, length).values())


def _evaluation(experiment: Experiment, base: Base | None, rows: Rows, declared: int) -> int:
    """Rows of an evaluation batch: doubled while it fits and the tokens per second still gain."""
    training, limit, size = experiment.training, memory.limit(experiment.model), declared
    if base is None or not limit or experiment.model.device != "cuda":
        return size

    def rate(count: int) -> float:
        return count / step_seconds(base, _with(experiment, {"batch_size": count, "gradient_accumulation": 1}), rows)

    def fits(count: int) -> bool:  # an evaluation keeps nothing for a backward pass: less than with checkpointing
        way = {"batch_size": count, "gradient_checkpointing": True, "packed_length": None}
        return memory.needed(base, _with(experiment, way), rows) <= memory.TIGHT * limit

    size = training.batch_size if not fits(size) else size
    while fits(2 * size) and rate(2 * size) >= WORTH * rate(size):
        size *= 2
    return size


def advice(experiment: Experiment, base: Base | None, rows: Rows, seconds: float | None) -> list[Finding]:
    """What the specification states otherwise than the plan would choose, where that costs time.

    Args:
        experiment: the specification with the plan's choices.
        base: the model.
        rows: the training rows.
        seconds: estimated time of the training.
    """
    limit, training, model = memory.limit(experiment.model), experiment.training, experiment.model
    found = []
    if seconds and model.device == "cuda" and not training.compile and not training.fsdp:
        saved = COMPILED * seconds - COMPILATION
        if saved > 0:
            evidence = (
                f"torch.compile would save about {COMPILED:.0%} of {seconds / 3600:.1f} h after up to "
                f"{COMPILATION / 60:.0f} minutes of compiling"
            )
            found.append(
                Finding(rule="compile_pays", severity="info", evidence=evidence, remedy="set training.compile")
            )
    if base is None or not limit or model.device != "cuda" or training.fsdp:  # what sharding costs is not known
        return found
    now = step_seconds(base, experiment, rows)
    if isinstance(training.gradient_accumulation, int) and training.passes > 1:
        whole = {"batch_size": training.batch_size * training.passes, "gradient_accumulation": "auto"}
        whole |= {"batching": "packed" if _packs(experiment, base) else "grouped", "gradient_checkpointing": "auto"}
        best = _with(experiment, whole)
        best = _with(best, _fastest(best, base, rows))
        passes = best.training.passes
        gain = now / step_seconds(base, best, rows)
        if gain >= 1.1 and memory.needed(base, best, rows) <= memory.TIGHT * limit:
            what = "dequantised" if model.quantization != "none" else "read"
            fewer = f"the weights are {what} {training.passes / passes:g} times less often for "
            evidence = (
                f"{best.training.batch_size} × {passes} {best.training.batching} instead of {training.batch_size} × "
                f"{training.passes}"
                + (
                    ", without checkpointing"
                    if training.gradient_checkpointing and not best.training.gradient_checkpointing
                    else ""
                )
                + f": {fewer if passes < training.passes else ''}the same optimiser steps, about {gain:.1f} times as fast by the "
                "plan's model"
            )
            remedy = f"set batch_size to {whole['batch_size']}, and leave gradient_accumulation, batching and gradient_checkpointing to the plan"
            found.append(Finding(rule="forward_passes", severity="info", evidence=evidence, remedy=remedy))
    if model.quantization != "none" and model.dtype == "bfloat16":
        plain = experiment.model_copy(update={"model": model.model_copy(update={"quantization": "none"})})
        size = memory.needed(base, plain, rows)
        gain = now / step_seconds(base, plain, rows)
        if size <= memory.TIGHT * limit and gain >= WORTH:
            evidence = (
                f"in 16 bits the training would need about {size / 1e9:.0f} of {limit / 1e9:.0f} GB: nothing would be "
                f"dequantised, about {gain:.1f} times as fast by the plan's model"
            )
            remedy = "set model.quantization to none; it is another base, which the guard measures again"
            found.append(Finding(rule="sixteen_bits_fit", severity="info", evidence=evidence, remedy=remedy))
    return found

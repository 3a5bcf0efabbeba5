"""The device in a plan: can the model and its adapter be built, does the training fit, which options do nothing there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from sft_pipeline.artifacts import Finding
from sft_pipeline.experiment import Experiment
from sft_pipeline.planning import memory
from sft_pipeline.planning.architecture import Base
from sft_pipeline.planning.rows import Rows

Severity = Literal["info", "warning", "blocking"]


def adapter(base: Base | None, experiment: Experiment, differs: Base | None) -> list[Finding]:
    """Whether the base and its adapter can be built; `differs` is the base of model.architecture beside a config.json."""
    if base is None:
        return [_unknown(experiment)]
    found = []
    if differs is not None and differs.parameters != base.parameters:
        found.append(
            Finding(
                rule="architecture_differs",
                severity="warning",
                evidence=f"model.architecture describes {differs.parameters:,} weights, the base's config.json "
                f"{base.parameters:,}: the plan is that of config.json",
                remedy="correct model.architecture, or leave it out",
            )
        )
    if base.refusal:
        reason, _, remedy = base.refusal.partition("; ")
        remedy = remedy or "change training.lora as the reason says"
        found.append(Finding(rule="target_modules", severity="blocking", evidence=reason, remedy=remedy))
    if base.adapted_ends:
        evidence = (
            f"{' and '.join(base.adapted_ends)} of {base.vocabulary:,} tokens would be adapted: the whole embedding is then "
            "stored with every adapter"
        )
        remedy = "leave it out of training.lora.target_modules, unless there are new tokens to learn"
        found.append(Finding(rule="embeddings_adapted", severity="warning", evidence=evidence, remedy=remedy))
    if not base.exact:
        evidence = (
            "this architecture cannot run without values: activations are taken from the widths of its linear modules"
        )
        found.append(Finding(rule="activations_approximate", severity="info", evidence=evidence))
    return found


def _unknown(experiment: Experiment) -> Finding:
    limit = (memory.limit(experiment.model) or 0) / 1e9
    evidence = "the architecture is not known, so parameters and memory are not estimated"
    return Finding(
        rule="architecture_unknown",
        severity="blocking" if limit else "warning",
        evidence=evidence + (f", and the device's memory ({limit:g} GB) cannot be checked" if limit else ""),
        remedy="state model.architecture: {config: path of the base's config.json}, or its fields"
        + (", or leave model.device_memory_gb out" if limit else ""),
    )


def positions(longest: int, base: Base | None) -> list[Finding]:
    """Rows that are longer than anything that the base was made for."""
    known = base.positions if base else None
    if not known or longest <= known:
        return []
    return [
        Finding(
            rule="positions",
            severity="blocking",
            evidence=f"the longest row has {longest:,} tokens, but the base knows {known:,} positions",
            remedy=f"set training.max_length to {known} or less, and allow or remove the rows that are longer",
        )
    ]


def memory_limit(needed: Mapping[str, int], experiment: Experiment) -> list[Finding]:
    """Whether the estimate fits the declared memory of one device; nothing where none is declared."""
    limit, training, model = (memory.limit(experiment.model) or 0) / 1e9, experiment.training, experiment.model
    total = sum(needed.values()) / 1e9
    if not limit or total <= memory.TIGHT * limit:
        return []
    largest = max(needed, key=lambda part: needed[part])
    remedies = [
        *(["quantise the base to nf4 (model.quantization)"] if model.quantization != "nf4" else []),
        *([] if training.gradient_checkpointing else ["set gradient_checkpointing"]),
        *(["halve batch_size and double gradient_accumulation"] if training.batch_size > 1 else []),
        "lower max_length, or shard over more devices (fsdp)",
    ]
    evidence = f"about {total:.1f} GB needed, {limit:g} GB declared; the largest part is {largest} with {needed[largest] / 1e9:.1f} GB"
    if total <= limit:
        evidence += f": above {memory.TIGHT:.0%} of the device the estimate, which is exact to 15 %, may be exceeded"
    return [
        Finding(
            rule="memory" if total > limit else "memory_tight",
            severity="blocking" if total > limit else "warning",
            evidence=evidence,
            remedy=", ".join(remedies),
        )
    ]


def sharding(experiment: Experiment, base: Base | None, rows: Rows) -> list[Finding]:
    """What does not go with FSDP, and whether it is needed at all."""
    training = experiment.training
    if not training.fsdp:
        return []
    found = []
    if training.optimizer == "paged_adamw_8bit":
        evidence = "a paged optimizer under fsdp fails when a checkpoint is saved (PEFT's guide to FSDP)"
        remedy = "set training.optimizer to adamw_torch_fused, or leave it out"
        found.append(Finding(rule="fsdp_paged", severity="blocking", evidence=evidence, remedy=remedy))
    if training.compile:
        evidence = "FSDP 2 with torch.compile was seen to train a dead adapter: all lora_B stayed zero"
        found.append(Finding(rule="fsdp_compile", severity="blocking", evidence=evidence, remedy="leave compile out"))
    limit = memory.limit(experiment.model)
    if base is not None and limit:
        whole = experiment.model_copy(update={"training": training.model_copy(update={"fsdp": False})})
        size = memory.needed(base, whole, rows)
        if size <= memory.TIGHT * limit:
            evidence = (
                f"the training fits one device ({size / 1e9:.0f} of {limit / 1e9:.0f} GB): processes that each hold the model "
                "were four times as fast as sharded ones in a published comparison (12,083 and 2,945 tokens/s on 4 H100)"
            )
            remedy = "set training.fsdp to false"
            found.append(Finding(rule="fsdp_unneeded", severity="warning", evidence=evidence, remedy=remedy))
    return found


def logits(base: Base | None, experiment: Experiment, longest: int) -> list[Finding]:
    """What the training would need if the loss were not computed in tiles, where that is much more."""
    if base is None:
        return []
    tiled, whole = (
        sum(memory.estimate(base, experiment.model, experiment.training, longest, tiled=way).values())
        for way in (True, False)
    )
    if whole - tiled < 1e9:
        return []
    evidence = (
        f"TRL computes the loss in tiles, on which the estimate of {tiled / 1e9:.1f} GB rests; over all logits of "
        f"{experiment.training.batch_size} × {longest:,} tokens at once, as other trainers do, it would be {whole / 1e9:.1f} GB"
    )
    return [Finding(rule="logits_tiled", severity="info", evidence=evidence)]


def idle_options(experiment: Experiment, base: Base | None) -> list[Finding]:
    """Options that do nothing, or something else, where this training runs."""
    training, model = experiment.training, experiment.model
    found = []

    def add(rule: str, evidence: str, remedy: str = "", severity: Severity = "info") -> None:
        found.append(Finding(rule=rule, severity=severity, evidence=evidence, remedy=remedy))

    if model.device == "cpu":
        if training.optimizer == "paged_adamw_8bit":
            add(
                "optimizer_fallback",
                "paged_adamw_8bit pages between GPU and CPU memory; on the CPU adamw_8bit is used instead",
            )
        if training.fsdp:
            add("fsdp_idle", "fsdp shards over CUDA devices; there are none", "set model.device to cuda", "blocking")
        if model.dtype == "bfloat16" and not _bfloat16_processor():
            add(
                "bfloat16_emulated",
                "this processor has no bfloat16 instructions: they are emulated, slower than float32 and not more exact",
                "set model.dtype to float32",
                "warning",
            )
        if training.liger:
            add("liger_idle", "Liger's kernels run on CUDA devices only", "leave training.liger out", "blocking")
    if model.attention == "flash_attention_2" and (model.device, model.dtype) != ("cuda", "bfloat16"):
        add(
            "flash_attention_idle",
            f"flash_attention_2 runs on CUDA devices in bfloat16 only, not on {model.device} in {model.dtype}",
            "set model.attention to sdpa, or device: cuda and dtype: bfloat16",
            "blocking",
        )
    if training.batching == "packed" and model.attention == "sdpa" and training.packed_attention == "mask":
        add(
            "packed_mask",
            "packed rows are separated by an attention mask: attention costs the square of the joined length",
            "leave packed_attention out",
        )
    if model.attention == "eager":
        add(
            "eager_attention",
            "attention: eager keeps the whole score matrix of every layer: memory and time grow with the square of the length",
            "set model.attention to sdpa",
            "warning",
        )
    if training.fsdp and training.validation_prompts:
        add(
            "validation_prompts_idle",
            f"the {training.validation_prompts} validation prompts are not answered under fsdp: no process holds the whole "
            "model",
            "set training.validation_prompts to 0; the checkpoint series shows answers afterwards",
        )
    if training.batching != "plain" and training.batch_size == 1:
        add("batching_idle", f"batching: {training.batching} saves nothing with one row per forward pass")
    if training.gradient_checkpointing and base and base.layers <= 2:
        add(
            "checkpointing_idle",
            f"gradient checkpointing keeps one of {base.layers} layers complete anyway: it costs time and saves little",
        )
    for name, kind in (("double_quantization", "nf4"), ("int8_threshold", "int8")):
        if name in model.model_fields_set and model.quantization != kind:
            add(
                f"{name}_idle",
                f"{name} belongs to quantization: {kind}; with {model.quantization} it does nothing",
                "leave it out",
                "warning",
            )
    return found


def _bfloat16_processor() -> bool:
    """Whether this machine's processor computes in bfloat16; assumed where it cannot be read."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    return any(flag in text for flag in ("avx512_bf16", "amx_bf16", " bf16"))

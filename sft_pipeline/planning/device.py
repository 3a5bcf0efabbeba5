"""The device in a plan: does the training fit, do the modules exist, and which options do nothing there."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import Finding
from sft_pipeline.experiment import Experiment
from sft_pipeline.planning import memory
from sft_pipeline.planning.architecture import Shapes

TIGHT = 0.9
"""Share of the device's memory above which fragmentation and the CUDA context may not fit any more."""


def adapter(layout: Shapes | None, experiment: Experiment, modules: Collection[str] | None = None) -> list[Finding]:
    """Whether the adapter fits the architecture; `modules` names the base's matrices, where its files are at hand."""
    lora, found = experiment.training.lora, []
    known: list[str] = [*layout.projections] if layout else sorted(modules or ())
    if layout:
        unknown = layout.unknown_targets(lora)
    else:
        named = () if isinstance(lora.target_modules, str) or not modules else lora.target_modules
        # PEFT takes a target for the end of a module's path, such as attn.c_attn.
        unknown = [name for name in named if name.rpartition(".")[2] not in known]
    if unknown:
        found.append(
            Finding(
                rule="target_modules",
                severity="blocking",
                evidence=f"the model has no module named {', '.join(unknown)}",
                remedy=f"choose from {', '.join(known)}, or all-linear",
            )
        )
    if layout is None:
        unknown_layout = Finding(
            rule="architecture_unknown",
            severity="warning",
            evidence="the architecture is not one whose parameters can be counted from its shapes; parameters and "
            "memory are not estimated",
            remedy="state model.architecture, or expect the figures from the training itself",
        )
        return [unknown_layout, *found]
    ends = [name for path in layout.adapted(lora) if (name := path.rpartition(".")[2]) in layout.ends]
    if ends:
        found.append(
            Finding(
                rule="embeddings_adapted",
                severity="warning",
                evidence=f"{' and '.join(ends)} of {layout.vocabulary:,} tokens would be adapted: the whole embedding is "
                "then stored with every adapter",
                remedy="leave embed_tokens and lm_head out, unless there are new tokens to learn",
            )
        )
    return found


def positions(longest: int, architecture: Mapping[str, Any]) -> list[Finding]:
    """Rows that are longer than anything that the base was made for."""
    known = architecture.get("max_position_embeddings")
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
    """Whether the estimate fits the declared memory of one device; says nothing where none is declared."""
    limit, training, model = experiment.model.device_memory_gb, experiment.training, experiment.model
    total = sum(needed.values()) / 1e9
    if not limit or not needed or total <= TIGHT * limit:
        return []
    largest = max(needed, key=lambda part: needed[part])
    remedies = [
        *(["quantise the base to nf4 (model.quantization)"] if model.quantization != "nf4" else []),
        *([] if training.gradient_checkpointing else ["set gradient_checkpointing"]),
        *(["halve batch_size and double gradient_accumulation"] if training.batch_size > 1 else []),
        "lower max_length, or shard over more devices (fsdp)",
    ]
    evidence = f"about {total:.1f} GB needed, {limit:g} GB declared; the largest part is {largest} with {needed[largest] / 1e9:.1f} GB"
    return [
        Finding(
            rule="memory" if total > limit else "memory_tight",
            severity="blocking" if total > limit else "warning",
            evidence=evidence,
            remedy=", ".join(remedies),
        )
    ]


def logits(layout: Shapes | None, experiment: Experiment, longest: int) -> list[Finding]:
    """What the loss would take if it were not computed in tiles: it is by far the largest tensor of a large vocabulary."""
    whole = memory.full_logits(layout, experiment.training, longest) if layout else 0
    if whole < 1e9:
        return []
    evidence = (
        f"a loss over all logits at once would take {whole / 1e9:.1f} GB ({experiment.training.batch_size} × {longest:,} "
        f"tokens × {layout.vocabulary:,} entries); TRL's computes it in tiles, and the estimate rests on that"
    )
    return [Finding(rule="logits_tiled", severity="info", evidence=evidence)]


def idle_options(experiment: Experiment, layout: Shapes | None) -> list[Finding]:
    """Options that do nothing, or something else, where this training runs."""
    training, model = experiment.training, experiment.model
    found = []

    def say(rule: str, evidence: str, remedy: str = "", severity: str = "info") -> None:
        found.append(Finding(rule=rule, severity=severity, evidence=evidence, remedy=remedy))

    if model.device == "cpu":
        if training.optimizer == "paged_adamw_8bit":
            say(
                "optimizer_fallback",
                "paged_adamw_8bit pages between GPU and CPU memory; on the CPU adamw_8bit is used instead",
            )
        if training.fsdp:
            say("fsdp_idle", "fsdp shards over CUDA devices; there are none", "set model.device to cuda", "blocking")
        if model.dtype == "bfloat16" and not _bfloat16_processor():
            say(
                "bfloat16_emulated",
                "this processor has no bfloat16 instructions: they are emulated, slower than float32 and no more exact",
                "set model.dtype to float32",
                "warning",
            )
        if training.batching == "packed":
            say(
                "packed_on_cpu",
                "packed rows keep apart by an attention mask on the CPU: no padding is computed, but attention costs the "
                "square of the joined length",
            )
    if model.attention == "flash_attention_2" and (model.device, model.dtype) != ("cuda", "bfloat16"):
        say(
            "flash_attention_idle",
            f"flash_attention_2 runs on CUDA devices in bfloat16 only, not on {model.device} in {model.dtype}",
            "set model.attention to sdpa, or device: cuda and dtype: bfloat16",
            "blocking",
        )
    if model.attention == "eager":
        say(
            "eager_attention",
            "attention: eager keeps the whole score matrix of every layer, which the memory estimate leaves out",
            "set model.attention to sdpa",
            "warning",
        )
    if training.fsdp and training.validation_prompts:
        say(
            "validation_prompts_idle",
            f"the {training.validation_prompts} validation prompts are not answered under fsdp: no process holds a model "
            "that could answer alone",
            "set training.validation_prompts to 0; the checkpoint series shows answers afterwards",
        )
    if training.batching != "plain" and training.batch_size == 1:
        say("batching_idle", f"batching: {training.batching} saves nothing with one row per forward pass")
    if training.gradient_checkpointing and layout and layout.layers <= 2:
        say(
            "checkpointing_idle",
            f"gradient checkpointing keeps one of {layout.layers} layers complete anyway: it costs time and saves little",
        )
    for name, kind in (("double_quantization", "nf4"), ("int8_threshold", "int8")):
        if name in model.model_fields_set and model.quantization != kind:
            say(
                f"{name}_idle",
                f"{name} belongs to quantization: {kind}; with {model.quantization} it does nothing",
                "leave it out",
                "warning",
            )
    return found


def _bfloat16_processor() -> bool:
    """Whether this machine's processor computes in bfloat16; taken as given where it cannot be read."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    return any(flag in text for flag in ("avx512_bf16", "amx_bf16", " bf16"))

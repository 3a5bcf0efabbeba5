"""The base model and its adapter on the meta device: what they hold and what a step keeps, without a weight.

transformers builds the model from its configuration and PEFT puts the adapter on it, as for the training; nothing is
estimated that these libraries can say.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Experiment, Lora
from sft_pipeline.experiment.model import Architecture
from sft_pipeline.specification import expand_path, project_root

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TOKENS = 64
"""Tokens of the forward pass by which the kept tensors are measured: all of them grow in proportion to it."""

MEASURED = "planning"
"""Name of the attention and of the experts that stand in for the fused kernels on the meta device."""


@dataclass(frozen=True)
class Base:
    """A base model with its adapter.

    Attributes:
        parameters: all weights, tied ones once.
        trainable: weights of the adapter, as PEFT counts them; 0 where it cannot be built.
        refusal: why the adapter cannot be built, with the remedy; empty where it can.
        matrices: weights that a quantisation compresses.
        active: those of them that a token is multiplied with: of a stack of experts the share that it is routed to.
        modules: matrix products of a forward pass beside the adapter's.
        adapted: modules that carry an adapter.
        rows: output rows of these matrices.
        largest: weights of the largest of them, which is dequantised as a whole.
        hidden: width of the model.
        layers: layers that gradient checkpointing recomputes one at a time.
        heads: attention heads.
        vocabulary: entries of the embedding.
        positions: positions that the model knows; None where it does not say.
        stacked: weights of the stacks of experts that are adapted: PEFT adds the adapter to the whole stack of a layer.
        adapted_ends: embedding and output layer, where they are adapted.
        kept: bytes per token that a forward pass keeps for the backward pass in 16 bits, without checkpointing.
        layer: the same of the largest layer alone.
        widest: features of the widest tensor of a layer, per token.
        exact: whether `kept` and `layer` are measured; otherwise they are taken from the widths of the linear modules.
        packs: what it makes of packed rows: `mask`, if it makes its mask from their position ids; `varlen`, if their bounds
            reach the attention.
    """

    parameters: int
    trainable: int
    refusal: str
    matrices: int
    active: float
    modules: int
    adapted: int
    rows: int
    largest: int
    hidden: int
    layers: int
    heads: int
    vocabulary: int
    positions: int | None
    stacked: int
    adapted_ends: tuple[str, ...]
    kept: float
    layer: float
    widest: int
    exact: bool
    packs: frozenset[str]


def configuration(stated: Architecture | None) -> dict[str, Any] | None:
    """The config.json that `model.architecture` describes; None where there is none.

    Raises:
        PreconditionError: the file that it names cannot be read.
    """
    if stated is None:
        return None
    if stated.config is None:
        return stated.model_dump(exclude_none=True)
    path = expand_path(stated.config, project_root())
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PreconditionError(f"model.architecture.config: {path} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise PreconditionError(f"model.architecture.config: {path} has no model_type, so it is not a config.json")
    return config


def build(config: Mapping[str, Any], experiment: Experiment) -> Base:
    """The base model of `config` with the adapter of `experiment`.

    Raises:
        PreconditionError: transformers cannot build the model; with the reason and what to do.
    """
    return _built(json.dumps(config, sort_keys=True), experiment.training.lora, experiment.model.quantization)


@lru_cache(maxsize=32)
def _built(config: str, lora: Lora, quantization: str) -> Base:
    import torch
    from peft.tuners.lora.layer import ParamWrapper

    from sft_pipeline.training.adapter import adapt

    stated = json.loads(config)
    model = _on_meta(stated)
    packs = _packs(model)
    text = model.config.get_text_config()
    ends = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    sizes = {id(parameter): parameter.numel() for parameter in model.parameters()}
    matrices = [p for m in model.modules() if id(m) not in ends for p in _matrices(m)]
    linear = _linear_widths(model)
    per_token = getattr(text, "num_experts_per_tok", 1) or 1
    trainable, stacked, adapted_modules, refusal = 0, 0, 0, ""
    adapted: tuple[str, ...] = ()
    try:
        with torch.device("meta"):
            adapted_model = adapt(model, lora, nf4=quantization == "nf4")
    except PreconditionError as error:
        refusal = str(error)
    else:
        trainable, _ = adapted_model.get_nb_trainable_parameters()
        stacked = sum(m.get_param().numel() for m in adapted_model.modules() if isinstance(m, ParamWrapper))
        adapted_modules = sum(hasattr(m, "lora_A") for m in adapted_model.modules())
        adapted = tuple(name for name in _adapted(model) if name in ("embed_tokens", "wte", "lm_head"))
        for name, parameter in model.named_parameters():
            if quantization != "none" and "lora_" in name:
                parameter.data = parameter.data.to(torch.bfloat16)  # as TRL does
    measured = _kept(model)
    kept, layer = measured or (2.0 * sum(linear.values()), 2.0 * max(linear.values(), default=0))
    layers = max(1, len(_layers(model)) or getattr(text, "num_hidden_layers", 1))
    return Base(
        parameters=sum(sizes.values()),
        trainable=trainable,
        refusal=refusal,
        matrices=sum(p.numel() for p in matrices),
        active=sum(p.numel() * (min(1.0, per_token / p.shape[0]) if p.ndim == 3 else 1.0) for p in matrices),
        modules=sum(per_token if p.ndim == 3 else 1 for p in matrices),
        adapted=adapted_modules,
        rows=sum(p.numel() // p.shape[-1] for p in matrices),
        largest=max((p.numel() for p in matrices), default=0),
        hidden=text.hidden_size,
        layers=layers,
        heads=getattr(text, "num_attention_heads", 1) or 1,
        vocabulary=text.vocab_size,
        positions={**stated, **stated.get("text_config", {})}.get("max_position_embeddings"),
        stacked=stacked,
        adapted_ends=adapted,
        kept=kept,
        layer=layer,
        widest=_widest(model),
        exact=measured is not None,
        packs=packs,
    )


def _on_meta(config: dict[str, Any]) -> "PreTrainedModel":
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

    kind = str(config.get("model_type", "llama"))
    fields = {k: v for k, v in config.items() if k not in ("model_type", "quantization_config", "auto_map")}
    fields = PretrainedConfig._decode_special_floats(fields)  # an infinite time_step_limit, say, has no JSON of its own
    try:
        made = AutoConfig.for_model(kind, **fields)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16)
    except Exception as error:  # whatever a configuration makes of a library
        raise PreconditionError(
            f"the architecture {kind} cannot be built: {error} Correct the fields of model.architecture (or config.json); a "
            "type that this version of transformers does not know cannot be trained either."
        ) from error


def _matrices(module: "torch.nn.Module") -> Iterator["torch.Tensor"]:
    """Weights of a module that a quantisation compresses: linear modules, and the stacked matrices of experts."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for name, parameter in module.named_parameters(recurse=False):
        linear = isinstance(module, torch.nn.Linear | Conv1D) and name == "weight"
        if linear or (parameter.ndim == 3 and not name.endswith("bias") and not hasattr(module, "stride")):
            yield parameter


def _linear_widths(model: "PreTrainedModel") -> dict[str, int]:
    """Inputs and outputs of the linear modules by layer: a substitute for what a forward pass keeps."""
    import torch

    layers = {path: name for name, layer in _layers(model) for path, _ in layer.named_modules(prefix=name)}
    widths: dict[str, int] = defaultdict(int)
    for path, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and path in layers:
            widths[layers[path]] += module.in_features + module.out_features
    return widths


def _widest(model: "PreTrainedModel") -> int:
    """Features of the widest linear module outside the output layer; those of experts for each expert of a token."""
    import torch

    head, widest = model.get_output_embeddings(), 1
    per_token = getattr(model.config.get_text_config(), "num_experts_per_tok", 1) or 1
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not head:
            widest = max(widest, module.in_features, module.out_features)
        elif hasattr(module, "gate_up_proj") and getattr(module.gate_up_proj, "ndim", 0) == 3:
            rows = sorted(module.gate_up_proj.shape[1:])
            widest = max(widest, per_token * rows[-1])
    return widest


def _adapted(model: "PreTrainedModel") -> set[str]:
    """Last names of the modules that carry an adapter."""
    return {path.partition(".lora_")[0].rpartition(".")[2] for path, _ in model.named_parameters() if ".lora_" in path}


def _layers(model: "PreTrainedModel") -> list[tuple[str, "torch.nn.Module"]]:
    """The layers that gradient checkpointing recomputes."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [(name, m) for name, m in model.named_modules() if isinstance(m, GradientCheckpointingLayer)]


def _kept(model: "PreTrainedModel") -> tuple[float, float] | None:
    """Bytes per token that a forward pass keeps: of all layers, and of the one that keeps most.

    None where the model cannot run on the meta device, for its operations depend on values.
    """
    import torch

    layers = [layer for _, layer in _layers(model)]
    frozen = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.Tensor] = {}
    sizes: dict[int, int] = defaultdict(int)
    now = [-1]

    def pack(tensor: "torch.Tensor") -> "torch.Tensor":
        key = _storage(tensor)
        if key not in frozen and key not in kept:
            kept[key] = tensor  # alive, so that no other storage takes its place
            sizes[now[0]] += tensor.untyped_storage().nbytes()
        return tensor

    def entering(number: int) -> Any:
        return lambda *_: now.__setitem__(0, number)

    hooks = [layer.register_forward_pre_hook(entering(number)) for number, layer in enumerate(layers)]
    hooks += [layer.register_forward_hook(entering(-1)) for layer in layers]
    backbone = getattr(model, model.base_model_prefix, model)
    embedding = model.get_input_embeddings()
    hooks.append(embedding.register_forward_hook(lambda _, __, out: out.requires_grad_()))
    try:
        with _substitutes(model), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.train()
            tokens = torch.zeros(1, TOKENS, dtype=torch.long, device="meta")
            backbone(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    except Exception:
        return None
    finally:
        for hook in hooks:
            hook.remove()
    if not layers or not sizes:
        return None
    return sum(sizes.values()) / TOKENS, max(sizes[number] for number in range(len(layers))) / TOKENS


def _packs(model: "PreTrainedModel") -> frozenset[str]:
    """By what packed rows can be kept apart (`Base.packs`); the training measures whether they are.

    Nothing, where something else than attention mixes positions: states and convolutions run on from one row to the next.
    """
    import torch
    from transformers import masking_utils
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if model._is_stateful or any(isinstance(module, torch.nn.Conv1d) for module in model.modules()):
        return frozenset()
    found = set()

    def attention(*_: Any, cu_seq_lens_q: "torch.Tensor | None" = None, **options: Any) -> None:
        if cu_seq_lens_q is not None and model._supports_sdpa:
            found.add("varlen")
        raise NotImplementedError  # what comes after it does not matter

    backbone = getattr(model, model.base_model_prefix, model)
    inner, masking_utils.find_packed_sequence_indices = (
        masking_utils.find_packed_sequence_indices,
        lambda position_ids: found.add("mask"),
    )
    try:
        with _substitutes(model), torch.no_grad(), suppress(Exception):
            ALL_ATTENTION_FUNCTIONS.register(MEASURED, attention)
            model.eval()
            positions, bounds = torch.arange(TOKENS, device="meta")[None], torch.arange(2, device="meta")
            packed = {"position_ids": positions, "seq_idx": positions}  # with the bounds, what TRL's collator gives
            packed |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": TOKENS, "max_length_k": TOKENS}
            embedded = model.get_input_embeddings()(torch.zeros_like(positions))  # ids would be looked at for padding
            backbone(inputs_embeds=embedded, use_cache=False, **packed)
    finally:
        masking_utils.find_packed_sequence_indices = inner
    return frozenset(found)


def _storage(tensor: "torch.Tensor") -> int:
    return int(tensor.untyped_storage()._cdata)


@contextmanager
def _substitutes(model: "PreTrainedModel") -> Iterator[None]:
    """Attention and experts that keep what the fused kernels keep, and whose operations depend on no value."""
    import torch
    from peft.tuners.lora.layer import ParamWrapper
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, query: Any, key: Any, value: Any) -> Any:
            out = query.new_empty(*query.shape[:-1], value.shape[-1])
            ctx.save_for_backward(query, key, value, out)
            return out

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> tuple[Any, None]:
        return Fused.apply(query, key, value).transpose(1, 2).contiguous(), None

    def experts(self: Any, hidden: Any, indices: Any, weights: Any) -> Any:
        def weight(name: str) -> Any:
            return getattr(self, name)[0].T if self.is_transposed else getattr(self, name)[0]

        rows = hidden.repeat_interleave(indices.shape[-1], 0)
        inner = torch.nn.functional.linear(rows, weight("gate_up_proj" if self.has_gate else "up_proj"))
        inner = self._apply_gate(inner) if self.has_gate else self.act_fn(inner)
        out = torch.nn.functional.linear(inner, weight("down_proj"))
        return out.reshape(hidden.shape[0], -1, hidden.shape[-1]).sum(1)

    ALL_ATTENTION_FUNCTIONS.register(MEASURED, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(MEASURED, lambda *_, **__: None)
    ALL_EXPERTS_FUNCTIONS.register(MEASURED, experts)
    # PEFT adds the adapter of experts to their whole stack, which `stacked` counts; it cannot do so on the meta device.
    wrapped = [module for module in model.modules() if isinstance(module, ParamWrapper)]
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    before = {key: (c._attn_implementation, getattr(c, "_experts_implementation", None)) for key, c in configs.items()}
    try:
        for module in wrapped:
            module._disable_adapters = True
        for config in configs.values():
            config._attn_implementation = MEASURED
            config._experts_implementation = MEASURED
        yield
    finally:
        for module in wrapped:
            module._disable_adapters = False
        for key, config in configs.items():
            config._attn_implementation, config._experts_implementation = before[key]

"""The LoRA adapter on a model: PEFT's configuration, and whether PEFT, TRL and the model can do what is declared.

Works on a model on the meta device as well: the plan asks here before any weight is read.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Lora

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel


def lora_config(lora: Lora) -> "LoraConfig":
    """The adapter as PEFT's configuration."""
    from peft import LoraConfig

    targets = lora.target_modules
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        use_rslora=lora.rslora,
        bias=lora.bias,
        task_type="CAUSAL_LM",
    )


def adapt(model: "PreTrainedModel", lora: Lora, *, nf4: bool = False) -> "PeftModel":
    """`model` with a fresh adapter on it.

    Args:
        model: the base model.
        lora: the adapter.
        nf4: whether a model without weights will be loaded in nf4.

    Raises:
        PreconditionError: the model lacks a target module, or PEFT or TRL cannot adapt it; with the remedy.
    """
    from peft import get_peft_model

    require_targets(model, lora)
    experts = _experts(model)
    targets = set(experts) if isinstance(lora.target_modules, str) else set(lora.target_modules)
    modules = ", ".join(sorted(_names(model) - experts.keys()))
    if isinstance(lora.target_modules, str) and (routers := _routers(model)):
        raise PreconditionError(
            f"training.lora.target_modules: {lora.target_modules} would adapt {', '.join(sorted(r.__name__ for r in routers))}, "
            f"whose output PEFT cannot add to; choose training.lora.target_modules from {modules}"
        )
    if quantised := _quantised(model, {experts[name] for name in targets & experts.keys()}, nf4):
        # PEFT stacks its own parametrization on that of bitsandbytes and does not take it off again.
        raise PreconditionError(
            f"training.lora cannot be put on the experts of {type(model).__name__} in nf4 ({len(quantised)} parameters): adapt "
            f"the other modules alone (training.lora.target_modules: {modules}), or set model.quantization to none"
        )
    try:
        return get_peft_model(model, lora_config(lora))
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        remedy = f"choose training.lora.target_modules from {modules}"
        if "ParamWrapper" in str(error) and lora.dropout:
            remedy = (
                "all experts of a layer share one parameter, for which PEFT has no dropout: set training.lora.dropout to 0, "
                f"or adapt the other modules alone (training.lora.target_modules: {modules})"
            )
        raise PreconditionError(
            f"training.lora cannot be put on {type(model).__name__}: {remedy}. ({error})"
        ) from error


def require_targets(model: "PreTrainedModel", lora: Lora) -> None:
    """Refuse target modules that the model lacks (PEFT would silently adapt the others), and the output layer.

    Raises:
        PreconditionError: naming them, and the modules that there are.
    """
    if isinstance(lora.target_modules, str):
        return
    experts, paths = _experts(model), _paths(model)
    known = f"choose from {', '.join(sorted({*_names(model), *experts}))}, or all-linear"
    ends = {
        target: [path for path in paths if path == target or path.endswith("." + target)]
        for target in lora.target_modules
    }
    if missing := [target for target, found in ends.items() if not found and target not in experts]:
        raise PreconditionError(
            f"training.lora.target_modules: the model has no linear module or embedding named {', '.join(missing)}; {known}"
        )
    head = model.get_output_embeddings()
    if named := [target for target, found in ends.items() if any(model.get_submodule(path) is head for path in found)]:
        raise PreconditionError(
            f"training.lora.target_modules: {named[0]} is the output layer, which TRL multiplies with directly, so that an "
            f"adapter on it would never be trained; leave it out: {known}"
        )


def _paths(model: "PreTrainedModel") -> list[str]:
    """Paths of the modules that can be adapted."""
    import torch
    from transformers.pytorch_utils import Conv1D

    kinds = (torch.nn.Linear, torch.nn.Embedding, Conv1D)
    routers = _routers(model)
    return [n for n, module in model.named_modules() if isinstance(module, kinds) and type(module) not in routers]


def _routers(model: "PreTrainedModel") -> set[type]:
    """Linear modules of a class of their own that return more than their product: PEFT would add its update to a tuple.

    The routers of Llama 4 and Phi-MoE are such.
    """
    import torch

    found = {}
    for module in model.modules():
        kind = type(module)
        if isinstance(module, torch.nn.Linear) and kind.__module__.startswith("transformers.") and kind not in found:
            with torch.no_grad():
                out = module(module.weight.new_zeros(1, module.in_features))
            found[kind] = not isinstance(out, torch.Tensor)
    return {kind for kind, returns_more in found.items() if returns_more}


def _names(model: "PreTrainedModel") -> set[str]:
    """Last names of the modules that a remedy proposes: neither the output layer nor embeddings, which rarely need it."""
    import torch

    head, modules = model.get_output_embeddings(), {path: model.get_submodule(path) for path in _paths(model)}
    proposed = [p for p, m in modules.items() if m is not head and not isinstance(m, torch.nn.Embedding)]
    return {path.rpartition(".")[2] for path in proposed}


def _experts(model: "PreTrainedModel") -> dict[str, str]:
    """Router and fused experts as PEFT takes them: the names of their former modules → the names of the parameters."""
    from peft.utils import transformers_weight_conversion as fused

    pattern = fused._MODEL_TO_CONVERSION_PATTERN.get(model.config.model_type)
    stacked = any(hasattr(module, "gate_up_proj") for module in model.modules())
    return dict(fused._MOE_TARGET_MODULE_MAPPING.get(pattern, {})) if stacked else {}


def _quantised(model: "PreTrainedModel", names: Collection[str], nf4: bool) -> list[str]:
    """Paths of the stacks of these names that are in nf4, or will be: behind a parametrization of bitsandbytes."""
    return [
        f"{path}.{name}"
        for path, module in model.named_modules()
        for name in names
        if name in getattr(module, "parametrizations", ())
        or (nf4 and getattr(module._parameters.get(name), "ndim", 0) == 3)
    ]

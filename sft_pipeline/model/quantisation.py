"""Whether a loaded base model holds what was declared, and the quantisation of what bitsandbytes leaves.

While loading, bitsandbytes replaces linear modules by quantised ones. Two kinds of matrices it leaves as they are: the
experts of a mixture, which transformers keep in one parameter for all of them, and linear modules of a class of their own
(Falcon's). In nf4 these are quantised here, parameter by parameter, by bitsandbytes' own parametrization
(`bitsandbytes.nn.parametrize`), which dequantises a matrix when it is used. LLM.int8 has nothing of the kind.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

UNDECLARED = 0.02
"""Share of the weights that may be in another type than declared: routers, convolutions and what an architecture keeps in
float32 are below it; a single kind of projection in one layer of sixteen is above."""


def weights(model: "PreTrainedModel") -> dict[str, dict[str, int]]:
    """Weights and bytes by type (`nf4`, `int8`, `float32`, …) as the model holds them; shared ones count once."""
    found: dict[str, dict[str, int]] = {}
    for _, _, parameter, state in _parameters(model):
        kind, count, size = _held(parameter, state)
        total = found.setdefault(kind, {"parameters": 0, "bytes": 0})
        total["parameters"] += count
        total["bytes"] += size
    return found


def has_rest(model: "PreTrainedModel") -> bool:
    """Whether the model, before it is loaded, has matrices that `quantise_rest` would quantise."""
    return any(True for _ in _rest(model))


def quantise_rest(model: "PreTrainedModel", spec: BaseModelSpec) -> None:
    """Quantise to nf4 the matrices that bitsandbytes has left, one at a time, on the declared device."""
    import torch
    from bitsandbytes.nn.parametrize import replace_parameter_4bit

    for module, name in list(_rest(model)):
        matrix = module.get_parameter(name)
        matrix.data = matrix.data.to(spec.device)
        matrix.requires_grad_(False)
        with torch.no_grad():
            replace_parameter_4bit(module, name, compress_statistics=spec.double_quantization, quant_type="nf4")


def require_declared(model: "PreTrainedModel", spec: BaseModelSpec) -> None:
    """Make sure that the weights are held in the declared quantisation and precision.

    Embeddings and the output layer stay in the declared precision, as the libraries leave them.

    Raises:
        ModelError: more than `UNDECLARED` of the weights are held otherwise, with their names and what to declare.
    """
    ends = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    total, others = 0, {}
    for path, module, parameter, state in _parameters(model):
        kind, count, size = _held(parameter, state)
        matrix = parameter.ndim >= 2 and not path.endswith("bias") and id(module) not in ends and not _embeds(module)
        total += count
        if kind != (spec.quantization if matrix and spec.quantization != "none" else spec.dtype):
            others[path] = (kind, count, size)
    undeclared = sum(count for _, count, _ in others.values())
    if undeclared <= UNDECLARED * total:
        return
    largest = sorted(others, key=lambda path: -others[path][1])[:3]
    raise ModelError(
        f"model.quantization is {spec.quantization} and model.dtype {spec.dtype}, but {undeclared:,} of {total:,} weights are "
        f"held otherwise ({sum(size for *_, size in others.values()) / 1e6:,.1f} MB): "
        f"{', '.join(f'{path} in {others[path][0]}' for path in largest)}{', …' if len(others) > 3 else ''}. "
        + (
            "LLM.int8 quantises plain linear modules only: declare quantization: nf4, which can quantise these, or none."
            if spec.quantization == "int8"
            else "Declare model.quantization: none, or the dtype that the architecture keeps."
        )
    )


def _rest(model: "PreTrainedModel") -> Iterator[tuple["torch.nn.Module", str]]:
    """Modules and names of float matrices that bitsandbytes leaves: stacks of experts, and linear modules of own classes."""
    import torch

    ends = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    for module in model.modules():
        if id(module) in ends or isinstance(module, torch.nn.modules.conv._ConvNd):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            stacked = parameter.ndim == 3 and not name.endswith("bias")
            own_class = isinstance(module, torch.nn.Linear) and type(module) is not torch.nn.Linear and name == "weight"
            if parameter.is_floating_point() and (stacked or own_class):
                yield module, name


def _parameters(model: "PreTrainedModel") -> Iterator[tuple[str, "torch.nn.Module", "torch.Tensor", Any]]:
    """Path, module, parameter and quantisation state (None where there is none) of every parameter, each once."""
    from torch.nn.utils.parametrize import ParametrizationList

    seen: set[int] = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            state = getattr(parameter, "quant_state", None)
            if isinstance(module, ParametrizationList):
                state = getattr(module[0], "quant_state", None)
            yield f"{path}.{name}", module, parameter, state


def _held(parameter: "torch.Tensor", state: Any) -> tuple[str, int, int]:
    """Type, number of weights and bytes of a parameter, with the constants of its quantisation."""
    if state is None:
        return str(parameter.dtype).removeprefix("torch."), parameter.numel(), parameter.nbytes
    constants = [state.absmax, *([state.state2.absmax, state.state2.code] if state.nested else [])]
    return state.quant_type, state.shape.numel(), parameter.nbytes + sum(c.nbytes for c in constants)


def _embeds(module: "torch.nn.Module") -> bool:
    import torch

    return isinstance(module, torch.nn.Embedding)

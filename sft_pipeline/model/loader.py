"""The one loader of weights: the only module that loads a base model, as its specification declares and as its files say."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sft_pipeline
from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import BaseModelSpec
from sft_pipeline.model import quantisation
from sft_pipeline.model.tokenizer import CleanTokenizer
from sft_pipeline.provenance.code import code_hash
from sft_pipeline.provenance.environment import library_versions

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel


def load_config(folder: Path) -> "PretrainedConfig":
    """The model's configuration in `folder`, without its weights."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def meta_model(folder: Path) -> "PreTrainedModel":
    """The model that config.json in `folder` describes on the meta device: every module, and no memory."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(load_config(folder))


def load_model(folder: Path, spec: BaseModelSpec, *, sharded: bool = False) -> "PreTrainedModel":
    """Load the weights in `folder` on the device, in the precision and quantisation that `spec` declares.

    Safetensors only, no remote code, no network. What the model then holds is compared with `spec`. With `sharded` the
    weights stay where they are read, for FSDP to place them, and 4-bit ones are stored in the type of the computation,
    since FSDP shards one floating-point type only (bitsandbytes' guide to FSDP-QLoRA).

    Raises:
        ModelError: the device is missing, the weights cannot be loaded, or they are not those that config.json describes.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    require_device(spec.device)
    require_attention(spec)
    options: dict[str, Any] = {}
    if spec.quantization != "none":
        options["quantization_config"] = _quantization(spec, sharded)
    # What bitsandbytes does not quantise while loading must not fill the device: it comes to the CPU, and over in nf4.
    staged = (
        spec.quantization == "nf4"
        and spec.device != "cpu"
        and not sharded
        and quantisation.has_rest(meta_model(folder))
    )
    try:
        model, loaded = cast(
            "tuple[PreTrainedModel, dict[str, Any]]",
            AutoModelForCausalLM.from_pretrained(
                folder,
                output_loading_info=True,
                dtype=getattr(torch, spec.dtype),
                device_map=None if sharded else {"": "cpu" if staged else spec.device},
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,  # refused below, with the names
                attn_implementation=spec.attention,
                **options,
            ),
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        hint = ""
        if "attn_implementation" in str(error) and spec.attention != "eager":
            hint = f" Declare model.attention: eager: this architecture has no {spec.attention}."
        raise ModelError(f"{folder}: the base model cannot be loaded: {error}{hint}") from error
    _require_complete(folder, loaded | {"mismatched_keys": [*loaded["mismatched_keys"], *_other_shapes(model)]})
    _keep_backward(model)
    if spec.quantization == "nf4" and not sharded:
        quantisation.quantise_rest(model, spec)
    if staged:
        model.to(spec.device)
        model.hf_device_map = {"": spec.device}
    if not sharded:  # what FSDP will place is not here yet
        quantisation.require_declared(model, spec)
    # What a model ships (a temperature, a repetition penalty) would fill every field that a decoding leaves open.
    model.generation_config = GenerationConfig()
    return model.eval()


def _require_complete(folder: Path, loaded: Mapping[str, Collection[Any]]) -> None:
    """Make sure that every weight came from the files and every weight of the files went into the model.

    transformers only warns: what is missing it draws at random, and what config.json leaves no place for it drops. Tied
    weights and buffers that a model computes itself (inv_freq, position_ids) it leaves out of these lists.

    Raises:
        ModelError: weights are missing, left over, or of another shape.
    """
    problems = []
    for kind, meaning in (
        ("missing_keys", "not in the files, so they would be random"),
        ("unexpected_keys", "in the files, but config.json has no place for them"),
        ("mismatched_keys", "of another shape than config.json says"),
    ):
        if names := sorted(key if isinstance(key, str) else key[0] for key in loaded[kind]):
            more = ", …" if len(names) > 3 else ""
            problems.append(f"{len(names)} are {meaning} ({', '.join(names[:3])}{more})")
    if problems:
        raise ModelError(
            f"{folder}: the weights are not those that config.json describes: {'; '.join(problems)}. Take weights and "
            "config.json from the same revision of the model, complete."
        )


def _other_shapes(model: "PreTrainedModel") -> list[str]:
    """Names of the linear layers whose weights are no outputs × inputs; where it quantises transformers compares none."""
    import torch

    found = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            # 4-bit weights are packed to a column; their state keeps the shape that they had.
            state = getattr(module.weight, "quant_state", None)
            shape = state.shape if state is not None else module.weight.shape
            if tuple(shape) != (module.out_features, module.in_features):
                found.append(f"{name}.weight")
    return found


def require_device(device: str) -> None:
    """Make sure that the declared device is there.

    Raises:
        ModelError: `cuda` is declared and there is none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "model.device is cuda, but this process sees no CUDA device. Run on a machine with a GPU, or declare "
            "device: cpu for a model that is small enough."
        )


def require_attention(spec: BaseModelSpec) -> None:
    """Make sure that the declared attention can run as declared; transformers would fall back or fail much later.

    Raises:
        ModelError: flash_attention_2 without a CUDA device, in float32, or without its package; bfloat16 on a CUDA
            device that does not compute in it.
    """
    import importlib.util

    import torch

    if (
        spec.device == "cuda"
        and spec.dtype == "bfloat16"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ModelError(
            "model.dtype is bfloat16, but this CUDA device does not compute in it (that needs Ampere or newer). Declare "
            "dtype: float32."
        )
    if spec.attention != "flash_attention_2":
        return
    if spec.device != "cuda" or spec.dtype != "bfloat16":
        raise ModelError(
            f"model.attention flash_attention_2 needs device: cuda and dtype: bfloat16, here are {spec.device} and "
            f"{spec.dtype}. Set them, or attention: sdpa."
        )
    if importlib.util.find_spec("flash_attn") is None:
        raise ModelError(
            "model.attention flash_attention_2 needs the package flash-attn: pip install flash-attn, or set "
            "attention: sdpa, which uses PyTorch's own fused kernel."
        )


def _quantization(spec: BaseModelSpec, sharded: bool) -> "BitsAndBytesConfig":
    import torch
    from transformers import BitsAndBytesConfig

    if spec.quantization == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=spec.double_quantization,
            bnb_4bit_compute_dtype=getattr(torch, spec.dtype),
            bnb_4bit_quant_storage=getattr(torch, spec.dtype) if sharded else torch.uint8,
        )
    return BitsAndBytesConfig(
        load_in_8bit=True,
        llm_int8_threshold=spec.int8_threshold,
        llm_int8_has_fp16_weight=spec.int8_has_fp16_weight,
    )


def _keep_backward(model: "PreTrainedModel") -> None:
    """Forbid bitsandbytes to repack 4-bit layers for its AVX512-bf16 kernel.

    That kernel has no backward pass, and the first pass without gradients (an evaluation) switches to it: gradients of
    everything afterwards are then silently wrong on processors that have it.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def attach_adapter(model: "PreTrainedModel", adapter: Path) -> "PeftModel":
    """Put the trained adapter in folder `adapter` on `model`, frozen, for generation."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter, is_trainable=False, local_files_only=True).eval()


CODE = "model/loader.py", "model/tokenizer.py", "model/quantisation.py", "model/completion.py", "model/generate.py"
"""What decides how a base is loaded and asked."""


def versions() -> dict[str, str]:
    """Versions of the libraries that decide how a base is loaded, and how it reads and answers."""
    return library_versions("torch", "transformers", "tokenizers", "bitsandbytes")


def provenance(tokenizer: CleanTokenizer, spec: BaseModelSpec, source: str, revision: str) -> dict[str, str]:
    """How the base was loaded: part of the guard's report and of everything that is made with the model."""
    return {
        "loader_version": f"{sft_pipeline.__version__}+{code_hash(*CODE)}",
        "model": source,
        "revision": revision,
        "quantization": spec.quantization,
        "dtype": spec.dtype,
        "template_found": str(tokenizer.had_template).lower(),
        "template_disabled": "true",
        "add_special_tokens": "false",
        "bos": spec.bos,
        "tokenizer_default_start": tokenizer.default_start or "nothing",
    }

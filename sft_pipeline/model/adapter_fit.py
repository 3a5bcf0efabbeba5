"""Whether an adapter belongs to a base (on another one of the same shape it would answer, and wrongly), and whether it is trained."""

import json
from pathlib import Path

from sft_pipeline.errors import ModelError
from sft_pipeline.model.loader import meta_model

_HASH = "sha256:"


def require_fit(adapter: Path, base: Path, revision: str = "") -> None:
    """Put the adapter on the base without its weights, and compare the base with that of the training where its manifest is there.

    PEFT itself only warns of layers that the adapter does not have, and ignores those that the base does not have.

    Args:
        adapter: folder with adapter_config.json and adapter_model.safetensors; training_manifest.json lies in it, or beside it.
        base: the base model's files.
        revision: the base's, as a `ModelSnapshot` names it; empty: not compared.

    Raises:
        ModelError: it adapts other layers than those of the base, or layers of another width, or was trained on other weights.
    """
    from peft import PeftConfig, PeftModel

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (adapter / name).is_file():
            raise ModelError(f"{adapter}: no adapter: {name} is missing.")
    try:
        config = PeftConfig.from_pretrained(adapter)
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{adapter}: no adapter: adapter_config.json: {error}") from error
    try:
        model = PeftModel(meta_model(base), config, low_cpu_mem_usage=True)
        keys = model.load_adapter(str(adapter), "default", torch_device="cpu", low_cpu_mem_usage=True)
        unlike = [f"this base has no place for {key}" for key in keys.unexpected_keys]
        unlike += [f"the adapter has no {key}, which it needs on this base" for key in keys.missing_keys]
    except (RuntimeError, ValueError) as error:  # another shape; none of the layers
        unlike = [line.strip() for line in str(error).splitlines() if "size mismatch" in line] or [str(error)]
    if unlike:
        named = config.base_model_name_or_path or "which it does not name"
        raise ModelError(f"{adapter}: the adapter is for another base ({named}): {unlike[0]}")
    for manifest in (adapter / "training_manifest.json", adapter.parent / "training_manifest.json"):
        if not manifest.is_file():
            continue
        trained = json.loads(manifest.read_text("utf-8")).get("model", {}).get("revision", "")
        # Only the hash of a folder's content is comparable: a commit or a recipe names the same weights otherwise.
        if trained.startswith(_HASH) and revision.startswith(_HASH) and trained != revision:
            raise ModelError(
                f"{adapter}: the adapter was trained on another base: {manifest.name} names {trained}, this one is {revision}."
            )


def dead(weights: Path) -> bool:
    """Whether every lora_B of an adapter is zero: it was never trained, whatever its log says."""
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as tensors:
        names = [name for name in tensors.keys() if "lora_B" in name or "lora_embedding_B" in name]  # noqa: SIM118
        return not any(bool(tensors.get_tensor(name).any()) for name in names)

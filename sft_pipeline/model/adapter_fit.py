"""Whether an adapter belongs to a base: on another one of the same shape it would answer, and wrongly."""

import json
from pathlib import Path

from sft_pipeline.errors import ModelError
from sft_pipeline.model.loader import meta_model

_HASH = "sha256:"


def require_fit(adapter: Path, base: Path, revision: str = "") -> None:
    """Compare every adapted layer with the base's, and the base with that of the training where its manifest is there.

    Args:
        adapter: folder with adapter_config.json and adapter_model.safetensors; training_manifest.json lies in it, or beside it.
        base: the base model's files.
        revision: the base's, as a `ModelSnapshot` names it; empty: not compared.

    Raises:
        ModelError: it adapts a layer that the base does not have, or one of another width, or was trained on other weights.
    """
    import torch
    from safetensors import safe_open

    try:
        config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{adapter}: no adapter: adapter_config.json: {error}") from error
    if not (adapter / "adapter_model.safetensors").is_file():
        raise ModelError(f"{adapter}: no adapter: adapter_model.safetensors is missing.")
    layers = {name: m for name, m in meta_model(base).named_modules() if isinstance(m, torch.nn.Linear)}
    with safe_open(adapter / "adapter_model.safetensors", "numpy") as weights:
        names = [name for name in weights.keys() if ".lora_A." in name or ".lora_B." in name]  # noqa: SIM118
        for name in names:
            layer, part = name.removeprefix("base_model.model.").split(".lora_")
            shape, found = tuple(weights.get_slice(name).get_shape()), layers.get(layer)
            width = shape[1] if part.startswith("A") else shape[0]
            if found is None or width != (found.in_features if part.startswith("A") else found.out_features):
                own = "no such layer" if found is None else f"one of {found.in_features} to {found.out_features}"
                raise ModelError(
                    f"{adapter}: the adapter is for another base ({config.get('base_model_name_or_path') or 'which it does not name'}): "
                    f"it changes {layer} at a width of {width}, and this base has {own}."
                )
    for manifest in (adapter / "training_manifest.json", adapter.parent / "training_manifest.json"):
        if not manifest.is_file():
            continue
        trained = json.loads(manifest.read_text("utf-8")).get("model", {}).get("revision", "")
        # Only the hash of a folder's content is comparable: a commit or a recipe names the same weights otherwise.
        if trained.startswith(_HASH) and revision.startswith(_HASH) and trained != revision:
            raise ModelError(
                f"{adapter}: the adapter was trained on another base: {manifest.name} names {trained}, this one is {revision}."
            )

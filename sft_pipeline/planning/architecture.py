"""Parameter counts by shape arithmetic, without weights, for decoders laid out like Llama and Qwen2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sft_pipeline.experiment import Lora

LAYOUTS = ("llama", "mistral", "qwen2", "qwen3")
"""Values of `model_type` whose layers consist of the projections below."""

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Shapes:
    """The sizes that determine a Llama-like decoder."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    qkv_bias: bool
    qk_norm: bool

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Linear modules of one layer: name → (inputs, outputs)."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, q),
            "k_proj": (self.hidden, kv),
            "v_proj": (self.hidden, kv),
            "o_proj": (q, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def ends(self) -> dict[str, tuple[int, int]]:
        """The two modules outside of the layers that an adapter may name: name → (inputs, outputs)."""
        return {"embed_tokens": (self.vocabulary, self.hidden), "lm_head": (self.hidden, self.vocabulary)}

    @property
    def linear_parameters(self) -> int:
        """Weights of the projections of all layers: what a quantisation compresses."""
        return self.layers * sum(i * o for i, o in self.projections.values())

    @property
    def other_parameters(self) -> int:
        """Embeddings, output layer unless tied, norms and biases: what stays in the declared precision."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        bias = (self.heads + 2 * self.kv_heads) * self.head_dim if self.qkv_bias else 0
        norms = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        return embeddings + self.layers * (bias + norms) + self.hidden

    @property
    def parameters(self) -> int:
        """All weights of the base model."""
        return self.linear_parameters + self.other_parameters

    @property
    def modules(self) -> dict[str, tuple[int, int]]:
        """All modules that an adapter may name, by their path in the model: path → (inputs, outputs)."""
        found = {
            f"model.layers.{layer}.{'self_attn' if name in _ATTENTION else 'mlp'}.{name}": sizes
            for layer in range(self.layers)
            for name, sizes in self.projections.items()
        }
        return found | {"model.embed_tokens": self.ends["embed_tokens"], "lm_head": self.ends["lm_head"]}

    def adapted(self, lora: Lora) -> dict[str, tuple[int, int]]:
        """The adapted ones of `modules`; `all-linear` leaves out the output layer, as PEFT does."""
        targets = tuple(self.projections) if lora.target_modules == "all-linear" else lora.target_modules
        return {path: sizes for path, sizes in self.modules.items() if any(_names(t, path) for t in targets)}

    def unknown_targets(self, lora: Lora) -> list[str]:
        """Target modules that such a model lacks."""
        targets, paths = () if lora.target_modules == "all-linear" else lora.target_modules, self.modules
        return [target for target in targets if not any(_names(target, path) for path in paths)]

    def lora_parameters(self, lora: Lora) -> int:
        """Weights of the adapter: r × (inputs + outputs) for every adapted module."""
        return lora.r * sum(i + o for i, o in self.adapted(lora).values())


def _names(target: str, path: str) -> bool:
    """Whether PEFT takes the module at `path` for one of those that `target` names: by its path, or the end of it."""
    return path == target or path.endswith("." + target)


def shapes(config: Mapping[str, Any]) -> Shapes | None:
    """Shapes from a model's config.json or a specification's `architecture`; None for another layout.

    A mapping without `model_type` is taken for a Llama-like decoder without biases.
    """
    kind = config.get("model_type", "llama")
    if kind not in LAYOUTS or config.get("num_hidden_layers") is None:
        return None
    heads = config["num_attention_heads"]
    return Shapes(
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
    )

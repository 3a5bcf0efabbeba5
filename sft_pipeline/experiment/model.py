"""The base model, how it is loaded, and how it must behave."""

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from sft_pipeline.experiment.section import Extended, Positive, Section, Seed, compiles


class EmbeddedBase(Extended):
    """The embedded tiny base model: Qwen2 architecture, trained from scratch on the world's plain text."""

    ADDED: ClassVar[tuple[str, ...]] = ("spread_unseen",)

    kind: Literal["embedded"]
    world_seed: int = Field(7, description="Seed of the world that the text tells about.")
    seed: Seed = Field(1, description="Seed of the weights, the text and the order of the batches.")
    documents: Positive = Field(60_000, description="Documents of the training text.")
    vocabulary: Positive = Field(1280, description="Size of the byte-level BPE vocabulary.")
    hidden_size: Positive = Field(128, description="Width of the model.")
    layers: Positive = Field(2, description="Transformer layers.")
    heads: Positive = Field(2, description="Attention heads; hidden_size / heads must be 32, 64 or more for vLLM.")
    steps: Positive = Field(2600, description="Optimiser steps.")
    batch_size: Positive = Field(8, description="Sequences per step.")
    sequence_length: Positive = Field(128, description="Tokens per sequence.")
    learning_rate: float = Field(
        4e-3,
        gt=0,
        description="Peak learning rate of embeddings and norms (AdamW); Muon's is five times that. Cosine to 5 %.",
    )
    spread_unseen: bool = Field(
        False,
        description="Give tokens that the text has not, such as <, / and >, vectors that differ. Training leaves nearly one vector "
        "for all of them, and no adapter can write what it cannot tell apart.",
    )


class FolderBase(Section):
    """A base model in a local folder in Hugging Face layout with safetensors weights."""

    kind: Literal["folder"]
    path: str = Field(description="Path, relative to the project's root; ${VARIABLES} of the environment expand.")


class HubBase(Section):
    """A base model from a hub; a branch name is resolved to its commit, which is recorded."""

    kind: Literal["hub"]
    name: str = Field(description="owner/name of the model.")
    revision: str = Field(description="Commit (40 hexadecimal digits), tag or branch.")


class Sentinel(Section):
    """A prompt whose answer tells whether a model is a base model."""

    name: str = Field(description="Name in the report, such as instruction_following_should_fail.")
    prompt: str = Field(description="The raw text; in the training format it stands as the instruction.")
    expect: Literal["fails", "works"] = Field(description="Whether a clean base model should fail or succeed.")
    matches: str = Field(description="Regular expression (case ignored) that a successful answer matches.")
    in_format: bool = Field(
        True, description="Run it in the training format too; an instruct model is asked in its format alone."
    )

    @model_validator(mode="after")
    def _matches_compiles(self) -> "Sentinel":
        compiles(self.matches, "matches")
        return self


class Architecture(Section):
    """The model's architecture, so that a plan can be made without its files: a config.json, or fields named as in one."""

    model_config = ConfigDict(extra="allow")  # with model_type, the fields of that type; otherwise refused below

    config: str | None = Field(
        None, description="Path of a config.json, relative to the project's root; instead of all other fields."
    )
    model_type: str | None = Field(
        None,
        description="Type in transformers, such as qwen2, mixtral or gemma3_text; further fields as in its config.json. "
        "Default: a Llama-like decoder without biases, of the fields below.",
    )
    hidden_size: Positive | None = Field(None, description="Width of the model.")
    intermediate_size: Positive | None = Field(None, description="Width of the feed-forward layers.")
    num_hidden_layers: Positive | None = Field(None, description="Layers.")
    num_attention_heads: Positive | None = Field(None, description="Attention heads.")
    num_key_value_heads: Positive | None = Field(None, description="Key and value heads; default: as many as heads.")
    head_dim: Positive | None = Field(None, description="Width of a head; default: hidden_size / num_attention_heads.")
    vocab_size: Positive | None = Field(None, description="Entries of the embedding.")

    @model_validator(mode="after")
    def _one_description(self) -> "Architecture":
        given = self.model_fields_set
        if self.config is not None:
            if others := sorted(given - {"config"}):
                raise ValueError(f"config stands for all other fields: leave out {', '.join(others)}")
            return self
        if self.model_type is not None:  # its own defaults are for transformers to know
            return self
        if unknown := sorted(self.model_extra or {}):
            raise ValueError(f"{', '.join(unknown)}: not a field of a Llama-like decoder; set model_type, or config")
        needed = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
        if missing := [name for name in needed if getattr(self, name) is None]:
            raise ValueError(f"missing: {', '.join(missing)} (or state config, the path of a config.json)")
        hidden, heads = self.hidden_size or 0, self.num_attention_heads or 1
        if self.head_dim is None and hidden % heads:
            raise ValueError(f"hidden_size ({hidden}) is no multiple of num_attention_heads ({heads}): state head_dim")
        if heads % (self.num_key_value_heads or 1):
            raise ValueError(
                f"num_attention_heads ({heads}) is no multiple of num_key_value_heads ({self.num_key_value_heads})"
            )
        return self


class BaseModelSpec(Extended):
    """The base model, how it is loaded, and how it must behave."""

    ADDED: ClassVar[tuple[str, ...]] = ("role", "card")

    source: Annotated[
        EmbeddedBase | FolderBase | HubBase, Field(discriminator="kind", description="Where it comes from.")
    ]
    role: Literal["base", "instruct"] = Field(
        "base",
        description="What the model is before the training. instruct turns the guard round: it needs prompt.format: chat with "
        "the shipped template, the end token that the template uses, and sentinels that follow instructions; the gate "
        "compares the tuned with the untuned instruct model.",
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where it runs; a missing device is an error, never a silent fallback."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of weights and computation (compute type when quantised). There is no float16: it needs its "
        "losses scaled, and every card since Ampere computes in bfloat16; on an older one take float32.",
    )
    quantization: Literal["none", "nf4", "int8"] = Field(
        "none", description="nf4 is 4-bit NormalFloat (QLoRA; see double_quantization), int8 is LLM.int8."
    )
    double_quantization: bool = Field(True, description="Quantise the constants of nf4 too.")
    int8_threshold: float = Field(6.0, ge=0, description="Outlier threshold of LLM.int8.")
    int8_has_fp16_weight: Literal[False] = Field(
        False,
        description="Always off: weights that also stay in 16 bits are for training the base itself; under a frozen base "
        "they would undo what int8 saves.",
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa",
        description="Implementation of the attention. sdpa is PyTorch's own, fused where the device allows; "
        "flash_attention_2 needs a CUDA device, bfloat16 and the package flash-attn, otherwise it is an error.",
    )
    device_memory_gb: float | None = Field(
        None,
        gt=0,
        description="Memory of one device in 1e9 bytes; a plan that needs more is refused, above 85 % of it is warned.",
    )
    card: str | None = Field(
        None,
        description="Name of the CUDA card, such as L40S or H100, or as nvidia-smi writes it: from it the plan estimates the "
        "time, and takes the memory where device_memory_gb is not stated.",
    )
    architecture: Architecture | None = Field(
        None, description="The model's architecture, so that a plan can be made without its files."
    )
    sentinels: tuple[Sentinel, ...] = Field((), description="Sentinel prompts with the expected behaviour.")
    sentinel_new_tokens: Positive = Field(24, description="New tokens per sentinel answer.")
    bos: Literal["none", "always"] = Field(
        "none",
        description="Whether every prompt begins with the tokenizer's beginning-of-sequence token, in guard, training and "
        "generation alike. Gemma's bases need it, Llama's were trained with it; Qwen's have none.",
    )
    allow_bos: bool = Field(
        False,
        description="The tokenizer adds a beginning-of-sequence token by default; accept that bos: none leaves it out.",
    )
    allowed_template_tokens: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (),
        description="Tokens that the tokenizer's chat template names and that are markers of this experiment's own format, "
        "such as <think> and </think> in reasoning data for Qwen3's bases: any text may hold them.",
    )
    format_may_follow: bool = Field(
        False,
        description="Accept a base model that fails at the instructions raw but follows them in the training format. "
        "Off: such a base stops the run, for there is little left to learn and the gate would measure the format.",
    )

    @property
    def loading(self) -> dict[str, str | float | bool]:
        """The fields that decide what the loaded model computes for a text, as plain values."""
        names = {"device", "dtype", "quantization", "double_quantization", "int8_threshold", "attention"}
        if self.bos != "none":  # part of a key only where it changes something
            names.add("bos")
        return self.model_dump(mode="json", include=names)

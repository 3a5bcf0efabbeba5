"""Tiny base models with random weights of many architectures, built from transformers' own configurations."""

import re
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import ModelSnapshot

COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
}
"""Sizes by the names that most configurations use."""

MIXTURE = {"num_experts_per_tok": 2, "num_experts": 4, "moe_intermediate_size": 64}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma2": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16},
    "phi": {"num_key_value_heads": 2},
    "phi3": {"pad_token_id": 1},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 2},
    "falcon": {},
    "gpt_neox": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
    "olmo2": {},
    "granite": {},
    "smollm3": {},
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": MIXTURE | {"head_dim": 16},
    "olmoe": MIXTURE,
    "granitemoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "phimoe": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 16},
    "deepseek_v3": MIXTURE
    | {
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 16,
        "v_head_dim": 16,
        "num_key_value_heads": 2,
    },
    "mamba2": {"state_size": 8, "num_heads": 4, "head_dim": 16, "expand": 2, "n_groups": 2, "chunk_size": 16},
}
"""What a configuration needs beyond `COMMON`, by `model_type`."""


def config(kind: str, vocabulary: int, **changes: Any) -> Any:
    """The tiny configuration of architecture `kind`, with changes."""
    from transformers import AutoConfig

    tokens = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    return AutoConfig.for_model(kind, **COMMON | tokens | ARCHITECTURES[kind] | changes)


def tiny(kind: str, tokenizer: Path, folder: Path, **changes: Any) -> ModelSnapshot:
    """A base model of architecture `kind` with random weights in `folder`, and the tokenizer of folder `tokenizer`."""
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    inner = PreTrainedTokenizerFast.from_pretrained(tokenizer)
    inner.save_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(kind, len(inner), **changes))
    model.save_pretrained(folder)
    return ModelSnapshot.finalize(
        folder,
        source=kind,
        revision="seed 0",
        architecture=type(model).__name__,
        parameters=model.num_parameters(),
        vocabulary=len(inner),
    )


TOLERANCE = {"float32": 1e-5, "bfloat16": 0.02, "nf4": 1e-3, "int8": 0.02}
"""How far the dev loss (nats) of a reloaded adapter may be from the logged one. LLM.int8 looks for outliers in whole
batches, and bfloat16 rounds by batch shape."""

REMEDIES: tuple[tuple[str, dict[str, dict[str, Any]]], ...] = (
    ("model.attention: eager", {"model": {"attention": "eager"}}),
    ("in nf4", {"lora": {"target_modules": ...}}),
    ("training.lora.dropout to 0", {"lora": {"dropout": 0.0}}),
    ("whose output PEFT cannot add to", {"lora": {"target_modules": ("q_proj", "v_proj")}}),
    ("choose training.lora.target_modules from", {"lora": {"target_modules": ("in_proj",)}}),
)
"""Remedies that a refusal may name, and what they change in the specification; ... are the names in the refusal."""


def cell(base: ModelSnapshot, folder: Path, **training: Any) -> tuple[str, dict[str, Any]]:
    """Guard, plan, train, answer and reload with the base; what a refusal tells to change is changed.

    Returns:
        `works`, with what had to be declared, or the refusal; and what was measured.
    """
    from sft_pipeline.errors import PipelineError

    changes: dict[str, dict[str, Any]] = {"model": training.pop("model", {}), "lora": training.pop("lora", {})}
    declared: list[str] = []
    for attempt in range(len(REMEDIES) + 1):
        out = folder / str(attempt)
        out.mkdir(parents=True)
        try:
            measured = lifecycle(base, out, **changes, **training)
        except PipelineError as error:
            new = [(text, change) for text, change in REMEDIES if text in str(error) and text not in declared]
            if not new:
                return f"refused: {error}", {}
            text, change = new[0]
            if change.get("lora", {}).get("target_modules") is ...:
                (names,) = re.findall(r"target_modules: ([\w, ]+)\)", str(error))
                change = {"lora": {"target_modules": tuple(names.split(", "))}}
            declared.append(text)
            changes = {part: changes[part] | change.get(part, {}) for part in changes}
            continue
        names = [f"{k}: {v}" for part in changes.values() for k, v in part.items() if k in ("attention", "dropout")]
        names += [f"target_modules: {' '.join(v)}" for k, v in changes["lora"].items() if k == "target_modules"]
        return "works" + (f" with {', '.join(names)}" if declared else ""), measured
    return f"refused: {declared}", {}


def lifecycle(base: ModelSnapshot, folder: Path, **options: Any) -> dict[str, Any]:
    """Guard, plan, training of a few steps, answers and a reload with one base; raises what any of them refuses."""
    import json

    from sft_pipeline.experiment import Prompt
    from sft_pipeline.generation.engines.transformers_engine import TransformersEngine
    from sft_pipeline.model import guard as guards
    from sft_pipeline.model.tokenizer import load_tokenizer
    from sft_pipeline.planning import plan
    from sft_pipeline.training import tokenization, trainer
    from sft_pipeline_tests.training.conftest import split, toy_experiment, toy_rows

    experiment = toy_experiment(**{"max_steps": 3, "save_steps": 3, "min_coverage": 0.1} | options)
    for name in ("guard", "work", "out"):
        (folder / name).mkdir()
    guard = guards.inspect(base, experiment.model, Prompt(), folder / "guard")
    assert guard.passed, guard.problems
    tokenizer = load_tokenizer(base.root, experiment.model)
    train, dev = (split(folder, stage, toy_rows(16, first)) for stage, first in (("train", 0), ("dev", 500)))
    lengths = tokenization.lengths(experiment, tokenizer, toy_rows(16))
    config = json.loads(base.path("config.json").read_text())
    made = plan.compute(experiment, lengths, {"kind": 400}, config, (0, 8))
    adapter = trainer.train(experiment, base, guard, made, train, dev, folder / "work", folder / "out")
    with TransformersEngine(base, experiment.model) as engine:
        prompts = [experiment.prompt.render(row["instruction"]) for row in toy_rows(3, 500)]
        decoding = experiment.generation.model_copy(update={"max_new_tokens": 4})
        answers = engine.answer(prompts, decoding, adapter=adapter.root / "adapter")
        assert len(answers) == 3 and all(answer.tokens <= 4 for answer in answers)
    examples = tokenization.encode(experiment, tokenizer, toy_rows(16, 500)).examples
    manifest = json.loads((adapter.root / "training_manifest.json").read_text())
    return {
        "dev_loss": adapter.dev_loss,
        "reloaded": token_loss(base, experiment.model, adapter.root / "adapter", examples)[0],
        "loaded": manifest["model"]["loaded"],
    }


def token_loss(
    base: ModelSnapshot, spec: Any, adapter: Path, examples: list[dict[str, list[int]]]
) -> tuple[float, float]:
    """Loss (nats) and accuracy per token of the stored adapter on a freshly loaded base, one row at a time."""
    import torch

    from sft_pipeline.model.loader import attach_adapter, load_model
    from sft_pipeline.training.tokenization import IGNORED

    model = attach_adapter(load_model(base.root, spec), adapter)
    loss = correct = tokens = 0.0
    for example in examples:
        ids, labels = torch.tensor(example["input_ids"]), torch.tensor(example["labels"][1:])
        with torch.inference_mode():
            logits = model(input_ids=ids[None]).logits[0, :-1].double()
        counted = labels != IGNORED
        loss -= logits.log_softmax(-1)[counted, labels[counted]].sum().item()
        correct += (logits.argmax(-1) == labels)[counted].sum().item()
        tokens += counted.sum().item()
    return loss / tokens, correct / tokens

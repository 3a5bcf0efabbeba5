"""The embedded tiny base model: its tokenizer and its weights, made from scratch from the world's plain text.

The model is an ordinary Qwen2 of about half a million parameters in Hugging Face layout, so that everything downstream
treats it like any other base. It has no chat template and has seen no instruction.

The base of `specs/tiny.yaml` is package data: `shipped_base/` holds its files and `recipe.json`, which says how it was
built. `ship` builds it again, and the tests compare.
"""

import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from sft_pipeline.embedded.corpus import documents
from sft_pipeline.errors import SpecificationError
from sft_pipeline.experiment import EmbeddedBase
from sft_pipeline.provenance.hashing import hash_file

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2Config

_log = logging.getLogger(__name__)

END = "<|endoftext|>"
PAD = "<|pad|>"

WARMUP_STEPS = 20
MUON_FACTOR = 5
"""Learning rate of Muon (layer matrices) over that of AdamW (embeddings and norms)."""

FINAL_SHARE = 0.05
"""Learning rate at the last step, as a share of the peak."""


SHIPPED = Path(__file__).with_name("shipped_base")
"""The base of the default recipe, as package data."""

RECORD = "recipe.json"
"""In `SHIPPED`: the recipe, the hash of each file, the hashes after the first steps, and what it was built with."""

SEED = 2
"""Seed of the packaged base: the guard finds it to be as its experiment declares (that of seed 1 misses a sentinel)."""

UNSEEN = 0.9999
"""Cosine with the padding's vector above which a token is one that the text has not. In the packaged base a token that stands
in the text once comes to 0.9993, and one that does not stand there to 0.99996 at least; a test compares both sets."""

REPRODUCIBLE = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2"}
"""Environment in which torch and MKL add up in the same order on every x86 processor with AVX2."""

THREADS = 2
"""Threads of the training: how a sum is divided between threads decides its last digit."""

FIRST_STEPS = 5
"""Steps after which the record has the hash of every file, so that a test can rebuild the beginning in seconds."""


def shipped(recipe: EmbeddedBase) -> Path | None:
    """The folder with the files of `recipe`, if it is the recipe of the packaged base and no file has changed.

    Where `recipe` spreads unseen tokens, that is left to do.
    """
    record, built = json.loads((SHIPPED / RECORD).read_text()), recipe.model_copy(update={"spread_unseen": False})
    if EmbeddedBase.model_validate(record["recipe"]) != built or record["files"] != file_hashes(SHIPPED):
        return None
    return SHIPPED


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a base, by name."""
    return {path.name: hash_file(path) for path in sorted(folder.iterdir()) if path.name != RECORD}


def build(recipe: EmbeddedBase, out: Path, steps: int | None = None) -> None:
    """Train tokenizer and model by `recipe` and write them to `out` in Hugging Face layout.

    The same recipe gives the same bytes on processors with the same instruction set.

    Args:
        recipe: sizes, seeds and schedule.
        out: folder for config.json, generation_config.json, model.safetensors, tokenizer.json and
            tokenizer_config.json; made when it does not exist.
        steps: stop after this many of the recipe's steps.

    Raises:
        SpecificationError: there is too little text for a batch.
    """
    import torch
    from transformers import GenerationConfig, Qwen2ForCausalLM

    texts = list(documents(recipe.world_seed, recipe.seed, recipe.documents))
    tokenizer = train_tokenizer(texts, recipe.vocabulary)
    encoded = encode(tokenizer, texts)
    total = sum(len(ids) for ids in encoded)
    _log.info("embedded base: %d documents, %d tokens, vocabulary %d", len(texts), total, len(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Qwen2ForCausalLM(architecture(recipe, tokenizer))
    with _threads():
        _train(model, encoded, recipe, recipe.steps if steps is None else steps)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    if recipe.spread_unseen:
        spread_unseen(out)


def spread_unseen(folder: Path) -> None:
    """Set the vectors of tokens that the text of the base in `folder` has not apart, in place.

    Each step of the training moves all of them alike, so that their differences, of which each still has its first random
    ones, become too small to count: a token whose vector lies within the hull of the others is the likeliest under no hidden
    state. Common part and difference get the median length of the other vectors here.
    """
    import torch
    from safetensors.torch import load_file, save_file

    path, name = folder / "model.safetensors", "model.embed_tokens.weight"
    weights = load_file(path)
    vectors = weights[name]
    padding = vectors[json.loads((folder / "config.json").read_text())["pad_token_id"]]  # which no text has
    unseen = torch.cosine_similarity(vectors, padding[None]) > UNSEEN
    common = vectors[unseen].mean(0)
    parts = common, vectors[unseen] - common
    vectors[unseen] = vectors[~unseen].norm(dim=1).median() * sum(
        torch.nn.functional.normalize(part, dim=-1) for part in parts
    )
    save_file(weights, path, {"format": "pt"})


def train_tokenizer(texts: list[str], vocabulary: int) -> "PreTrainedTokenizerFast":
    """A byte-level BPE tokenizer of `vocabulary` entries that adds nothing to a text and has no chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False, model_max_length=512
    )


def architecture(recipe: EmbeddedBase, tokenizer: "PreTrainedTokenizerFast") -> "Qwen2Config":
    """The model's configuration: full multi-head attention, tied embeddings, a gated layer of 8/3 of the width."""
    from transformers import Qwen2Config

    return Qwen2Config(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden_size,
        intermediate_size=math.ceil(recipe.hidden_size * 8 / 3 / 32) * 32,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def encode(tokenizer: "PreTrainedTokenizerFast", texts: list[str]) -> list[list[int]]:
    """The token ids of each document with the end-of-text token behind them."""
    return [[*e.ids, tokenizer.eos_token_id] for e in tokenizer.backend_tokenizer.encode_batch(texts)]


def learning_rate(step: int, recipe: EmbeddedBase) -> float:
    """The rate at `step` (from 0): linear warm-up, then a cosine from the peak to `FINAL_SHARE` of it."""
    if step < WARMUP_STEPS:
        return recipe.learning_rate * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, recipe.steps - WARMUP_STEPS)
    return recipe.learning_rate * (FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * progress)) / 2)


@contextmanager
def _threads() -> Iterator[None]:
    """Compute in `THREADS` threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(model: "torch.nn.Module", encoded: list[list[int]], recipe: EmbeddedBase, steps: int) -> None:
    """Train `model` in place to continue each document from its start, for the first `steps` steps of the recipe."""
    import torch

    model.train()
    # Muon learns this text in about half the steps of AdamW alone; it is made for matrices that map activations.
    layers = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is layer for layer in layers)]
    optimizers = (
        torch.optim.Muon(layers, weight_decay=0.1, momentum=0.95, adjust_lr_fn="original"),
        torch.optim.AdamW(others, weight_decay=0.0, betas=(0.9, 0.95)),
    )
    batches = _batches(encoded, recipe)
    started = time.monotonic()
    for step in range(steps):
        rate = learning_rate(step, recipe)
        for optimizer, factor in zip(optimizers, (MUON_FACTOR, 1)):
            for group in optimizer.param_groups:
                group["lr"] = factor * rate
        batch = next(batches)
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            _log.info(
                "embedded base: step %d of %d, loss %.3f, %.0f s",
                step,
                recipe.steps,
                loss.item(),
                time.monotonic() - started,
            )
    model.eval()


def _batches(encoded: list[list[int]], recipe: EmbeddedBase) -> Iterator["torch.Tensor"]:
    """Endless batches (sequences × tokens); every epoch reorders the documents.

    A sequence starts with the start of a document, as a prompt does, and is filled with further documents, the last of
    which is cut. Documents one by one would teach the model to find its way by the start of the sequence; among
    others it must learn to look for content.
    """
    import torch

    if sum(map(len, encoded)) < recipe.batch_size * 2 * recipe.sequence_length:
        raise SpecificationError(
            f"model.source.documents: {len(encoded)} documents are too little text for batches of {recipe.batch_size} "
            f"sequences of {recipe.sequence_length} tokens; raise documents"
        )
    rng = Random(f"batches {recipe.seed}")
    batch: list[list[int]] = []
    while True:
        sequence: list[int] = []
        for document in rng.sample(encoded, len(encoded)):
            sequence += document
            if len(sequence) >= recipe.sequence_length:
                batch.append(sequence[: recipe.sequence_length])
                sequence = []
            if len(batch) == recipe.batch_size:
                yield torch.tensor(batch)
                batch = []


def ship(steps: int | None, out: Path) -> None:
    """Build the packaged base's recipe, or its first steps, in a process of its own that computes reproducibly.

    Raises:
        CalledProcessError: the build failed.
    """
    command = [sys.executable, "-m", "sft_pipeline.embedded.base_model", str(out), *([str(steps)] if steps else [])]
    subprocess.run(command, check=True, env=os.environ | REPRODUCIBLE)


def record(beginning: Path) -> dict[str, Any]:
    """What stands in `RECORD`; `beginning` holds the base after `FIRST_STEPS` steps."""
    return {
        "recipe": EmbeddedBase(kind="embedded", seed=SEED).model_dump(),
        "environment": REPRODUCIBLE,
        "files": file_hashes(SHIPPED),
        f"files_after_{FIRST_STEPS}_steps": file_hashes(beginning),
    }


if __name__ == "__main__":
    build(EmbeddedBase(kind="embedded", seed=SEED), Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)

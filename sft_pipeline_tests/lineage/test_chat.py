"""Conversations from the data to the gate: on a base, and on the instruct model that its merged adapter is."""

import json

import dagster as dg
import pytest
import yaml

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    ComparatorGenerations,
    GateReport,
    Generations,
    GuardReport,
    InstructionDataset,
    ModelSnapshot,
)
from sft_pipeline.dataset.table import read_table
from sft_pipeline.embedded import instructions
from sft_pipeline.experiment import EmbeddedData
from sft_pipeline.provenance.store import Store
from sft_pipeline.release.export.merge import merge
from sft_pipeline.specification import load_by_name
from sft_pipeline_tests.conftest import TOY, draw_nothing
from sft_pipeline_tests.lineage.conftest import Run

pytestmark = pytest.mark.slow

GATED = "*gate_report"


def conversations(count: int) -> str:
    made = instructions.generate(EmbeddedData(kind="embedded", rows=2 * count, planted_faults=0))
    found = []
    for first, second in zip(made[::2], made[1::2]):
        turns = [{"role": "system", "content": "Answer."}] if len(found) % 2 else []
        for row in (first, second):
            turns += [
                {"role": "user", "content": row["instruction"]},
                {"role": "assistant", "content": row["response"]},
            ]
        found.append(json.dumps({"messages": turns}) + "\n")
    return "".join(found)


def specify(project, comparators=None, **fields):
    """Write the toy experiment on conversations, at a size that takes seconds."""
    spec = yaml.safe_load(TOY)
    source = {"kind": "file", "path": "talks.jsonl", "conversations": {"several_turns": "keep"}}
    split = {"test_size": 12, "dev_size": 4, "min_test_size": 6, "smaller_test_reason": "a toy"}
    spec["data"] = {"source": source, "split": split, "quality": {"truncation": False, "max_repeated_share": 1.0}}
    spec["training"] |= {"max_steps": 4, "batch_size": 4, "logging_steps": 1, "save_steps": 2, "validation_prompts": 1}
    spec["generation"] = {"max_new_tokens": 2, "repeat_sample": 1}
    spec["evaluation"]["scorers"] = {"default": {"kind": "exact"}}
    if comparators is not None:
        spec["evaluation"]["comparators"] = comparators
    spec["evaluation"]["gate"] |= {"min_power": 0.0, "max_interval_width": 2.0}
    (project / "specs" / "toy.yaml").write_text(yaml.safe_dump(spec | fields))


@pytest.fixture(scope="module")
def talked(tmp_path_factory, toy_cache):
    """A project whose base was trained on conversations in ChatML, and the run that did it."""
    project = tmp_path_factory.mktemp("chat")
    (project / "specs").mkdir()
    (project / "talks.jsonl").write_text(conversations(70))
    specify(project, prompt={"format": "chat", "chat": {"template": "chatml"}})
    with pytest.MonkeyPatch.context() as patch, dg.instance_for_test() as instance:
        for name, folder in (("ROOT", project), ("STORE", project / "store"), ("CACHE", toy_cache)):
            patch.setenv(f"SFT_PIPELINE_{name}", str(folder))
        draw_nothing(patch)
        yield project, Run(project, instance, GATED), instance


def prompts(store, name):
    made = store.get(f"{name}_generations", "toy", Generations)
    return {row["id"]: row["prompt"] for row in read_table(made.path(Generations.ROWS))}


def test_a_base_learns_conversations_and_every_answer_is_judged(talked):
    project, made, _ = talked
    assert "gate_report" in made.made, made.result.all_events[-1].message
    store = Store(project / "store")
    train, test = (store.get(f"{side}_split", "toy", InstructionDataset) for side in ("train", "test"))
    talks = {side.stage: read_table(side.path(side.ROWS)) for side in (train, test)}
    assert all(len(json.loads(row["conversation"])["messages"]) >= 4 for row in talks["train"])
    assert {json.loads(row["conversation"])["last"] for row in talks["test"]} == {True}
    groups = {row["group"] for row in talks["test"]}
    assert len(talks["test"]) > len(groups) >= 6 and not groups & {row["id"] for row in talks["train"]}
    asked = prompts(store, "sft")
    assert asked == prompts(store, "base") and asked.keys() == {row["id"] for row in talks["test"]}
    assert all(prompt.endswith("<|im_start|>assistant\n") for prompt in asked.values())
    shown = store.get("comparator_generations", "toy", ComparatorGenerations)
    for row in read_table(
        shown.path("few.parquet")
    ):  # one training conversation before the item's own, in the same format
        assert len(row["examples"]) == 1
        assert row["prompt"].count("<|im_start|>assistant\n") == asked[row["id"]].count("<|im_start|>assistant\n") + 2
    adapter = store.get("lora_adapter", "toy", AdapterSnapshot)
    assert (adapter.root / "adapter" / "chat_template.jinja").is_file()
    gate = store.get("gate_report", "toy", GateReport)
    assert gate.overall.n == len(talks["test"])


def test_the_merged_model_is_an_instruct_model_that_is_tuned_and_gated(talked):
    project, _, instance = talked
    store, experiment = Store(project / "store"), load_by_name("toy", project)
    base, adapter = store.get("base_model", "toy", ModelSnapshot), store.get("lora_adapter", "toy", AdapterSnapshot)
    (tuned := project / "tuned").mkdir()
    merge(base, experiment.model, adapter.root / "adapter", "merged", tuned, experiment.prompt)
    sentinel = {"name": "answers", "prompt": "Say something.", "expect": "works", "matches": "(?s).*"}
    model = {"source": {"kind": "folder", "path": str(tuned)}, "role": "instruct", "sentinels": [sentinel]}
    specify(project, comparators={}, prompt={"format": "chat"}, model=model)
    made = Run(project, instance, GATED)
    assert "gate_report" in made.made, made.result.all_events[-1].message
    guard = store.get("base_model_guard", "toy", GuardReport)
    assert guard.passed and {s.mode for s in guard.sentinels} == {"format"} and guard.loader["role"] == "instruct"
    asked = prompts(store, "sft")
    assert asked == prompts(store, "base")
    assert all(prompt.endswith("<|im_start|>assistant\n") for prompt in asked.values())
    assert {"raw_dataset"} <= made.reused and "base_generations" not in made.reused

"""The code location: what it declares, and what loading it costs."""

import json
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline.definitions import build_defs
from sft_pipeline.lineage.tags import DEVICE
from sft_pipeline.specification import plan_only, project_root, specifications

ASSETS = {
    "raw_dataset": "data",
    "clean_dataset": "data",
    "train_split": "data",
    "dev_split": "data",
    "test_split": "data",
    "base_model": "model",
    "base_model_guard": "model",
    "training_plan": "training",
    "lora_adapter": "training",
    "training_report": "training",
    "search_report": "training",
    "base_generations": "evaluation",
    "sft_generations": "evaluation",
    "comparator_generations": "evaluation",
    "capability_report": "evaluation",
    "checkpoint_series": "evaluation",
    "review_request": "evaluation",
    "human_review": "evaluation",
    "gate_report": "evaluation",
    "model_exports": "release",
    "release": "release",
}

ON_THE_DEVICE = {
    "base_model_guard",
    "training_plan",
    "lora_adapter",
    "base_generations",
    "sft_generations",
    "comparator_generations",
    "checkpoint_series",
    "model_exports",
    "capability_report",
    "search_report",
}


@pytest.fixture(scope="module")
def graph():
    return build_defs().resolve_asset_graph()


@pytest.mark.slow
def test_loading_imports_no_torch_and_no_other_heavy_library():
    code = "import sft_pipeline.definitions, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    heavy = {
        "torch",
        "transformers",
        "trl",
        "peft",
        "vllm",
        "datasets",
        "lm_eval",
        "pandas",
        "scipy",
        "matplotlib",
        "pyarrow",
    }
    assert loaded & heavy == set()
    # Building the schema of a specification takes a tenth of a second, which every step would pay.
    assert "sft_pipeline.experiment" not in json.loads(done.stdout.splitlines()[-1])


def test_every_asset_is_there_in_its_group_and_described(graph):
    assert {key.path[-1]: graph.get(key).group_name for key in graph.materializable_asset_keys} == ASSETS
    assert all(graph.get(key).description for key in graph.materializable_asset_keys)


def test_every_asset_belongs_to_an_experiment_and_has_a_code_version(graph):
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert node.partitions_def.get_partition_keys() == [
            n for n in specifications(project_root())[0] if not plan_only(n, project_root())
        ]
        assert node.code_version


def test_every_check_blocks_and_belongs_to_an_experiment(graph):
    checks = [graph.get(key) for key in graph.asset_check_keys]
    checked = {check.key.asset_key.path[-1] for check in checks}
    assert checked == {
        "raw_dataset",
        "clean_dataset",
        "dev_split",
        "test_split",
        "base_model_guard",
        "training_plan",
        "training_report",
        "sft_generations",
        "capability_report",
        "gate_report",
        "model_exports",
    }
    assert all(check.blocking for check in checks)
    assert all(check.partitions_def is not None for check in checks)


def test_steps_that_load_the_model_carry_the_device_tag():
    tagged = set()
    for definition in build_defs().assets:
        if isinstance(definition, dg.AssetsDefinition) and definition.op.tags.get(DEVICE) == "cuda":
            tagged |= {key.path[-1] for key in definition.keys}
    assert tagged == ON_THE_DEVICE


def test_selections_that_people_use_resolve(graph):
    selected = {key.path[-1] for key in dg.AssetSelection.from_string("sft_generations+").resolve(graph)}
    assert selected == {"sft_generations", "review_request", "gate_report", "model_exports", "release"}
    defs = build_defs()
    for job in ("full_lineage", "data_only", "re_evaluate"):
        assert defs.resolve_job_def(job).partitions_def is not None


def test_the_import_rules_hold():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-logo"], cwd=project_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_dagster_accepts_the_definitions():
    dg.Definitions.validate_loadable(build_defs())

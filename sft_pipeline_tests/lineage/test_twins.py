"""The experiments of the records at toy size: the sections of their originals, and from data to gate."""

import shutil

import pytest

from sft_pipeline.specification import load_by_name, project_root, specifications
from sft_pipeline_tests.lineage.conftest import Run

pytestmark = pytest.mark.slow

TWINS = [name for name in specifications(project_root())[0] if name.endswith("_toy")]
REPLACED = {
    "plan_only",
    "data.expected",
    "model.architecture",
    "model.card",
    "model.device_memory_gb",
    "training.epochs",
    "training.warmup_steps",
}
"""What a toy cannot have: weights that do not exist, a device, and the length of the original."""


def declared(experiment, depth=2):
    """Paths of the fields that a specification sets, down to `depth`."""

    def paths(value, at):
        if not isinstance(value, dict) or len(at) == depth:
            return {".".join(at)}
        return {path for key, inner in value.items() for path in paths(inner, (*at, key))}

    return paths(experiment.model_dump(mode="json", exclude_unset=True), ())


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_the_sections_of_its_original(name):
    twin, original = (load_by_name(n, project_root()) for n in (name, name.removesuffix("_toy")))
    assert declared(original) - REPLACED <= declared(twin)
    assert twin.model.quantization == original.model.quantization
    assert twin.training.lora == original.training.lora and twin.training.schedule == original.training.schedule


def test_the_think_answer_twin_runs_from_its_data_to_its_gate(tmp_path, instance, monkeypatch):
    """The one that the suite runs, with a few of its steps, for each takes half a minute of processor time or more."""
    shutil.copytree(project_root() / "specs", tmp_path / "specs")
    short = "max_steps: 12, logging_steps: 3, eval_steps: 6, save_steps: 6, min_coverage: 0.1"
    (tmp_path / "specs" / "short.yaml").write_text(
        f"extends: math_1.5b_toy\ndescription: short\ndata: {{source: {{rows: 1000}}}}\ntraining: {{{short}}}\n"
        "generation: {max_new_tokens: 8}\n"
    )
    monkeypatch.setenv("SFT_PIPELINE_ROOT", str(tmp_path))
    run = Run(tmp_path, instance, "*gate_report,checkpoint_series", name="short")
    made = run.made.keys()
    assert made >= {"raw_dataset", "training_plan", "training_report", "checkpoint_series", "gate_report"}
    series = [log.user_message for log in run.logs if log.user_message.startswith("series ")]
    assert [text.split()[1] for text in series] == ["0/12", "6/12", "12/12"]  # in the step of the training

"""The harness over the project's engines gives what its own model gives, item by item, with and without an adapter."""

import json

import pytest

from sft_pipeline.capabilities import harness
from sft_pipeline.capabilities.measure import planned
from sft_pipeline.errors import DataError, ModelError, SpecificationError
from sft_pipeline.experiment import BaseModelSpec, FolderBase
from sft_pipeline.generation.engines.transformers_engine import TransformersEngine
from sft_pipeline_tests.capabilities.asked import answered, require_equal

SPEC = BaseModelSpec(source=FolderBase(kind="folder", path="."))


def own_model(base, adapter):
    """The harness's own transformers model on the same files, with the same tokenizer."""
    from lm_eval.models.huggingface import HFLM

    from sft_pipeline.model.tokenizer import load_tokenizer

    return HFLM(
        pretrained=str(base.root),
        tokenizer=load_tokenizer(base.root, SPEC).inner,
        peft=str(adapter) if adapter else None,
        dtype="float32",
        device="cpu",
        batch_size=4,
        add_bos_token=False,
        max_length=512,
    )


@pytest.mark.slow
@pytest.mark.parametrize("adapted", [False, True])
def test_items_score_as_in_the_harnesss_own_model(tasks, base, adapter, experiment_of, tmp_path, adapted):
    folder = adapter if adapted else None
    with TransformersEngine(base, SPEC) as engine:
        model = harness.EngineModel(engine, experiment_of().generation, {})
        model.adapter = folder
        found = answered(tasks, model, tmp_path)
    require_equal(found, answered(tasks, own_model(base, folder), tmp_path / "other"), 1e-4)
    assert all(found[0]["gsm8k"])  # it said something


def test_micro_average_is_that_of_the_harnesss_group(tasks, base, experiment_of, tmp_path):
    from lm_eval.api.group import Group
    from lm_eval.config.group import GroupConfig
    from lm_eval.tasks._yaml_loader import load_yaml

    config = load_yaml(harness.DEFINITIONS / "mmlu" / "default" / "_mmlu.yaml")
    assert config["aggregate_metric_list"] == [{"metric": "acc", "weight_by_size": True}]
    with TransformersEngine(base, SPEC) as engine:
        scores = harness.measure(
            tasks["mmlu"], harness.EngineModel(engine, experiment_of().generation, {}), tmp_path / "x"
        )
    group = Group.from_config(GroupConfig(**config | {"task": []}))
    for task in tasks["mmlu"].values():
        group.add(task.task)
    own = {
        name: {"acc,none": sum(one.score for one in scores["acc", "none"] if one.task == name) / 4, "sample_len": 4}
        for name in tasks["mmlu"]
    }
    aggregated = group.aggregate(own)
    assert aggregated["acc,none"] == pytest.approx(
        sum(s.score for s in scores["acc", "none"]) / len(scores["acc", "none"])
    )


def test_a_program_passes_by_its_tests_in_the_sandbox(tasks):
    doc = tasks["humaneval"]["humaneval"].task.eval_docs[2]
    assert harness._passes(doc, ["    return a + 2\n"]) == {"pass@1": 1}
    assert harness._passes(doc, ["    return a + 3\n"]) == {"pass@1": 0}


def test_an_interrupted_measurement_asks_only_what_is_missing(tasks, base, experiment_of, tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "CHUNK", 8)
    with TransformersEngine(base, SPEC) as engine:
        asked = []
        score = engine.score
        monkeypatch.setattr(engine, "score", lambda rows, *a, **k: asked.append(len(rows)) or score(rows, *a, **k))
        model = harness.EngineModel(engine, experiment_of().generation, {})
        whole = harness.measure(tasks["hellaswag"], model, tmp_path / "h")
        (file,) = tmp_path.glob("h-*")
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:2]) + lines[2][:9])
        assert harness.measure(tasks["hellaswag"], model, tmp_path / "h") == whole
    assert asked == [8, 8, 4, 8, 4]


def test_an_adapter_for_another_base_is_named(base, adapter, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    from sft_pipeline.model.adapter_fit import require_fit

    require_fit(adapter, base.root)
    shutil.copytree(adapter, tmp_path / "other")
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(name for name in weights if "q_proj.lora_A" in name)
    save_file(weights | {name: weights[name][:, :64].contiguous()}, tmp_path / "other" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"for another base .*size mismatch for .*q_proj.*\[4, 64\].*\[4, 128\]"):
        require_fit(tmp_path / "other", base.root)
    # The same shapes, and other weights: the manifest of the training tells.
    shutil.copytree(adapter, tmp_path / "run" / "adapter")
    manifest = tmp_path / "run" / "training_manifest.json"
    manifest.write_text(json.dumps({"model": {"revision": base.revision}}))
    require_fit(tmp_path / "run" / "adapter", base.root, base.revision)
    manifest.write_text(json.dumps({"model": {"revision": "sha256:" + "0" * 64}}))
    with pytest.raises(ModelError, match="was trained on another base"):
        require_fit(tmp_path / "run" / "adapter", base.root, base.revision)


def test_tasks_that_cannot_be_asked_offline_are_refused(files, experiment_of, tmp_path):
    def refused(message, text=None, folder=".", **benchmark):
        if text is not None:
            file = tmp_path / folder / "task.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            benchmark |= {"task": str(file)}
        spec = experiment_of(benchmarks={"own": {"items": {"path": str(files / "gsm8k.jsonl")}, **benchmark}})
        (plan,) = planned(spec.evaluation.capabilities, tmp_path).values()
        with pytest.raises((SpecificationError, DataError), match=message):
            harness.tasks("own", plan.benchmark, plan.items, plan.positions, tmp_path)

    plain = "task: own\noutput_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{answer}}'\n"
    refused("there is no task file", task="arc_challenge")
    refused("is one of multiple_choice", "task: own\noutput_type: loglikelihood_rolling\n")
    refused("the rows do not fit the task own", plain.replace("{{answer}}", "{{answer.split('#')[9]}}"))
    refused("runs what a model wrote in this process", plain + "unsafe_code: true\n")
    # Whatever the name of its folder: it is not the published HumanEval, whose programs the sandbox runs.
    refused("runs what a model wrote in this process", plain + "unsafe_code: true\n", folder="humaneval")
    refused("cannot be loaded: .*network", plain + "process_results: !function fetch.it\n") if (
        tmp_path / "fetch.py"
    ).write_text("raise OSError('the network is unreachable')\n") else None
    refused("name their file", plain, shots=2)
    with pytest.raises(Exception, match="nothing is fetched from the network"):
        experiment_of(benchmarks={"arc_challenge": {}})


@pytest.fixture
def own_task(experiment_of, tmp_path):
    """Makes an experiment whose only benchmark is a task file of one's own over these rows, with the fields text and right."""

    def make(rows):
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "own.yaml").write_text(
            "task: own\noutput_type: loglikelihood\ndoc_to_text: '{{text}}'\ndoc_to_target: '{{right}}'\n"
            "target_delimiter: ''\nmetadata: {version: 2}\n"
            "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
        )
        return experiment_of(benchmarks={"mine": {"task": "own.yaml", "items": {"path": "rows.jsonl"}}})

    return make


@pytest.mark.slow
def test_what_the_model_cannot_read_at_once_loses_its_beginning_as_in_the_harnesss_own_model(base, own_task, tmp_path):
    spec = own_task([{"text": "One drum, two drums and " * n, "right": " a drum"} for n in (3, 100, 140, 200, 400)])
    (plan,) = planned(spec.evaluation.capabilities, tmp_path).values()
    tasks = {"mine": harness.tasks("mine", plan.benchmark, plan.items, plan.positions, tmp_path)}
    with TransformersEngine(base, SPEC) as engine:
        model = harness.EngineModel(engine, spec.generation, {})
        found = answered(tasks, model, tmp_path / "engine")
        too_long = [
            len(engine.tokenizer.encode(instance.args[0] + instance.args[1])) > engine.longest_scored
            for task in tasks["mine"].values()
            for instance in task.task.instances
        ]
        assert engine.context == 512 and 0 < model.cut == sum(too_long) < 5
        whole = "one drum " * 400
        with pytest.raises(ModelError, match=r"a choice of \d+ tokens does not fit into the model's context of 513"):
            model._fitting([1], engine.tokenizer.encode(whole))
    require_equal(found, answered(tasks, own_model(base, None), tmp_path / "own"), 1e-4)


def test_a_task_file_of_ones_own_is_asked(base, own_task, tmp_path):
    from sft_pipeline.capabilities.measure import report

    spec = own_task([{"text": f"One drum, {n} drums and", "right": " a"} for n in range(3)])
    (tmp_path / "out").mkdir()
    made = report(spec, base, None, None, tmp_path, tmp_path, tmp_path / "out")
    (result,) = made.results
    assert (result.name, result.metric, result.version, result.n) == ("mine", "acc", "2", 3)

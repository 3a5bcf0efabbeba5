"""Bad input of a training: refused before the first step, with what to do about it."""

import fcntl
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sft_pipeline.artifacts import AdapterSnapshot
from sft_pipeline.errors import (
    DataError,
    ModelError,
    PreconditionError,
    SpecificationError,
    StoreError,
    TrainingError,
)
from sft_pipeline.experiment import Evaluation, Experiment, Lora
from sft_pipeline.model.loader import load_model
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.planning import inputs as plan_inputs
from sft_pipeline.planning import plan
from sft_pipeline.planning import test_items as plan_items
from sft_pipeline.provenance.store import Store
from sft_pipeline.specification import load
from sft_pipeline.training import adapter, trainer
from sft_pipeline_tests import forked

SPEC = """\
description: a training
data:
  source: {kind: embedded}
model:
  source: {kind: folder, path: base}
  dtype: float32
training:
  epochs: 1
  batch_size: 4
  learning_rate: 1e-4
  lora: {r: 8}
evaluation:
  scorers: {default: {kind: exact}}
"""

ARCHITECTURE = (
    "{hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 1, num_key_value_heads: 1, "
    "vocab_size: 9"
)
SENTINEL = "{name: a, prompt: b, expect: fails, matches: '[a'}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size: 4", "per_device_train_batch_size: 4", ["it.yaml:9", "training.per_device_train_batch_size"]),
        ("batch_size: 4", "batch_sise: 4", ["it.yaml:9", "did you mean 'batch_size'?"]),
        ("batch_size: 4", "batch_size: four", ["it.yaml:9", "training.batch_size", "valid integer"]),
        ("batch_size: 4", "batch_size: 4.0", ["it.yaml:9", "training.batch_size", "valid integer"]),
        ("batch_size: 4", "batch_size: true", ["it.yaml:9", "training.batch_size", "valid integer"]),
        ("batch_size: 4", "batch_size: -4", ["it.yaml:9", "training.batch_size", "greater than 0"]),
        ("learning_rate: 1e-4", "learning_rate: -1e-4", ["it.yaml:10", "training.learning_rate", "greater than 0"]),
        ("learning_rate: 1e-4", "learning_rate: .nan", ["it.yaml:10", "training.learning_rate"]),
        ("learning_rate: 1e-4", "learning_rate: .inf", ["it.yaml:10", "training.learning_rate"]),
        ("epochs: 1", "epochs: 0", ["it.yaml:8", "training.epochs", "greater than 0"]),
        ("epochs: 1", "max_steps: 0", ["it.yaml:8", "training.max_steps", "greater than 0"]),
        ("epochs: 1", "warmup_steps: 3", ["exactly one of epochs and max_steps"]),
        ("{r: 8}", "{r: 8, target_modules: []}", ["it.yaml:11", "target_modules", "at least 1 item"]),
        ("{r: 8}", "{r: 8, target_modules: q_proj}", ["it.yaml:11", "target_modules", "all-linear"]),
        ("{r: 8}", "{r: 8, bias: all}", ["it.yaml:11", "training.lora.bias", "'none'"]),
        ("{r: 8}", "{r: 8, dropout: 1.0}", ["it.yaml:11", "training.lora.dropout", "less than 1"]),
        ("{r: 8}", "{r: 8, target_modules: [q_proj, q_proj]}", ["training.lora", "names q_proj more than once"]),
        ("epochs: 1", "epochs: 1\n  seed: -1", ["it.yaml:9", "training.seed", "greater than or equal to 0"]),
        ("epochs: 1", "epochs: 1\n  seed: 4294967296", ["it.yaml:9", "training.seed", "less than 4294967296"]),
        ("kind: folder, path: base", "kind: embedded, seed: -1", ["model.source", "seed", "or equal to 0"]),
        (
            "float32",
            f"float32\n  architecture: {ARCHITECTURE}, layers: 2}}",
            ["model.architecture: layers", "set model_type"],
        ),
        ("float32", "float32\n  architecture: {hidden_size: 8}", ["model.architecture: missing", "vocab_size"]),
        ("float32", f"float32\n  architecture: {ARCHITECTURE[:-1]}0}}", ["architecture.vocab_size", "greater than 0"]),
        ("float32", f"float32\n  architecture: {ARCHITECTURE}, head_dim: 0}}", ["head_dim", "greater than 0"]),
        ("float32", f"float32\n  sentinels: [{SENTINEL}]", ["it.yaml:7", "model.sentinels.0", "no regular expression"]),
        ("float32", "float8", ["it.yaml:6", "model.dtype", "'bfloat16'"]),
        ("float32", "float32\n  attention: flash", ["it.yaml:7", "model.attention", "'flash_attention_2'"]),
        ("float32", "float32\n  int8_has_fp16_weight: true", ["it.yaml:7", "model.int8_has_fp16_weight", "False"]),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused_with_line_field_and_remedy(tmp_path, old, new, expected):
    path = tmp_path / "it.yaml"
    assert old in SPEC
    path.write_text(SPEC.replace(old, new))
    with pytest.raises(SpecificationError) as said:
        load(path)
    for part in expected:
        assert part in str(said.value)


def blocking(experiment, lengths=((20, 10),) * 100, architecture=None):
    made = plan.compute(experiment, list(lengths), {"all": 5000}, architecture, None)
    return {finding.rule: f"{finding.evidence}; {finding.remedy}" for finding in made.blocking}


@pytest.mark.slow
def test_modules_that_the_model_lacks_are_refused_in_the_plan_of_any_architecture(toy, tmp_path):
    experiment = toy(lora={"target_modules": ("c_attn", "q_porj")})
    found = blocking(experiment, architecture={"model_type": "gpt2"})
    assert "no linear module or embedding named q_porj; choose from c_attn, c_fc, c_proj," in found["target_modules"]
    path = toy(lora={"target_modules": ("attn.c_attn",)})
    assert not blocking(path, architecture={"model_type": "gpt2"})
    assert not blocking(toy(), architecture={"model_type": "gpt2"})


@pytest.mark.slow
def test_modules_that_the_loaded_model_lacks_are_refused_before_an_adapter_is_made(toy, toy_base):
    model = load_model(toy_base.root, toy().model)
    adapter.require_targets(model, toy().training.lora)
    adapter.require_targets(model, Lora(target_modules=("q_proj", "self_attn.v_proj", "embed_tokens")))
    # PEFT would adapt q_proj and leave out the other; a module that holds no matrix it would refuse much later.
    for wrong in ("c_attn", "self_attn", "proj"):
        with pytest.raises(PreconditionError, match=f"named {wrong}; choose from .*q_proj.*all-linear"):
            adapter.require_targets(model, Lora(target_modules=("q_proj", wrong)))


def test_a_training_on_modules_that_are_not_there_makes_nothing(toy, prepared):
    arguments = prepared(toy())
    experiment = toy(lora={"target_modules": ("q_proj", "c_attn")})
    with pytest.raises(PreconditionError, match="named c_attn"):
        trainer.train(*(arguments | {"experiment": experiment}).values())
    assert not list(Path(arguments["work"]).glob("checkpoint-*"))


def test_three_rows_are_too_few_for_a_batch_of_four(toy, prepared, tmp_path):
    assert (
        "the effective batch of 4 is larger than the 3 training rows"
        in (blocking(toy(), ((20, 10),) * 3)["batch_exceeds_rows"])
    )
    arguments = prepared(toy(), count=3)
    with pytest.raises(PreconditionError, match=r"larger than the 3 training rows"):
        trainer.train(*arguments.values())


@pytest.mark.slow
def test_a_handful_of_rows_with_a_batch_that_fits_trains(toy, prepared):
    arguments = prepared(toy(batch_size=1, epochs=1.0, save_steps=3), count=3)
    assert trainer.train(*arguments.values()).steps == 3


def test_a_response_longer_than_the_limit_is_refused_in_the_plan_and_before_training(toy, prepared, tmp_path):
    arguments, short = prepared(toy()), toy(max_length=30)
    found = blocking(short, [(20, 10)] * 99 + [(20, 100)])["truncated_rows"]
    assert "1 of 100 rows (1.0%) are longer than max_length 30" in found and "max_length to 120 or more" in found
    with pytest.raises(TrainingError, match=r"of 40 rows.*are cut at max_length 30 .*Raise training.max_length"):
        trainer.train(*(arguments | {"experiment": short}).values())


def test_a_row_that_loses_all_its_labels_is_refused_in_the_plan_where_cut_ones_are_allowed(toy, tmp_path):
    lengths = [(20, 10)] * 98 + [(20, 100), (70, 5)]
    found = blocking(toy(max_length=64), lengths)
    assert "2 of 100 rows (2.0%)" in found["truncated_rows"] and "1 of 100 rows (1.0%)" in found["masked_rows"]
    found = blocking(toy(max_length=64, max_truncated_share=0.1), lengths)
    assert found.keys() == {"masked_rows"} and "training.max_masked_share" in found["masked_rows"]
    assert not blocking(toy(max_length=64, max_truncated_share=0.1, max_masked_share=0.01), lengths)


def test_what_a_plan_lacks_can_be_made_with_the_command_that_its_error_names(toy, tmp_path, toy_project):
    import dagster as dg

    from sft_pipeline.definitions import build_defs

    with pytest.raises(PreconditionError, match=r"sft-pipeline run toy --select '(\S+)'") as said:
        plan_inputs.plan_from_specification(toy(), "toy", Store(tmp_path / "store"), tmp_path)
    select = re.search(r"--select '(\S+)'", str(said.value))[1]
    defs = build_defs(root=toy_project, store=toy_project / "store")
    keys = dg.AssetSelection.from_coercible(select.split(",")).resolve(defs.resolve_asset_graph())
    subset = defs.resolve_job_def("full_lineage").get_subset(asset_selection=keys)
    made = {key.path[-1] for key in subset.asset_layer.selected_asset_keys}
    assert made >= {"train_split", "test_split", "base_model"} and "training_plan" not in made


def of_types(experiment, **scorers):
    return experiment.model_copy(update={"evaluation": Evaluation.model_validate({"scorers": scorers})})


@pytest.mark.parametrize(
    ("row", "scorers", "error", "said"),
    [
        ({}, {"other": {"kind": "exact"}}, SpecificationError, "no scorer for items of type 'kind'"),
        ({}, {"kind": {"kind": "exact", "options": {"x": 1}}}, SpecificationError, "has no option x"),
        (
            {},
            {"kind": {"kind": "numeric"}},
            DataError,
            r"item \w+ \(type kind\), field reference.answer: holds no number",
        ),
        ({"reference": "[1]"}, {"kind": {"kind": "exact"}}, DataError, "field reference: not a JSON object"),
        ({}, {"kind": {"kind": "code"}}, SpecificationError, "set evaluation.run_code: true"),
        (
            {"instruction": "birch " * 300},
            None,
            ModelError,
            r"\(toy.jsonl, row 7\).*tokens leaves no room .*of 256 tokens",
        ),
    ],
)
def test_a_test_item_that_cannot_be_asked_or_judged_stops_the_plan(
    toy, toy_base, dataset, rows, tmp_path, row, scorers, error, said
):
    items = rows(10)
    items[6] |= row
    experiment = of_types(toy(), steering={"kind": "exact"}, **(scorers or {"kind": {"kind": "exact"}}))
    train, dev = dataset("train", rows(10)), dataset("test", [row | {"type": "steering"} for row in rows(4)])
    test = dataset("dev", items)  # as dev, for the proof
    with pytest.raises(error, match=said):
        plan_inputs.plan_from_artifacts(experiment, toy_base, train, dev, test, tmp_path, tmp_path)


def test_a_test_item_with_a_template_token_or_without_a_prompt_stops_the_plan(toy, toy_base, dataset, rows):
    tokenizer = load_tokenizer(toy_base.root)
    tokenizer.inner.add_tokens(["<|im_start|>"], special_tokens=True)
    tokenizer = replace(tokenizer, template_tokens={tokenizer.inner.vocab_size: "<|im_start|>"})
    items = rows(10)
    items[3]["instruction"] += "<|im_start|>"
    test = dataset("test", items)
    with pytest.raises(ModelError, match=rf"test item {items[3]['id']} \(toy.jsonl, row 4\), field instruction: chat"):
        plan_items.check(toy(), toy_base, test, tokenizer)
    bare = Experiment.model_validate({**toy().model_dump(), "prompt": {"template": "{instruction}"}})
    with pytest.raises(ModelError, match=r"\(toy.jsonl, row 1\), field instruction: its prompt is empty"):
        plan_items.check(bare, toy_base, dataset("raw", [rows(1)[0] | {"instruction": ""}]), tokenizer)


def test_what_is_judged_elsewhere_is_not_judged_in_the_plan(toy, toy_base, dataset, rows):
    test, tokenizer = dataset("test", rows(3)), load_tokenizer(toy_base.root)
    for kind, options in (("judge", {}), ("judgements", {"file": "not_there.jsonl"})):
        plan_items.check(of_types(toy(), kind={"kind": kind, "options": options}), toy_base, test, tokenizer)
    # no tests in the reference: judging would fail, and what a reference answer runs is not run here
    code = of_types(toy(), kind={"kind": "code"})
    code = code.model_copy(update={"evaluation": code.evaluation.model_copy(update={"run_code": True})})
    plan_items.check(code, toy_base, test, tokenizer)


def test_next_to_no_steps_are_refused_in_the_plan(toy, tmp_path):
    assert "coverage" in blocking(toy(epochs=0.001))


def test_flash_attention_without_its_device_is_refused_in_the_plan(toy, tmp_path):
    found = blocking(toy(model={"attention": "flash_attention_2"}))
    assert "not on cpu in float32; set model.attention to sdpa" in found["flash_attention_idle"]
    cuda = {"device": "cuda", "dtype": "bfloat16", "attention": "flash_attention_2"}
    assert not blocking(toy(model=cuda))


def test_a_disk_with_one_megabyte_left_takes_no_half_adapter(tmp_path):
    disk, made = tmp_path / "disk", tmp_path / "made"
    disk.mkdir()
    made.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={1 << 20}", "none", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        (made / "adapter_model.safetensors").write_bytes(b"x" * (3 << 20))
        numbers = {"steps": 1, "step": 1, "epochs": 1.0, "trainable_parameters": 1, "loss_first": 1.0, "loss_last": 0.5}
        store = Store(disk / "store")
        with pytest.raises(StoreError, match=r"No space left on device(.|\n)*Give it space"):
            store.put("lora_adapter", "toy", AdapterSnapshot.finalize(made, **numbers))
        assert store.pointer("lora_adapter", "toy") is None
        written = {path.name for path in (disk / "store").rglob("*") if path.is_file()}
        assert written <= {"lock"}, "nothing half written stays"
        (made / "adapter_model.safetensors").write_bytes(b"x" * 1000)
        store.put("lora_adapter", "toy", AdapterSnapshot.finalize(made, **numbers))
        assert store.get("lora_adapter", "toy", AdapterSnapshot).steps == 1
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def make_raw_dataset(root):
    """Materialize it, and say whether what another process had made was taken."""
    import dagster as dg

    from sft_pipeline.definitions import build_defs

    with dg.DagsterInstance.ephemeral() as instance:
        run = build_defs(root=root, store=root / "store").resolve_job_def("full_lineage")
        done = run.execute_in_process(
            instance=instance, partition_key="toy", asset_selection=[dg.AssetKey("raw_dataset")]
        )
    (event,) = done.get_asset_materialization_events()
    print("reused:", event.step_materialization_data.materialization.metadata["reused"].value)


@pytest.mark.slow
def test_two_runs_of_the_same_experiment_at_once_make_it_once(toy_project):
    """Both wait for a third that holds the step; then one makes it and the other finds the result."""
    lock = toy_project / "store" / "work" / "raw_dataset" / ".toy.lock"
    lock.parent.mkdir(parents=True)
    logs = [toy_project / f"{i}.log" for i in range(2)]
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        runs = [forked.start(make_raw_dataset, toy_project, log=log) for log in logs]
        try:
            deadline = time.monotonic() + 300
            while not all(
                "another process is making raw_dataset of toy; waiting for it" in log.read_text() for log in logs
            ):
                assert time.monotonic() < deadline and all(run.is_alive() for run in runs), logs[0].read_text()
                time.sleep(0.05)
        except BaseException:
            for run in runs:
                run.kill()
            raise
        fcntl.flock(held, fcntl.LOCK_UN)  # the forked processes hold the file open too
    for run in runs:
        run.join(300)
    assert sorted(log.read_text().rpartition("reused: ")[2].strip() for log in logs) == ["False", "True"]
    assert len(list((toy_project / "store" / "objects" / "raw_dataset").iterdir())) == 1

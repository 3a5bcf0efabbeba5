"""A training that is killed resumes and ends with the same bytes."""

import os
import shutil
import signal
from fnmatch import fnmatch

import pytest

from sft_pipeline.errors import TrainingError
from sft_pipeline.training import checkpoints, trainer
from sft_pipeline_tests import forked
from sft_pipeline_tests.training.conftest import fingerprint, prepare

PARTS = ("experiment", "base", "plan", "train", "dev")


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("base", {"revision": "another"}),
        ("train", {"rows": 41}),
        ("dev", {"rows": 9}),
        ("plan", {"steps": 21}),
        ("plan", {"warmup_steps": 3}),
        ("experiment", {"prompt": {"template": "Q: {instruction}\nA:"}}),
        ("experiment", {"model": {"quantization": "nf4"}}),
        ("experiment", {"training": {"learning_rate": 1e-4}}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_a_checkpoint_is_refused_where_any_part_of_the_training_differs(toy, prepared, tmp_path, part, changed):
    arguments = {name: value for name, value in prepared(toy()).items() if name in PARTS}
    folder = tmp_path / "work" / "checkpoint-4"
    folder.mkdir(parents=True)
    (folder / "optimizer.pt").write_bytes(b"state")
    run = checkpoints.fingerprint(*arguments.values())
    checkpoints.finalize(folder, 4, run, 1.0, final=False, keep=False)
    assert checkpoints.newest(tmp_path / "work", run).step == 4
    if part == "experiment":
        ((section, fields),) = changed.items()
        changed = {section: getattr(arguments[part], section).model_copy(update=fields)}
    other = checkpoints.fingerprint(*(arguments | {part: arguments[part].model_copy(update=changed)}).values())
    with pytest.raises(TrainingError, match="checkpoint of another training"):
        checkpoints.newest(tmp_path / "work", other)
    assert folder.is_dir()


def test_another_evaluation_batch_of_the_plan_is_the_same_training_as_in_the_key(toy, prepared):
    """Another card, declared after a kill, may change it: the key is the same, and so is the work folder."""
    arguments = {name: value for name, value in prepared(toy()).items() if name in PARTS}

    def run(**settings):
        plan = arguments["plan"].model_copy(update={"settings": arguments["plan"].settings | settings})
        return checkpoints.fingerprint(*(arguments | {"plan": plan}).values()), plan.identity

    assert "eval_batch_size" in arguments["plan"].settings
    assert run(eval_batch_size=64) == run()
    for part, same in zip(run(batching="plain"), run(), strict=True):
        assert part != same


@pytest.fixture(scope="module")
def work_of_a_killed_run(toy, toy_base, tmp_path_factory):
    """Arguments of a training of 20 steps, two passes, that was killed at step 15, after the checkpoint of step 12."""
    folder = tmp_path_factory.mktemp("killed")
    experiment = toy(epochs=2.0, save_steps=4, logging_steps=5, batching="grouped", lora={"dropout": 0.1})
    arguments = prepare(folder, toy_base, experiment)

    def kill(row):
        if row["step"] == 15 and "loss" in row:
            os.kill(os.getpid(), signal.SIGKILL)

    process = forked.start(lambda: trainer.train(*arguments.values(), on_log=kill), log=folder / "log")
    process.join()
    assert process.exitcode == -signal.SIGKILL, (folder / "log").read_text()[-2000:]
    return arguments


@pytest.fixture
def killed(work_of_a_killed_run, tmp_path):
    """A copy of it."""
    shutil.copytree(work_of_a_killed_run["work"], tmp_path / "work")
    (tmp_path / "out").mkdir()
    return work_of_a_killed_run | {"work": tmp_path / "work", "out": tmp_path / "out"}


@pytest.mark.slow
def test_a_killed_run_resumes_and_ends_with_the_same_bytes(killed, tmp_path):
    assert checkpoints.newest(killed["work"], fingerprint(killed)).step == 12
    steps = []
    resumed = trainer.train(*killed.values(), on_log=lambda row: steps.append(row["step"]))
    assert min(steps) == 15 and resumed.measurements["resumed_at_step"] == 12

    (tmp_path / "whole").mkdir()
    elsewhere = {"work": tmp_path / "other work", "out": tmp_path / "whole"}
    whole = trainer.train(*(killed | elsewhere).values())
    weights = "adapter/adapter_model.safetensors"
    assert resumed.path(weights).read_bytes() == whole.path(weights).read_bytes()
    stable = [n for n in resumed.files | whole.files if not any(fnmatch(n, pattern) for pattern in resumed.VOLATILE)]
    assert [resumed.files[n].sha256 for n in stable] == [whole.files[n].sha256 for n in stable]
    assert resumed.digest == whole.digest


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_a_foreign_one_refused(killed, toy):
    run, work = fingerprint(killed), killed["work"]
    state = work / "checkpoint-12" / "optimizer.pt"
    state.write_bytes(state.read_bytes()[:-1])
    assert checkpoints.newest(work, run).step == 8
    assert not (work / "checkpoint-12").exists() and not (work / "kept" / "12").exists()
    assert (work / "kept" / "4").is_dir() and not (work / "checkpoint-4").exists()

    same = {"epochs": 2.0, "save_steps": 4, "logging_steps": 5, "batching": "grouped", "lora": {"dropout": 0.1}}
    limits = toy(
        **same, min_coverage=0.5, max_masked_share=0.1, minimum={"max_perplexity": 9.0}, report_to=("tensorboard",)
    )
    assert checkpoints.fingerprint(limits, *(killed[name] for name in PARTS[1:])) == run
    other = killed | {"experiment": toy(epochs=2.0, save_steps=4, learning_rate=1e-3)}
    with pytest.raises(TrainingError, match="checkpoint of another training"):
        trainer.train(*other.values())
    (work / "checkpoint-8" / checkpoints.MARKER).unlink()
    assert checkpoints.newest(work, run) is None
    assert not list(work.glob("checkpoint-*")) and not list((work / "kept").iterdir())

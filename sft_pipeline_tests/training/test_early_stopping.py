"""The training ends when the dev loss no longer falls, and keeps the state that was best."""

import json
import math
import os
import shutil
import signal

import pytest
from pydantic import ValidationError

from sft_pipeline.errors import TrainingError
from sft_pipeline.training import checkpoints, trainer
from sft_pipeline.training.callbacks.early_stopping import without_improvement
from sft_pipeline.training.callbacks.logging import LOG
from sft_pipeline_tests.training.conftest import fingerprint, prepare


@pytest.mark.parametrize(
    ("losses", "min_delta", "count"),
    [([], 0, 0), ([3.0], 0, 0), ([3.0, 2.0, 2.5, 2.4], 0, 2), ([3.0, 2.9, 2.7], 0.2, 0), ([3.0, 2.9, 2.85], 0.2, 2)],
)
def test_evaluations_without_an_improvement(losses, min_delta, count):
    assert without_improvement(losses, min_delta) == count


@pytest.fixture(scope="module")
def overfitted(toy, toy_base, tmp_path_factory):
    """A training with steps so large that the dev loss soon rises again (the scaling makes ten of each), and its adapter."""
    large = {"learning_rate": 3e-2, "lora": {"alpha": 80}, "schedule": "constant"}
    experiment = toy(max_steps=60, save_steps=3, adapter="best", early_stopping={"patience": 2}, **large)
    arguments = prepare(tmp_path_factory.mktemp("overfitted"), toy_base, experiment)
    return arguments, trainer.train(*arguments.values())


def dev_losses(adapter):
    rows = json.loads(adapter.path("log_history.json").read_text())
    return {row["step"]: row["eval_loss"] for row in rows if "eval_loss" in row}


def test_the_adapter_is_the_best_one_and_the_end_comes_early(overfitted):
    arguments, adapter = overfitted
    losses = dev_losses(adapter)
    assert adapter.steps < 60 and adapter.steps == max(losses)
    assert losses[adapter.step] == min(losses.values()) and adapter.step == adapter.steps - 2 * 3
    assert adapter.steps in adapter.checkpoints and adapter.step not in adapter.checkpoints
    assert adapter.epochs == pytest.approx(arguments["plan"].coverage * adapter.steps / 60)
    # what is stored as the adapter is the saved adapter of that step
    kept = arguments["work"] / "kept" / str(adapter.step) / "adapter_model.safetensors"
    assert adapter.path("adapter/adapter_model.safetensors").read_bytes() == kept.read_bytes()
    # and what is reported of it belongs to that step
    assert adapter.dev_loss == losses[adapter.step] < losses[adapter.steps]
    reported = {"steps": adapter.steps, "step": adapter.step}
    written = json.loads(adapter.path("training_manifest.json").read_text())["result"]
    assert reported.items() <= written.items() and written["dev_loss"] == losses[adapter.step]
    assert reported.items() <= json.loads(adapter.path("TRAINING_SUCCESS").read_text()).items()


@pytest.mark.slow
def test_an_early_end_within_a_pass_counts_the_rows_that_were_read(toy, prepared):
    rules = {"patience": 1, "min_delta": 100.0}  # the second evaluation ends it
    options = {"save_steps": 3, "adapter": "best", "early_stopping": rules, "keep_checkpoints": "last"}
    arguments = prepared(toy(max_steps=60, batch_size=8, **options), count=37)
    adapter = trainer.train(*arguments.values())
    assert adapter.steps == 6  # five steps of the first pass, the last of them smaller, and one of the second
    assert adapter.epochs == pytest.approx((37 + 8) / 37, abs=1e-6)
    # the adapter is the best one, and of the others only the last is kept
    losses = dev_losses(adapter)
    assert adapter.step == min(losses, key=losses.get) and set(adapter.checkpoints) == {6} - {adapter.step}
    assert checkpoints.newest(arguments["work"], fingerprint(arguments)).final


@pytest.mark.slow
def test_the_end_is_saved_and_evaluated_and_the_log_is_that_of_the_plan(toy, prepared):
    arguments = prepared(toy(max_steps=7, min_coverage=0.1, save_steps=5, logging_steps=3, adapter="best"))
    (planned,) = (f.evidence for f in arguments["plan"].findings if f.rule == "few_log_records")
    adapter = trainer.train(*arguments.values())
    assert list(dev_losses(adapter)) == [5, 7] and adapter.steps == 7
    rows = json.loads(adapter.path("log_history.json").read_text())
    assert [row["step"] for row in rows if "loss" in row] == [3, 5, 6, 7] and "4 log records" in planned


def test_a_run_that_was_killed_after_its_early_end_is_not_trained_further(overfitted, tmp_path):
    arguments, ended = overfitted
    # The process that only exports reports the memory of the one that trained.
    work = tmp_path / "work"
    shutil.copytree(arguments["work"], work)
    rows = [json.loads(line) for line in (work / LOG).read_text().splitlines()]
    assert ended.measurements["peak_memory_bytes"] == max(row.get("peak_memory_bytes", 0) for row in rows) > 0
    peaks = [row | {"peak_memory_bytes": 10**15 - row["step"]} if "loss" in row else row for row in rows]
    text = "".join(json.dumps(row) + "\n" for row in peaks) + '{"step": 9'  # killed over its last record
    (work / LOG).write_text(text)
    (tmp_path / "again").mkdir()
    steps = []
    again = trainer.train(*(arguments | {"work": work, "out": tmp_path / "again"}).values(), on_log=steps.append)
    assert not steps and again.digest == ended.digest
    assert again.measurements["peak_memory_bytes"] == 10**15 - 1


@pytest.mark.slow
def test_a_signal_in_the_step_in_which_patience_runs_out_leaves_the_end_where_it_is(overfitted, tmp_path):
    arguments, whole = overfitted

    def interrupt(row):
        if row["step"] == whole.steps - 1 and "loss" in row:  # noticed at the end of the next step
            os.kill(os.getpid(), signal.SIGTERM)

    (tmp_path / "again").mkdir()
    elsewhere = {"work": tmp_path / "other work", "out": tmp_path / "again"}
    again = trainer.train(*(arguments | elsewhere).values(), on_log=interrupt)
    assert again.steps == whole.steps and again.digest == whole.digest


@pytest.mark.slow
def test_a_dev_loss_that_is_nan_aborts_the_run_and_is_no_early_stop(toy, prepared, monkeypatch):
    arguments = prepared(
        toy(max_steps=12, min_coverage=0.1, save_steps=3, adapter="best", early_stopping={"patience": 1})
    )
    build = trainer.build

    def broken_at_the_second_evaluation(*given):
        made = build(*given)
        prediction_step = made.prediction_step

        def spoilt(model, *rest, **options):
            if made.state.global_step >= 6:
                next(p for p in model.parameters() if p.requires_grad).data.fill_(math.nan)
            return prediction_step(model, *rest, **options)

        made.prediction_step = spoilt
        return made

    monkeypatch.setattr(trainer, "build", broken_at_the_second_evaluation)
    with pytest.raises(TrainingError, match="eval_loss is nan at step 6"):
        trainer.train(*arguments.values())
    saved = checkpoints.newest(arguments["work"], fingerprint(arguments))
    assert saved.step == 3 and not saved.final, "the broken state would be taken up as the training's end"


def test_a_best_checkpoint_without_its_evaluation_is_an_error_of_the_specification(toy):
    with pytest.raises(ValidationError, match="multiple of eval_steps"):
        toy(adapter="best", save_steps=10, eval_steps=4)
    with pytest.raises(ValidationError, match="set adapter: best"):
        toy(early_stopping={"patience": 2})

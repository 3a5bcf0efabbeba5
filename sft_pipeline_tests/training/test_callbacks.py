"""What is recorded of a training while it runs, and when the watchdog aborts it."""

import json
import math
import os
import random
from types import SimpleNamespace

import pytest

from sft_pipeline.diagnosis.diagnose import judge
from sft_pipeline.diagnosis.log_files import log_history
from sft_pipeline.errors import TrainingError
from sft_pipeline.training import adapter, callbacks, checkpoints, trainer
from sft_pipeline.training.callbacks import logging, metrics, validation_samples, watchdog
from sft_pipeline.training.callbacks.early_stopping import Ending
from sft_pipeline_tests.training.conftest import fingerprint

BREAKS = "é one\u2028two\u2029three\u0085four\r\nfive"
"""Text with everything that Python, but not JSON lines, takes for the end of a line."""


def rows_of(*losses, every=10, **columns):
    """Log records with these losses, `every` steps apart; columns have a value per record."""
    series = {name: iter(values) for name, values in columns.items()}
    return [
        {"step": every * (i + 1), "loss": loss, **{name: next(values) for name, values in series.items()}}
        for i, loss in enumerate(losses)
    ]


def stopped_at(log_history):
    """Step and reason at which the watchdog would have stopped this run."""
    for end in range(1, len(log_history) + 1):
        if reason := watchdog.abort_reason(log_history[:end]):
            return log_history[end - 1]["step"], reason
    return None


def log(work):
    return [json.loads(line) for line in (work / logging.LOG).read_text().splitlines()]


# -------------------------------------------------------------------------------------------------------------- watchdog


@pytest.mark.real_data
def test_no_real_run_is_stopped_that_went_to_its_end(real_data):
    states = sorted((real_data / "trainer-states").glob("*.json"))
    seen = 0
    for path in states:
        if path.name == "INDEX.json":
            continue
        history = json.loads(path.read_text())["log_history"]
        seen += len([row for row in history if "loss" in row])
        assert stopped_at([row for row in history if "step" in row]) is None, path.name
    assert seen > 700


def test_a_run_that_stays_above_the_level_it_began_with_has_diverged():
    healthy = [2.7, 2.6, 2.5, 1.9, 1.4, 1.1]
    assert stopped_at(rows_of(*healthy, *[5.0] * 5))[0] == 110
    assert stopped_at(rows_of(*healthy, *[5.0] * 4, 1.2, *[5.0] * 4)) is None, "it came back in between"
    assert stopped_at(rows_of(*healthy, *[3.5] * 20)) is None, "worse than it was, but not beyond doubt"
    assert stopped_at(rows_of(*[0.05] * 3, *[0.9] * 20)) is None, "a small loss may well be half as much again"


@pytest.mark.parametrize(
    ("history", "step", "reason"),
    [
        (rows_of(2.0, math.nan, 2.0), 20, "loss is nan at step 20"),
        ([*rows_of(2.0), {"step": 10, "eval_loss": math.inf}], 10, "eval_loss is inf"),
        (rows_of(2.0, *[0.0] * 9), 40, "loss is exactly 0 in 3 log records"),
        (rows_of(2.0, *[0.0] * 4, grad_norm=[0.5, *[math.nan] * 4]), 40, "loss is exactly 0 in 3 log records"),
        (
            rows_of(*[2.7] * 9, grad_norm=[0.1, *[0.0] * 8]),
            60,
            "gradient norm is exactly 0 in 5 log records up to step 60",
        ),
    ],
)
def test_what_else_is_aborted(history, step, reason):
    at, said = stopped_at(history)
    assert at == step and reason in said


@pytest.mark.parametrize(
    "history",
    [
        rows_of(2.0, 0.0, 0.0, 1.0),
        rows_of(*[2.7] * 9, grad_norm=[0.0, 0.0, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0]),
        rows_of(*[2.7] * 9, grad_norm=[math.nan, *[0.3] * 8]),
        rows_of(2.0, *[0.0] * 9, grad_norm=[0.3] * 10),  # there is a gradient, so it is only nearly 0
    ],
)
def test_what_recovers_is_not_aborted(history):
    assert stopped_at(history) is None


@pytest.mark.parametrize("scatter", [0.3, 0.7, 1.0])
def test_a_sound_run_is_not_stopped_whose_rows_are_single_examples(scatter):
    for seed in range(20):
        draw = random.Random(seed)
        losses = [(1.2 + 1.2 * math.exp(-i / 30)) * math.exp(draw.gauss(0, scatter)) for i in range(150)]
        assert stopped_at(rows_of(*losses)) is None, seed


def test_steps_without_a_gradient_count_only_one_after_the_other():
    import torch

    sft, ending = SimpleNamespace(grad_norm=None), Ending()
    watch = watchdog.watchdog(sft, ending)

    def steps(gradients, after):
        for step, gradient in enumerate(gradients, start=after + 1):
            sft.grad_norm = torch.tensor(gradient)
            state, control = SimpleNamespace(global_step=step), SimpleNamespace()
            watch.on_pre_optimizer_step(None, state, control)
            watch.on_step_end(None, state, control)
        return ending.aborted

    assert not steps([0.0, 1e-9] * 20, after=0), "every second one, 20 in all"
    assert not steps([*[0.0] * 9, math.nan], after=40)
    assert steps([0.0] * 10, after=50) == "the gradient was exactly 0 in the 10 steps up to 60"


def test_the_log_of_a_run_that_was_stopped_says_so_whatever_its_rows_show(tmp_path):
    healthy = rows_of(*[2.0 * 0.95**i for i in range(40)], grad_norm=[0.5] * 40)
    assert not [finding for finding in judge(healthy)[0] if finding.severity == "blocking"]
    message = watchdog.record_abort("the gradient was exactly 0 in the 10 steps up to 400", healthy, tmp_path, "a run")
    assert "aborted: the gradient was exactly 0 in the 10 steps up to 400" in message and "→ find the cause" in message
    found = judge(log_history(tmp_path / watchdog.ABORTED_LOG))[0]
    assert [finding.rule for finding in found if finding.severity == "blocking"] == ["aborted"]
    assert "the 10 steps up to 400" in found[0].evidence


def test_a_run_that_diverged_is_stopped_and_diagnosed_by_one_rule(tmp_path):
    history = rows_of(*[1.0 + 0.7 * 0.9**i for i in range(190)], *[8.0] * 9)
    step, reason = stopped_at(history)
    assert step == 1950
    message = watchdog.record_abort(reason, [row for row in history if row["step"] <= step], tmp_path, "a run")
    assert "is at least 8 in the last 5 log records" in message and "lower the learning rate" in message


def test_only_the_run_that_was_aborted_is_refused(tmp_path):
    watchdog.refuse_aborted(tmp_path, "a run")
    watchdog.record_abort("loss is nan at step 10", rows_of(2.0), tmp_path, "a run")
    watchdog.refuse_aborted(tmp_path, "another run")
    with pytest.raises(TrainingError, match=r"aborted before(.|\n)*loss is nan at step 10"):
        watchdog.refuse_aborted(tmp_path, "a run")


@pytest.mark.slow
def test_a_gradient_of_exactly_0_is_counted_in_steps_and_the_run_is_not_started_again(toy, prepared, monkeypatch):
    arguments = prepared(toy(max_steps=24, save_steps=4, logging_steps=25, min_coverage=0.1))
    build = trainer.build

    def without_gradient(*given):
        made = build(*given)
        step = made.training_step

        def training_step(model, *rest):
            loss = step(model, *rest)
            if made.state.global_step >= 6:  # as if the adapter no longer took part in the loss
                for parameter in model.parameters():
                    if parameter.grad is not None:
                        parameter.grad.zero_()
            return loss

        made.training_step = training_step
        return made

    monkeypatch.setattr(trainer, "build", without_gradient)
    with pytest.raises(
        TrainingError, match=r"exactly 0 in the 14 steps up to 20(.|\n)*checkpoints from before: 12, 16"
    ):
        trainer.train(*arguments.values())
    run = fingerprint(arguments)
    assert checkpoints.newest(arguments["work"], run).step == 16
    assert not any("loss" in row and row["step"] > 20 for row in log(arguments["work"]))

    monkeypatch.setattr(trainer, "build", build)
    with pytest.raises(
        TrainingError, match=r"aborted before(.|\n)*delete .*aborted.json(.|\n)*exactly 0 in the 14 steps"
    ):
        trainer.train(*arguments.values())
    (arguments["work"] / watchdog.ABORTED).write_text("")
    with pytest.raises(TrainingError, match=r"aborted\.json cannot be read(.|\n)*delete aborted"):
        trainer.train(*arguments.values())
    (arguments["work"] / watchdog.ABORTED).unlink()
    assert trainer.train(*arguments.values()).measurements["resumed_at_step"] == 16


# ------------------------------------------------------------------------------------------------------------------ rows


@pytest.mark.slow
def test_each_record_says_how_fast_how_much_memory_and_how_far_the_adapter_has_come(toy, prepared):
    arguments, seen = prepared(toy(epochs=2.0, logging_steps=5, save_steps=10)), []
    adapter = trainer.train(*arguments.values(), on_log=seen.append)
    kept = log(arguments["work"])
    assert [{k: v for k, v in row.items() if k != "time"} for row in kept] == seen
    training = [row for row in seen if "loss" in row]
    assert [row["step"] for row in training] == [5, 10, 15, 20]
    before = 0
    for row in training:
        assert row["tokens_per_second"] * row["seconds"] == pytest.approx(row["num_tokens"] - before, rel=0.01)
        assert 50e6 < row["memory_bytes"] <= row["peak_memory_bytes"] * 1.01
        before = row["num_tokens"]
    norms = [row["lora_norm_max"] for row in training]
    assert 0 < norms[0] < norms[1] and all(0 < row["lora_norm_mean"] <= row["lora_norm_max"] for row in training)
    # what depends on the time is no part of the artifact's identity
    history = [row for row in json.loads(adapter.path("log_history.json").read_text()) if "loss" in row]
    assert [row["lora_norm_max"] for row in history] == norms
    assert not {"seconds", "tokens_per_second", "memory_bytes", "peak_memory_bytes"} & set(history[0])
    assert logging.line(training[0]).startswith("training 5/20  loss ")
    assert [logging.line(row).split()[0] for row in seen if logging.line(row)].count("dev") == 2


def test_the_norm_is_that_of_the_product_that_the_adapter_adds(toy, toy_base):
    import torch
    from peft import get_peft_model

    from sft_pipeline.model.loader import load_model

    experiment = toy(lora={"r": 4, "alpha": 8, "rslora": True})
    model = get_peft_model(load_model(toy_base.root, experiment.model), adapter.lora_config(experiment.training.lora))
    generator, norms = torch.Generator().manual_seed(0), []
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator)
            a = model.get_parameter(name.replace("lora_B", "lora_A"))
            norms.append(8 / math.sqrt(4) * float(torch.linalg.matrix_norm(parameter.data @ a.data)))
    measured = metrics.lora_norms(model)
    assert measured["lora_norm_mean"] == pytest.approx(sum(norms) / len(norms), rel=1e-5)
    assert measured["lora_norm_max"] == pytest.approx(max(norms), rel=1e-5)


def test_a_log_resumes_where_the_run_does(tmp_path):
    path = tmp_path / "rows.jsonl"
    logging.journal(path, 0).add(
        logging.finite({"step": 1, "loss": math.nan}), {"step": 2, "text": BREAKS}, {"step": 3}
    )
    with open(path, "ab") as file:
        file.write('{"step": 4, "text": "é'.encode()[:-1])  # killed while writing
    journal = logging.journal(path, 2)
    journal.add({"step": 3, "again": True})
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [
        {"step": 1, "loss": "nan"},
        {"step": 2, "text": BREAKS},
        {"step": 3, "again": True},
    ]


# --------------------------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("quantization", ["none", pytest.param("nf4", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_validation_prompts_are_answered_and_leave_no_trace_on_the_training(toy, prepared, tmp_path, quantization):
    options = {"model": {"quantization": quantization}, "epochs": 1.0, "save_steps": 5, "learning_rate": 3e-2}
    arguments = prepared(toy(validation_prompts=3, **options))
    asked = trainer.train(*arguments.values())
    (tmp_path / "silent").mkdir()
    other = {"experiment": toy(validation_prompts=0, **options), "work": tmp_path / "w", "out": tmp_path / "silent"}
    silent = trainer.train(*(arguments | other).values())
    weights = "adapter/adapter_model.safetensors"
    assert asked.path(weights).read_bytes() == silent.path(weights).read_bytes()
    assert asked.path("log_history.json").read_bytes() == silent.path("log_history.json").read_bytes()
    assert validation_samples.SAMPLES not in silent.files

    answers = [json.loads(line) for line in asked.path(validation_samples.SAMPLES).read_text().splitlines()]
    assert [row["step"] for row in answers] == [step for step in (5, 10) for _ in range(3)]
    assert len({row["id"] for row in answers}) == 3 and all(row["prompt"] and row["tokens"] for row in answers)
    by_step = {step: [row["output"] for row in answers if row["step"] == step] for step in (5, 10)}
    assert by_step[5] != by_step[10], "the model in training answers, not the base"


def test_the_prompts_do_not_depend_on_the_order_of_the_rows():
    logging = [{"id": str(i)} for i in range(50)]
    picked = validation_samples.chosen(logging, 3, seed=1)
    assert (
        validation_samples.chosen(logging[::-1], 3, seed=1) == picked != validation_samples.chosen(logging, 3, seed=2)
    )
    assert len(validation_samples.chosen(logging[:2], 3, seed=1)) == 2


# -------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")],
)
def test_out_of_memory_says_what_to_change(toy, tmp_path, error):
    with pytest.raises(TrainingError) as said, callbacks.resource_errors(toy(batch_size=4), tmp_path):
        raise error
    for part in ("out of memory on cpu", "batch_size (4)", "gradient_checkpointing", "nf4", "max_length (1024)"):
        assert part in str(said.value)


def test_an_allocation_that_the_machine_cannot_make_is_recognised(toy, tmp_path):
    import torch

    with pytest.raises(TrainingError, match="out of memory on cpu"), callbacks.resource_errors(toy(), tmp_path):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_other_errors_pass_unchanged(toy, tmp_path):
    with pytest.raises(RuntimeError, match="mat1 and mat2"), callbacks.resource_errors(toy(), tmp_path):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(OSError, match="ermission"), callbacks.resource_errors(toy(), tmp_path):
        raise PermissionError(13, os.strerror(13))

"""Steps, learning rates and order of the rows, against transformers itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_pipeline.experiment import Lora, Training
from sft_pipeline.training import schedule


@pytest.mark.parametrize(
    ("rows", "batch", "accumulation", "epochs"),
    [(5467, 2, 4, 2.0), (45000, 4, 2, 1.0), (10, 4, 1, 2.5), (7, 2, 4, 3.0), (3, 8, 1, 0.5), (17, 4, 4, 1.3)],
)
def test_steps_are_those_of_the_hugging_face_trainer(toy, tmp_path, rows, batch, accumulation, epochs):
    import torch
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=epochs,
        use_cpu=True,
        report_to="none",
    )
    trainer = Trainer(model=torch.nn.Linear(1, 1), args=arguments, train_dataset=[{"x": 0}] * rows)
    max_steps = trainer.set_initial_training_values(arguments, trainer.get_train_dataloader())[-1]
    training = toy(batch_size=batch, gradient_accumulation=accumulation, epochs=epochs).training
    assert schedule.total_steps(rows, training) == max_steps


def test_the_record_has_1368_steps(toy):
    training = toy(batch_size=2, gradient_accumulation=4, epochs=2.0).training
    assert schedule.total_steps(5467, training) == 1368
    assert schedule.samples_seen(5467, training) == 2 * 5467
    assert schedule.samples_seen(45000, toy(batch_size=8, max_steps=500).training) == 4000


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("cosine", {}),
        ("linear", {}),
        ("constant", {}),
        ("cosine_with_min_lr", {"min_lr_ratio": 0.1}),
        ("cosine_with_restarts", {"num_cycles": 3}),
        ("polynomial", {"min_lr_ratio": 0.05, "power": 2.0}),
        ("polynomial", {}),
        ("warmup_stable_decay", {}),
        ("warmup_stable_decay", {"min_lr_ratio": 0.1, "decay_ratio": 0.5, "decay_type": "1-sqrt"}),
        ("warmup_stable_decay", {"decay_ratio": 1.0, "decay_type": "cosine"}),
    ],
)
@pytest.mark.parametrize("warmup", [0, 7])
def test_learning_rates_are_those_of_transformers(toy, kind, options, warmup):
    import torch
    from transformers import get_scheduler

    training = toy(schedule=kind, schedule_options=options, warmup_steps=warmup, learning_rate=3e-4).training
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    name = {"constant": "constant_with_warmup"}.get(kind, kind)
    scheduler = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=50,
        scheduler_specific_kwargs=schedule.lr_scheduler_kwargs(50, warmup, training),
    )
    for step in range(51):
        assert schedule.learning_rate(step, 50, warmup, training) == pytest.approx(
            scheduler.get_last_lr()[0], abs=1e-15
        )
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"schedule": "cosine", "schedule_options": {"power": 2}}, "schedule cosine has no option power"),
        ({"schedule": "cosine_with_min_lr"}, "set schedule_options.min_lr_ratio"),
        ({"gradient_accumulation": {5: 2}}, "must begin with step 0"),
        ({"gradient_accumulation": {9: 2, 0: 4}}, "must grow"),
        ({"gradient_accumulation": {0: 2, 9: 2}}, "must grow"),
        ({"gradient_accumulation": {0: 1, 5: 2}, "processes": 2}, "in one process"),
        ({"gradient_accumulation": {}}, "gradient_accumulation"),
    ],
)
def test_what_a_schedule_does_not_know_is_refused(toy, given, message):
    with pytest.raises(ValueError, match=message):
        toy(**given)


@given(
    rows=st.integers(1, 60),
    batch=st.integers(1, 4),
    steps=st.sets(st.integers(1, 30), max_size=3),
    passes=st.floats(0.1, 4),
)
def test_a_batch_that_grows_reads_every_row_once_in_each_pass(rows, batch, steps, passes):
    growth = {step: 1 + 2 * place for place, step in enumerate([0, *sorted(steps)])}
    training = Training(batch_size=batch, gradient_accumulation=growth, epochs=passes, batching="plain")
    steps = schedule.total_steps(rows, training)
    read = list(schedule.StepSampler([1] * rows, training, steps))
    assert len(read) == steps
    assert sum(map(len, read)) == schedule.samples_seen(rows, training) >= passes * rows
    assert schedule.samples_seen(rows, training, steps - 1) < passes * rows
    assert all(len(rows) <= training.batch_at(step) for step, rows in enumerate(read))
    seen = [row for step in read for row in step]
    for start in range(0, len(seen), rows):
        part = seen[start : start + rows]
        assert len(set(part)) == len(part)
    constant = training.model_copy(update={"gradient_accumulation": 2})
    same = training.model_copy(update={"gradient_accumulation": {0: 2}})
    assert schedule.samples_seen(rows, constant, steps) == schedule.samples_seen(rows, same, steps)
    assert schedule.steps_per_epoch(rows, constant) == schedule.steps_per_epoch(rows, same)


def test_a_cosine_has_65_percent_of_its_peak_after_200_of_500_steps(toy):
    training = toy(schedule="cosine", warmup_steps=0, learning_rate=5e-5).training
    assert schedule.learning_rate(200, 500, 0, training) / 5e-5 == pytest.approx(0.65, abs=0.005)


@pytest.mark.parametrize("group", [False, True])
def test_every_pass_reads_every_row_once_in_an_order_of_its_own(toy, group):
    training = toy(batch_size=4, batching="grouped" if group else "plain").training
    lengths = [(i * 37) % 101 for i in range(243)]
    first, second = (schedule.row_order(lengths, training, epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(243)) and first != second
    assert first == schedule.row_order(lengths, training, 0)
    assert first != schedule.row_order(
        lengths, toy(batch_size=4, batching="grouped" if group else "plain", seed=12).training, 0
    )


def test_grouping_by_length_saves_padding(toy):
    lengths = [10 + (i * 37) % 190 for i in range(2000)]
    plain = schedule.padding_share(lengths, toy(batch_size=8, batching="plain").training)
    assert plain > 0.35
    assert schedule.padding_share(lengths, toy(batch_size=8, batching="grouped").training) < plain / 5


def test_a_packed_batch_has_no_padding(toy):
    assert schedule.padding_share([3, 90, 7, 50], toy(batch_size=2, batching="packed").training) == 0.0


@given(
    steps=st.integers(1, 3_000),
    warmup=st.integers(0, 200),
    kind=st.sampled_from(["cosine", "linear", "constant"]),
)
def test_the_negligible_tail_begins_where_the_rate_falls_below_one_percent_of_its_peak(steps, warmup, kind):
    training = Training(max_steps=steps, schedule=kind, warmup_steps=min(warmup, steps - 1), learning_rate=1e-3)
    start = schedule.negligible_from(steps, training.warmup_steps, training)
    rates = [schedule.learning_rate(step, steps, training.warmup_steps, training) for step in range(steps)]
    if start is None:
        assert rates[-1] >= 1e-5 or steps == 1
    else:
        assert start < steps and all(rate < 1e-5 for rate in rates[start:])
        assert start == training.warmup_steps or rates[start - 1] >= 1e-5


def test_the_tail_of_the_record_s_unhealthy_run():
    training = Training(max_steps=500, warmup_steps=0, learning_rate=5e-5)
    # 1 % of the peak is reached at arccos(-0.98) / pi of a half cosine: 93.6 % of the steps.
    assert schedule.negligible_from(500, 0, training) == 469


@pytest.mark.parametrize(
    ("lora", "scaling"), [({"r": 16, "alpha": 32}, 2.0), ({"r": 16, "alpha": 32, "rslora": True}, 8.0)]
)
def test_the_adapter_s_scaling_is_that_of_peft(lora, scaling):
    import torch
    from peft import LoraConfig, get_peft_model

    assert schedule.lora_scaling(Lora(**lora)) == scaling
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    config = LoraConfig(
        r=lora["r"], lora_alpha=lora["alpha"], use_rslora=lora.get("rslora", False), target_modules=["0"]
    )
    assert get_peft_model(model, config).base_model.model[0].scaling["default"] == scaling

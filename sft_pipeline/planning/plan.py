"""What a training will do and whether it can work: arithmetic before any weight is loaded.

Every finding carries the number that it rests on and the remedy; a blocking one stops the run. What is looked at stands
in a file per subject: plan_rows.py, plan_schedule.py, plan_device.py, plan_gate.py.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import TrainingPlan
from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Experiment
from sft_pipeline.planning import (
    device as plan_device,
)
from sft_pipeline.planning import (
    learning_rate as plan_learning_rate,
)
from sft_pipeline.planning import (
    memory,
)
from sft_pipeline.planning import (
    power as plan_power,
)
from sft_pipeline.planning import (
    rows as plan_rows,
)
from sft_pipeline.planning.architecture import shapes
from sft_pipeline.report.plan import text as plan_text
from sft_pipeline.report.training import plots as training_plots
from sft_pipeline.training import schedule


def make(
    experiment: Experiment,
    train_lengths: Sequence[tuple[int, int]] | None,
    test_items: Mapping[str, int],
    architecture: Mapping[str, Any] | None,
    base_success: tuple[int, int] | None,
    out: Path,
    modules: Collection[str] | None = None,
    dev_lengths: Sequence[tuple[int, int]] | None = None,
) -> TrainingPlan:
    """Plan the training of `experiment` and write `plan.json`, `plan.txt` and `schedule.png` into `out`.

    Args:
        experiment: the specification.
        train_lengths: tokens of prompt and of response for each training row (`training.data.lengths`); None takes
            row count and mean length from `data.expected`.
        test_items: items of the test split by type.
        architecture: the base model's config.json; None takes `model.architecture`.
        base_success: successes and items of the base on the dev split in the training format, where measured.
        out: empty folder.
        modules: names of the base's matrices, where its files are at hand: for architectures without known shapes.
        dev_lengths: as `train_lengths` for each row of the dev split; None where it is not known.

    Raises:
        PreconditionError: neither lengths nor `data.expected` are there, or no training row carries loss.
    """
    training = experiment.training
    rows = plan_rows.measured(train_lengths, training) if train_lengths is not None else plan_rows.expected(experiment)
    if rows.count == 0:
        raise PreconditionError(
            f"no training row carries loss: the prompt of each of the {rows.masked:,} rows reaches training.max_length "
            f"{training.max_length}; raise it"
            if rows.masked
            else "the training split has no rows: there is nothing to train on"
        )

    evaluated = None if dev_lengths is None else plan_rows.measured(dev_lengths, training).count
    steps = schedule.total_steps(rows.count, training)
    warmup = schedule.warmup_steps(steps, training)
    rates = [schedule.learning_rate(round(steps * k / 10), steps, warmup, training) for k in range(11)]
    negligible = schedule.negligible_from(steps, warmup, training)
    coverage = schedule.samples_seen(rows.count, training) / rows.count
    stated = experiment.model.architecture
    config = architecture or (stated.model_dump(exclude_none=True) if stated else {})
    layout = shapes(config)
    needed = memory.estimate(layout, experiment.model, training, rows.longest) if layout else {}
    figures, gate_findings = plan_power.power_of(test_items, experiment.evaluation.gate)
    findings = [
        *rows.findings,
        *plan_rows.batches(rows.count, training),
        *plan_learning_rate.rates(steps, warmup, negligible, experiment, layout),
        *plan_learning_rate.intervals(steps, training, evaluated),
        *plan_device.adapter(layout, experiment, modules),
        *plan_device.positions(rows.longest, config),
        *plan_device.memory_limit(needed, experiment),
        *plan_device.logits(layout, experiment, rows.longest),
        *plan_device.idle_options(experiment, layout),
        *plan_power.headroom(base_success, experiment.evaluation.gate),
        *gate_findings,
    ]
    plan = TrainingPlan(
        root=out,
        train_rows=rows.count + rows.masked,
        masked_rows=rows.masked,
        effective_batch=training.effective_batch,
        steps=steps,
        warmup_steps=warmup,
        coverage=coverage,
        learning_rates=tuple(rates),
        negligible_from=negligible,
        tokens_per_epoch=rows.tokens,
        padding_share=rows.padding,
        cut_rows=rows.cut,
        longest=rows.longest,
        seconds=rows.tokens * coverage / training.tokens_per_second if training.tokens_per_second else None,
        trainable_parameters=layout.lora_parameters(training.lora) if layout else 0,
        total_parameters=layout.parameters if layout else 0,
        lora_scaling=schedule.lora_scaling(training.lora),
        memory_bytes=needed,
        base_success=base_success[0] / base_success[1] if base_success and base_success[1] else None,
        test_items=dict(test_items),
        power=figures,
        findings=tuple(findings),
    )
    (out / "plan.json").write_text(
        json.dumps(plan.model_dump(mode="json", exclude={"files", "measurements"}), indent=1)
    )
    (out / "plan.txt").write_text(plan_text.summary(plan))
    points = schedule.sampled_steps(steps, warmup)
    curve = [schedule.learning_rate(step, steps, warmup, training) for step in points]
    training_plots.schedule(points, curve, warmup, out / "schedule.png", negligible)
    return type(plan).finalize(
        out, **{name: getattr(plan, name) for name in type(plan).model_fields if name not in ("root", "files")}
    )

"""What a training will do and whether it can work: arithmetic before any weight is loaded.

Every finding carries the number that it rests on and the remedy; a blocking one stops the run. Each subject is a module:
rows, learning_rate, architecture, memory, device, live_series, power, test_items.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sft_pipeline.artifacts import Finding, TrainingPlan
from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Experiment, Training
from sft_pipeline.planning import (
    architecture,
    benchmarks,
    device,
    learning_rate,
    live_series,
    memory,
    power,
    settings,
    throughput,
)
from sft_pipeline.planning import rows as planned_rows
from sft_pipeline.report.plan import text as plan_text
from sft_pipeline.report.training import plots
from sft_pipeline.training import schedule


def make(
    experiment: Experiment,
    train_lengths: Sequence[tuple[int, int]] | None,
    test_items: Mapping[str, int],
    config: Mapping[str, Any] | None,
    base_success: tuple[int, int] | None,
    out: Path,
    dev_lengths: Sequence[tuple[int, int]] | None = None,
    benchmark_items: Mapping[str, int] | None = None,
    measured_rate: float | None = None,
) -> TrainingPlan:
    """The plan of `compute` with `plan.json`, `plan.txt` and `schedule.png` in the empty folder `out`."""
    plan = compute(
        experiment, train_lengths, test_items, config, base_success, dev_lengths, benchmark_items, measured_rate
    )
    (out / "plan.json").write_text(
        json.dumps(plan.model_dump(mode="json", exclude={"files", "measurements"}), indent=1)
    )
    (out / "plan.txt").write_text(plan_text.summary(plan))
    experiment = plan.applied(experiment)
    points = schedule.sampled_steps(plan.steps, plan.warmup_steps)
    curve = [schedule.learning_rate(step, plan.steps, plan.warmup_steps, experiment.training) for step in points]
    plots.schedule(points, curve, plan.warmup_steps, out / "schedule.png", plan.negligible_from)
    return TrainingPlan.finalize(
        out, **{name: getattr(plan, name) for name in TrainingPlan.model_fields if name not in ("root", "files")}
    )


def compute(
    experiment: Experiment,
    train_lengths: Sequence[tuple[int, int]] | None,
    test_items: Mapping[str, int],
    config: Mapping[str, Any] | None,
    base_success: tuple[int, int] | None,
    dev_lengths: Sequence[tuple[int, int]] | None = None,
    benchmark_items: Mapping[str, int] | None = None,
    measured_rate: float | None = None,
) -> TrainingPlan:
    """What the training of `experiment` will do, and what speaks against it; no file is written.

    Args:
        experiment: the specification.
        train_lengths: tokens of prompt and of response for each training row (`training.tokenization.lengths`); None takes
            row count and mean length from `data.expected`.
        test_items: items of the test split by type.
        config: the base model's config.json; None takes `model.architecture`.
        base_success: successes and items of the base on the dev split in the training format, where measured.
        dev_lengths: as `train_lengths` for each row of the dev split; None where it is not known.
        benchmark_items: items in the files of the capability report, by benchmark; None takes the published numbers.
        measured_rate: tokens per second of an earlier training of the experiment, where there was one.

    Raises:
        PreconditionError: neither lengths nor `data.expected` are there, all training rows are fully masked, or the
            architecture cannot be built.
    """
    training = experiment.training

    def rows_of(training: Training) -> planned_rows.Rows:
        if train_lengths is not None:
            return planned_rows.measured(train_lengths, training)
        return planned_rows.expected(experiment)

    rows = rows_of(training)
    if rows.count == 0:
        raise PreconditionError(
            f"all training rows are fully masked: the prompt of each of the {rows.masked:,} rows reaches training.max_length "
            f"{training.max_length}; raise it"
            if rows.masked
            else "the training split has no rows: there is nothing to train on"
        )

    stated = architecture.configuration(experiment.model.architecture)
    described = architecture.build(stated, experiment) if stated else None
    base = architecture.build(config, experiment) if config else described
    experiment, padded = settings.as_trained(experiment, base)
    chosen = settings.chosen(experiment, base, rows_of(experiment.training))
    training = experiment.training.model_copy(update=chosen)
    experiment = experiment.model_copy(update={"training": training})
    rows = rows_of(training)
    evaluated = None if dev_lengths is None else planned_rows.measured(dev_lengths, training).count
    steps = schedule.total_steps(rows.count, training)
    warmup = schedule.warmup_steps(steps, training)
    rates = [schedule.learning_rate(round(steps * k / 10), steps, warmup, training) for k in range(11)]
    negligible = schedule.negligible_from(steps, warmup, training)
    coverage = schedule.samples_seen(rows.count, training) / rows.count
    needed = memory.parts(base, experiment, rows) if base else {}
    rate, basis, rate_findings = _rate(experiment, base, rows, measured_rate)
    seconds = rows.tokens * coverage / rate if rate else None
    asked, benchmark_seconds, benchmark_findings = benchmarks.planned(experiment, benchmark_items, rate)
    figures, gate_findings = power.power_of(test_items, experiment.evaluation.gate)
    findings = [
        *rows.findings,
        *planned_rows.batches(rows.count, training),
        *planned_rows.comparators(rows.count + rows.masked, experiment.evaluation),
        *learning_rate.rates(steps, warmup, negligible, experiment, base),
        *learning_rate.intervals(steps, training, evaluated),
        *live_series.planned(experiment, steps, None if dev_lengths is None else len(dev_lengths)),
        *device.adapter(base, experiment, described),
        *device.positions(rows.longest, base),
        *device.memory_limit(needed, experiment),
        *device.logits(base, experiment, rows.longest),
        *padded,
        *device.idle_options(experiment, base),
        *device.sharding(experiment, base, rows),
        *rate_findings,
        *settings.advice(experiment, base, rows, seconds),
        *power.headroom(base_success, experiment.evaluation.gate),
        *gate_findings,
        *benchmark_findings,
    ]
    return TrainingPlan(
        root=Path(),
        train_rows=rows.count + rows.masked,
        masked_rows=rows.masked,
        effective_batch=training.effective_batch,
        steps=steps,
        warmup_steps=warmup,
        coverage=coverage,
        learning_rates=tuple(rates),
        batches=tuple(training.batch_at(round(steps * k / 10)) for k in range(11)) if training.grows else (),
        negligible_from=negligible,
        tokens_per_epoch=rows.tokens,
        padding_share=rows.padding,
        cut_rows=rows.cut,
        longest=rows.longest,
        settings=chosen,
        seconds=seconds,
        tokens_per_second=rate,
        rate_basis=basis,
        trainable_parameters=base.trainable if base else 0,
        total_parameters=base.parameters if base else 0,
        lora_scaling=schedule.lora_scaling(training.lora),
        memory_bytes=needed,
        base_success=base_success[0] / base_success[1] if base_success and base_success[1] else None,
        test_items=dict(test_items),
        power=figures,
        benchmarks=asked,
        benchmark_seconds=benchmark_seconds,
        findings=tuple(findings),
    )


def _rate(
    experiment: Experiment, base: architecture.Base | None, rows: planned_rows.Rows, measured: float | None
) -> tuple[float | None, Literal["declared", "measured", "estimated"] | None, list[Finding]]:
    """Tokens per second, what they rest on, and what is to be said of it."""
    declared, card = experiment.training.tokens_per_second, experiment.model.card
    if measured:
        evidence = f"an earlier training of this experiment ran at {measured:,.1f} tokens per second"
        offer = (
            "" if declared else f"declare training.tokens_per_second: {measured:g}, if settings and card stay the same"
        )
        found = [Finding(rule="rate_measured", severity="info", evidence=evidence, remedy=offer)]
        return (declared, "declared", found) if declared else (measured, "measured", found)
    unknown = experiment.model.device != "cuda" or experiment.training.fsdp  # what sharding costs
    if declared or card is None or base is None or unknown:
        return declared, "declared" if declared else None, []
    on, length = throughput.card(card), rows.tokens / rows.count
    positions = experiment.training.batch_size * length / (1 - rows.padding)
    parts = throughput.pass_seconds(base, experiment, on, positions, length)
    shares = ", ".join(f"{name} {seconds / sum(parts.values()):.0%}" for name, seconds in parts.items())
    rate = throughput.rate(base, experiment, on, length, rows.padding)
    evidence = f"the time is an estimate for {on.name} from its data sheet, not a measurement: {rate:,.0f} tokens per second ({shares})"
    return rate, "estimated", [Finding(rule="rate_estimated", severity="info", evidence=evidence)]

"""What a training will do and whether it can work: arithmetic before any weight is loaded.

Every finding carries the number that it rests on and the remedy; a blocking one stops the run.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import Finding, TrainingPlan
from sft_pipeline.errors import PreconditionError
from sft_pipeline.evaluation import power
from sft_pipeline.experiment import Experiment, Gate, Protected, Training
from sft_pipeline.report import plan_text, training_plots
from sft_pipeline.training import memory, schedule
from sft_pipeline.training.shapes import Shapes, shapes

USUAL_RATES = (1e-5, 1e-3)
"""Learning rates that LoRA is usually trained with; models below SMALL weights bear ten times as much."""

SMALL = 100_000_000

MIN_LOG_ROWS = 5
"""Fewer log rows than this allow no diagnosis."""


def make(
    experiment: Experiment,
    train_lengths: Sequence[tuple[int, int]] | None,
    test_items: Mapping[str, int],
    architecture: Mapping[str, Any] | None,
    base_success: tuple[int, int] | None,
    out: Path,
) -> TrainingPlan:
    """Plan the training of `experiment` and write `plan.json`, `plan.txt` and `schedule.png` into `out`.

    Args:
        experiment: the specification.
        train_lengths: tokens of prompt and of response for each training row (`training.data.lengths`); None takes
            row count, mean length and test items from `data.expected`.
        test_items: items of the test split by type.
        architecture: the base model's config.json; None takes `model.architecture`.
        base_success: successes and items of the base on the dev split in the training format, where measured.
        out: empty folder.

    Raises:
        PreconditionError: neither lengths nor `data.expected` are there.
    """
    training, expected = experiment.training, experiment.data.expected
    findings: list[Finding] = []
    if train_lengths is not None:
        cut = [min(prompt + response, training.max_length) for prompt, response in train_lengths]
        rows, tokens, longest = len(cut), sum(cut), max(cut, default=0)
        padding = schedule.padding_share(cut, training)
        findings += _cut_rows(train_lengths, training)
    elif expected is not None:
        rows, tokens, padding, longest = expected.train_rows, round(expected.train_rows * expected.mean_tokens), 0.0, 0
        longest = min(training.max_length, round(4 * expected.mean_tokens))
        test_items = test_items or expected.test_rows
        findings.append(
            Finding(
                rule="lengths_unknown",
                severity="info",
                evidence=f"lengths are those of data.expected: mean {expected.mean_tokens:g} tokens, longest taken as "
                f"{longest}; padding cannot be told",
            )
        )
    else:
        raise PreconditionError(
            "the plan needs the training split or data.expected (train_rows, mean_tokens, test_rows) in the specification"
        )
    if rows == 0:
        raise PreconditionError("the training split has no rows: there is nothing to train on")

    steps = schedule.total_steps(rows, training)
    warmup = schedule.warmup_steps(steps, training)
    rates = [schedule.learning_rate(round(steps * k / 10), steps, warmup, training) for k in range(11)]
    seen = schedule.samples_seen(rows, training)
    layout = shapes(architecture or experiment.model.architecture or {})
    findings += _batches(rows, seen, steps, training)
    findings += _schedule(steps, warmup, training, layout)
    findings += _adapter(layout, experiment)
    findings += _positions(longest, architecture or {})
    findings += _device(experiment)
    findings += _headroom(base_success, experiment.evaluation.gate)
    figures, gate_findings = _gate(test_items, experiment.evaluation.gate)
    findings += gate_findings

    plan = TrainingPlan(
        root=out,
        train_rows=rows,
        effective_batch=training.effective_batch,
        steps=steps,
        warmup_steps=warmup,
        coverage=seen / rows,
        learning_rates=tuple(rates),
        tokens_per_epoch=tokens,
        padding_share=padding,
        trainable_parameters=layout.lora_parameters(training.lora) if layout else 0,
        total_parameters=layout.parameters if layout else 0,
        memory_bytes=memory.estimate(layout, experiment.model, training, longest) if layout else {},
        base_success=base_success[0] / base_success[1] if base_success and base_success[1] else None,
        test_items=dict(test_items),
        power=figures,
        findings=tuple(findings),
    )
    (out / "plan.json").write_text(
        json.dumps(plan.model_dump(mode="json", exclude={"files", "measurements"}), indent=1)
    )
    (out / "plan.txt").write_text(plan_text.summary(plan))
    curve = [schedule.learning_rate(step, steps, warmup, training) for step in range(steps + 1)]
    training_plots.schedule(curve, warmup, out / "schedule.png")
    return type(plan).seal(
        out, **{name: getattr(plan, name) for name in type(plan).model_fields if name not in ("root", "files")}
    )


def _cut_rows(lengths: Sequence[tuple[int, int]], training: Training) -> list[Finding]:
    """Rows longer than the sequence limit."""
    limit = training.max_length
    cut = sum(prompt + response > limit for prompt, response in lengths)
    if not cut:
        return []
    bare = sum(prompt >= limit for prompt, _ in lengths)
    share, longest = cut / len(lengths), max(prompt + response for prompt, response in lengths)
    blocking = share > training.max_truncated_share
    return [
        Finding(
            rule="truncated_rows",
            severity="blocking" if blocking else "warning",
            evidence=f"{cut:,} of {len(lengths):,} rows ({share:.1%}) are longer than max_length {limit}; "
            f"{bare:,} of them would carry no loss at all",
            remedy=f"set training.max_length to {longest} or more, remove the rows, or allow training.max_truncated_share",
        )
    ]


def _batches(rows: int, seen: int, steps: int, training: Training) -> list[Finding]:
    """How often the rows are seen, and whether a batch can be filled."""
    found = []
    coverage, per_epoch = seen / rows, schedule.steps_per_epoch(rows, training)
    evidence = (
        f"coverage {coverage:.3g} epochs: {steps:,} steps × {training.effective_batch} = {seen:,} of {rows:,} rows"
    )
    if coverage < training.min_coverage:
        needed = -(-training.min_coverage * per_epoch // 1)
        remedy = (
            f"set epochs, or at least {needed:,.0f} steps"
            if training.max_steps
            else f"set epochs to {training.min_coverage:g} or more"
        )
        found.append(Finding(rule="coverage", severity="blocking", evidence=evidence, remedy=remedy))
    if coverage > training.max_coverage:
        remedy = (
            f"expect overfitting; {training.max_coverage:g} epochs are {training.max_coverage * per_epoch:,.0f} steps"
        )
        found.append(Finding(rule="coverage_high", severity="warning", evidence=evidence, remedy=remedy))
    if training.effective_batch > rows:
        found.append(
            Finding(
                rule="batch_exceeds_rows",
                severity="blocking",
                evidence=f"the effective batch of {training.effective_batch} is larger than the {rows} training rows",
                remedy="lower batch_size × gradient_accumulation, or bring more rows",
            )
        )
    return found


def _schedule(steps: int, warmup: int, training: Training, layout: Shapes | None) -> list[Finding]:
    """Learning rate, warm-up, and the intervals of saving and logging."""
    found = []
    low, high = USUAL_RATES
    high *= 10 if layout and layout.parameters < SMALL else 1
    if not low <= training.learning_rate <= high:
        found.append(
            Finding(
                rule="learning_rate",
                severity="warning",
                evidence=f"learning rate {training.learning_rate:g} is outside the usual {low:g} to {high:g} for LoRA on "
                "such a model",
                remedy="a rate that is too small learns nothing, one that is too large diverges; 2e-4 is a common start",
            )
        )
    if warmup > steps / 2:
        found.append(
            Finding(
                rule="warmup",
                severity="blocking" if warmup >= steps else "warning",
                evidence=f"{warmup:,} of {steps:,} steps are warm-up: the peak learning rate is "
                + ("never reached" if warmup >= steps else "held for less than half of the run"),
                remedy=f"set warmup_steps to {max(1, steps // 20)} or so",
            )
        )
    if training.save_steps > steps:
        found.append(
            Finding(
                rule="save_steps",
                severity="warning",
                evidence=f"save_steps {training.save_steps} > {steps} steps: only the end is saved, and a run that is "
                "killed begins anew",
                remedy=f"set save_steps to {max(1, steps // 4)}",
            )
        )
    if steps // training.logging_steps < MIN_LOG_ROWS:
        found.append(
            Finding(
                rule="few_log_rows",
                severity="warning",
                evidence=f"logging_steps {training.logging_steps} gives {steps // training.logging_steps} log rows over "
                f"{steps} steps: too few for a diagnosis",
                remedy=f"set logging_steps to {max(1, steps // 20)}",
            )
        )
    return found


def _positions(longest: int, architecture: Mapping[str, Any]) -> list[Finding]:
    """Rows that are longer than anything that the base was made for."""
    positions = architecture.get("max_position_embeddings")
    if not positions or longest <= positions:
        return []
    return [
        Finding(
            rule="positions",
            severity="blocking",
            evidence=f"the longest row has {longest:,} tokens, but the base knows {positions:,} positions",
            remedy=f"set training.max_length to {positions} or less, and allow or remove the rows that are longer",
        )
    ]


def _adapter(layout: Shapes | None, experiment: Experiment) -> list[Finding]:
    """Whether the adapter fits the architecture."""
    if layout is None:
        return [
            Finding(
                rule="architecture_unknown",
                severity="warning",
                evidence="the architecture is not one whose parameters can be counted from its shapes; parameters and "
                "memory are not estimated",
                remedy="state model.architecture, or expect the figures from the training itself",
            )
        ]
    unknown = layout.unknown_targets(experiment.training.lora)
    if not unknown:
        return []
    return [
        Finding(
            rule="target_modules",
            severity="blocking",
            evidence=f"the model has no module named {', '.join(unknown)}",
            remedy=f"choose from {', '.join(layout.projections)}, or all-linear",
        )
    ]


def _device(experiment: Experiment) -> list[Finding]:
    """Options that do nothing, or something else, on the declared device."""
    training, model = experiment.training, experiment.model
    if model.device == "cpu" and training.optimizer == "paged_adamw_8bit":
        return [
            Finding(
                rule="optimizer_fallback",
                severity="info",
                evidence="paged_adamw_8bit pages between GPU and CPU memory; on the CPU adamw_8bit is used instead",
            )
        ]
    return []


def _headroom(base_success: tuple[int, int] | None, gate: Gate) -> list[Finding]:
    """Whether there is anything left to learn."""
    if not base_success or not base_success[1]:
        return [
            Finding(
                rule="headroom_unknown", severity="info", evidence="the base has not been measured on the dev split"
            )
        ]
    successes, n = base_success
    rate = successes / n
    evidence = f"the base already succeeds at {successes} of {n} dev items ({rate:.1%}) in the training format"
    if rate > gate.max_base_success:
        remedy = f"choose a task that the base fails at, or a scorer that sees the difference (limit {gate.max_base_success:.0%})"
        return [Finding(rule="headroom", severity="blocking", evidence=evidence, remedy=remedy)]
    if 1 - rate < gate.planned_lift:
        evidence += f": the planned lift of {gate.planned_lift:.0%} cannot be reached"
        remedy = "plan for a smaller lift, with the items that it needs"
        return [Finding(rule="headroom_small", severity="warning", evidence=evidence, remedy=remedy)]
    return []


def _gate(items: Mapping[str, int], gate: Gate) -> tuple[dict[str, float], list[Finding]]:
    """Power of the gate as specified, and whether each guarantee can be decided by the items that there are."""
    n = sum(items.values())
    if not n:
        return {}, [
            Finding(rule="power_unknown", severity="info", evidence="the test items are not known: no power computed")
        ]
    if gate.planned_lift > gate.expected_discordance:
        return {}, [
            Finding(
                rule="power_contradiction",
                severity="blocking",
                evidence=f"planned_lift {gate.planned_lift:g} > expected_discordance {gate.expected_discordance:g}: a lift "
                "needs at least as many discordant pairs (fault of the specification)",
                remedy=f"set expected_discordance to {gate.planned_lift:g} or more",
            )
        ]
    figures: dict[str, float] = {}
    for test in dict.fromkeys(("exact", "midp", gate.test)):
        figures[test] = power.power(n, gate.planned_lift, gate.expected_discordance, gate.alpha, test)
        effect = power.minimum_detectable_effect(n, gate.expected_discordance, gate.alpha, gate.min_power, test)
        if effect is not None:
            figures[f"minimum_effect_{test}"] = effect
    needed = power.items_needed(gate.planned_lift, gate.expected_discordance, gate.alpha, gate.min_power, gate.test)
    if needed is not None:
        figures["items_needed"] = needed
    findings = []
    if figures[gate.test] < gate.min_power:
        findings.append(
            Finding(
                rule="power",
                severity="blocking",
                evidence=f"with {n} test items a true lift of {gate.planned_lift:.1%} is found with probability "
                f"{figures[gate.test]:.2f} < {gate.min_power:g} ({gate.test} test, alpha {gate.alpha:g}, "
                f"{gate.expected_discordance:.0%} discordant)",
                remedy=(f"use {needed:,} test items" if needed else "use many more test items")
                + ", plan for a larger lift, or accept less power (evaluation.gate)",
            )
        )
    return figures, findings + [f for protected in gate.protected if (f := _guarantee(protected, items))]


def _guarantee(protected: Protected, items: Mapping[str, int]) -> Finding | None:
    """A guarantee that no result could meet, or only a perfect one."""
    n = sum(items.get(type, 0) for type in protected.types)
    lost = power.largest_tolerable_loss(n, protected.margin) if n else -1
    if lost > 0:
        return None
    reach = f"at best it shows a loss below {-power.best_lower_bound(n):.1%}" if n else "there are none"
    needed = next((m for m in range(1, 100_000) if -power.best_lower_bound(m) < protected.margin), None)
    if lost < 0:
        return Finding(
            rule="guarantee_undecidable",
            severity="blocking",
            evidence=f"guarantee {protected.name}: no result of {n} items of {', '.join(protected.types)} could meet the "
            f"margin of {protected.margin:g}: {reach} (fault of the specification)",
            remedy=f"use at least {needed} items of these types, or a wider margin",
        )
    return Finding(
        rule="guarantee_tight",
        severity="warning",
        evidence=f"guarantee {protected.name}: with {n} items a single lost one exceeds the margin of {protected.margin:g}",
        remedy="use more items of these types, or a wider margin",
    )

"""A training plan as text for the terminal."""

from sft_pipeline.artifacts import TrainingPlan

_MARKS = {"info": "note", "warning": "WARNING", "blocking": "BLOCKING"}


def summary(plan: TrainingPlan) -> str:
    """The plan's figures and findings; the last line says whether the run may start."""
    lines = [*_run(plan), *_size_and_memory(plan), *_rates(plan), *_gate(plan), *_benchmarks(plan)]
    for finding in sorted(plan.findings, key=lambda f: list(_MARKS).index(f.severity), reverse=True):
        lines += ["", f"{_MARKS[finding.severity]}: {finding.evidence}"]
        if finding.remedy:
            lines.append(f"  → {finding.remedy}")
    blocking = len(plan.blocking)
    lines += [
        "",
        f"refused: {blocking} blocking finding{'s' if blocking != 1 else ''}" if blocking else "the run may start",
    ]
    return "\n".join(lines) + "\n"


def batch(plan: TrainingPlan) -> str:
    """Sequences per step, of a batch that grows the smallest and the largest."""
    return f"{plan.batches[0]} to {plan.effective_batch}" if plan.batches else str(plan.effective_batch)


def _run(plan: TrainingPlan) -> list[str]:
    """Rows, steps, coverage, tokens and time."""
    tokens = plan.tokens_per_epoch
    unknown = any(f.rule == "lengths_unknown" for f in plan.findings)
    padding = (
        "padding and longest row unknown"
        if unknown
        else f"padding {plan.padding_share:.1%}, longest row {plan.longest:,}"
    )
    cut = f", {plan.cut_rows:,} rows cut" if plan.cut_rows else ""
    left_out = f" of {plan.train_rows:,}, the others are fully masked" if plan.masked_rows else ""
    time = "unknown: name model.card, or declare training.tokens_per_second, measured on the device"
    if plan.seconds is not None:
        basis = {
            "declared": "by the declared tokens_per_second",
            "measured": "by the rate of an earlier training of this experiment",
            "estimated": "ESTIMATED for the card, not measured",
        }[plan.rate_basis or "declared"]
        time = f"about {_duration(plan.seconds)} {basis}"
    return [
        f"rows            {plan.trained_rows:,}" + left_out,
        f"steps           {plan.steps:,} of {batch(plan)} sequences, {plan.warmup_steps:,} of them warm-up",
        f"coverage        {plan.coverage:.3g} epochs",
        f"tokens          {tokens:,} per epoch ({tokens / plan.trained_rows:.1f} per row), "
        f"{round(tokens * plan.coverage):,} in all; {padding}{cut}",
        f"time            {time}",
        *(["chosen          " + ", ".join(f"{k} {v}" for k, v in plan.settings.items())] if plan.settings else []),
    ]


def _size_and_memory(plan: TrainingPlan) -> list[str]:
    """Parameters and memory."""
    if not plan.total_parameters:
        return []
    share = plan.trainable_parameters / plan.total_parameters
    parts = [f"{part} {_size(size)}" for part, size in plan.memory_bytes.items()]
    total = sum(plan.memory_bytes.values())
    return [
        f"parameters      {plan.trainable_parameters:,} trained of {plan.total_parameters:,} ({share:.3%}); "
        f"adapter scaling {plan.lora_scaling:.3g}",
        f"memory          about {_size(total)} ({total / 1e9:.1f} GB) per device, estimated:",
        f"                {', '.join(parts[:4])},",
        f"                {', '.join(parts[4:])}",
    ]


def _rates(plan: TrainingPlan) -> list[str]:
    """The learning rate at each tenth of the steps, in two lines of a table."""
    steps = [round(plan.steps * k / 10) for k in range(11)]
    end = f"; below 1 % of the peak from step {plan.negligible_from:,}" if plan.negligible_from is not None else ""
    return [
        f"learning rate   at each tenth of the steps{end}:",
        "                " + " ".join(f"{step:>8,}" for step in steps),
        "                " + " ".join(f"{rate:8.1e}" for rate in plan.learning_rates),
        *(["batch           " + " ".join(f"{size:>8,}" for size in plan.batches)] if plan.batches else []),
    ]


def _gate(plan: TrainingPlan) -> list[str]:
    """Headroom and power."""
    lines = [] if plan.base_success is None else [f"base            {plan.base_success:.1%} of the dev items"]
    if not plan.power:
        return lines
    lines.append(f"gate            {sum(plan.test_items.values()):,} test items")
    for test in ("exact", "midp", "corrected"):
        if test not in plan.power:
            continue
        effect, needed = (plan.power.get(f"{key}_{test}") for key in ("minimum_effect", "items_needed"))
        shown = f"{effect:.1%}" if effect is not None else "none"
        lines.append(
            f"                {test + ' test:':<15} power {plan.power[test]:.2f} at the planned lift, which needs "
            + (f"{needed:,.0f} items" if needed is not None else "more than 200,000 items")
            + f"; smallest lift found with the required power: {shown}"
        )
    return lines


def _benchmarks(plan: TrainingPlan) -> list[str]:
    """What the benchmarks of the capability report can decide, and what there is to read."""
    if not plan.benchmarks:
        return []
    tokens, new = (sum(getattr(b, field) for b in plan.benchmarks) for field in ("tokens", "new_tokens"))
    time = "time unknown: name model.card, or declare training.tokens_per_second"
    if plan.benchmark_seconds is not None:
        time = f"reading takes about {_duration(plan.benchmark_seconds)} in all"
    written = f" and writes up to {new:,}" if new else ""
    lines = [f"benchmarks      each of two models reads about {tokens:,} tokens{written}; {time}"]
    for b in plan.benchmarks:
        decides = f"at most {b.tolerable:,} may be lost with none won" if b.tolerable >= 0 else "CANNOT BE SHOWN"
        lines.append(
            f"                {b.name + ':':<15} {b.items:,} items rule out a loss of {100 * b.smallest_loss:.2g} points where "
            f"nothing changes; margin {100 * b.margin:g}: {decides}"
        )
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"

"""A training plan as text for the terminal."""

from sft_pipeline.artifacts import TrainingPlan

_MARKS = {"info": "note", "warning": "WARNING", "blocking": "BLOCKING"}


def summary(plan: TrainingPlan) -> str:
    """The plan's figures and findings, ending with whether the run may start."""
    tokens = plan.tokens_per_epoch
    padding = "unknown" if any(f.rule == "lengths_unknown" for f in plan.findings) else f"{plan.padding_share:.1%}"
    lines = [
        f"rows            {plan.train_rows:,}",
        f"steps           {plan.steps:,} of {plan.effective_batch} sequences, {plan.warmup_steps:,} of them warm-up",
        f"coverage        {plan.coverage:.3g} epochs",
        f"tokens          {tokens:,} per epoch ({tokens / plan.train_rows:.1f} per row), padding {padding}",
    ]
    if plan.total_parameters:
        share = plan.trainable_parameters / plan.total_parameters
        lines.append(
            f"parameters      {plan.trainable_parameters:,} trained of {plan.total_parameters:,} ({share:.3%})"
        )
        parts = ", ".join(f"{part} {_size(size)}" for part, size in plan.memory_bytes.items())
        lines.append(f"memory          about {_size(sum(plan.memory_bytes.values()))}: {parts}")
    lines.append("learning rate   at 0, 10, …, 100 % of the steps:")
    lines.append("                " + "  ".join(f"{rate:.2e}" for rate in plan.learning_rates))
    if plan.base_success is not None:
        lines.append(f"base            {plan.base_success:.1%} of the dev items")
    if plan.power:
        tests = [name for name in ("exact", "midp", "corrected") if name in plan.power]
        lines.append(
            f"gate            {sum(plan.test_items.values()):,} items; power "
            + ", ".join(f"{plan.power[test]:.2f} ({test})" for test in tests)
        )
        effects = [f"{plan.power[key]:.1%} ({t})" for t in tests if (key := f"minimum_effect_{t}") in plan.power]
        if effects:
            lines.append("                smallest lift found with the demanded power: " + ", ".join(effects))
        if "items_needed" in plan.power:
            lines.append(f"                the planned lift needs {plan.power['items_needed']:,.0f} items")
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


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"

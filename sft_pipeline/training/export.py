"""From the last checkpoint to the artifact: the chosen adapter, kept checkpoints, logs, manifest."""

import json
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import AdapterSnapshot, InstructionDataset
from sft_pipeline.dataset.leakage.training_data_hash import training_data_hash
from sft_pipeline.dataset.table import read_table
from sft_pipeline.experiment import HubBase
from sft_pipeline.training import checkpoints, manifest, schedule
from sft_pipeline.training.callbacks.logging import LOG, complete
from sft_pipeline.training.trl_config import options


def assemble(experiment, base, guard, plan, train, dev, tokenizer, encoded, end, start, out) -> AdapterSnapshot:
    """Write the artifact from the last checkpoint `end`; `start` is where this process took the training up."""
    from sft_pipeline.report.training import plots as training_plots

    training = experiment.training
    state = json.loads((end.folder / "trainer_state.json").read_text())
    rows = manifest.deterministic_rows(state["log_history"])
    kept = end.folder.parent / "kept"
    saved = sorted(int(folder.name) for folder in kept.iterdir())
    best = _best(rows, saved, end.step)
    chosen = best if training.adapter == "best" else end.step
    wanted = {"all": set(saved), "best_and_last": {best, end.step}, "last": {end.step}}[training.keep_checkpoints]
    base_name = base.source if isinstance(experiment.model.source, HubBase) else None
    checkpoints.save_adapter(kept / str(chosen), out / "adapter", base_name)
    tokenizer.inner.save_pretrained(out / "adapter")
    steps = sorted(wanted - {chosen})
    for step in steps:
        checkpoints.save_adapter(kept / str(step), out / "checkpoints" / str(step), base_name)
    (out / "log_history.json").write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    (out / "trainer_state.json").write_text(json.dumps(state, indent=1) + "\n")
    training_plots.curves(rows, out / "loss.png")

    losses = [float(row["loss"]) for row in rows if "loss" in row]
    dev_losses = [(row["step"], row["eval_loss"]) for row in rows if "eval_loss" in row]
    tokens = max(row.get("num_tokens", 0) for row in rows)
    measurements = {
        "seconds": round(end.seconds, 2),
        "tokens": int(tokens),
        "tokens_per_second": round(tokens / end.seconds, 1),
        "peak_memory_bytes": _peak_memory(end.folder.parent / LOG),
        "resumed_at_step": start.step if start else 0,
    }
    learned = len(encoded.examples)
    result = {
        "steps": end.step,
        "step": chosen,
        "epochs": round(schedule.samples_seen(learned, training, end.step) / learned, 6),
        "loss_first": losses[0],
        "loss_last": losses[-1],
        # That of the chosen step; the last step need not have an evaluation, then that of the one before it.
        "dev_loss": next((loss for step, loss in reversed(dev_losses) if step <= chosen), None),
    }
    made = options(experiment, plan, bool(dev_losses))
    manifest.write(out, experiment, base, guard, plan, train, dev, encoded, made, measurements, result)
    return AdapterSnapshot.finalize(
        out,
        **result,
        trainable_parameters=_parameters(out / "adapter" / "adapter_model.safetensors"),
        checkpoints=tuple(steps),
        masked_rows=len(encoded.masked),
        training_data=training_data(train, dev),
        measurements=measurements,
    )


def _best(rows: list[dict[str, Any]], saved: list[int], last: int) -> int:
    """The earliest saved step with the lowest dev loss; the last one where there was no evaluation."""
    losses = {row["step"]: row["eval_loss"] for row in rows if isinstance(row.get("eval_loss"), float)}
    return min((step for step in saved if step in losses), key=lambda step: (losses[step], step), default=last)


def training_data(train: InstructionDataset, dev: InstructionDataset) -> tuple[str, str]:
    """Hashes of the rows that decided the adapter, as the proofs of the dev and of the test split name them."""
    rows = [read_table(split.path(split.ROWS), ["instruction", "response", "group"]) for split in (train, dev)]
    return training_data_hash(rows[0]), training_data_hash(*rows)


def _parameters(weights: Path) -> int:
    from math import prod

    from safetensors import safe_open

    with safe_open(weights, framework="np") as tensors:
        return sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118


def _peak_memory(log: Path) -> int:
    """Peak memory over all log rows: this process may not have trained, or not all of it; 0 where there is no row."""
    return max((row.get("peak_memory_bytes", 0) for row in complete(log)), default=0)

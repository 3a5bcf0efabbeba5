"""From the last checkpoint to the artifact: the chosen adapter, kept checkpoints, logs, manifest."""

import json
import logging
from pathlib import Path
from typing import Any

from sft_pipeline.artifacts import AdapterSnapshot, GuardReport, InstructionDataset, SeriesPoint, SeriesReport
from sft_pipeline.dataset.leakage.training_data_hash import training_data_hash
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import TrainingError
from sft_pipeline.experiment import HubBase
from sft_pipeline.model.adapter_fit import dead
from sft_pipeline.model.tokenizer import CleanTokenizer
from sft_pipeline.provenance import journal
from sft_pipeline.training import checkpoints, live, manifest, schedule
from sft_pipeline.training.callbacks.logging import LOG, deterministic
from sft_pipeline.training.distributed import Job
from sft_pipeline.training.tokenization import Encoded
from sft_pipeline.training.trl_config import options

logger = logging.getLogger("sft_pipeline.training")

LOADED = "loaded.json"
"""What the base model was as it was loaded to be trained, in the work folder: weights by type, dropout, packing."""


def export(
    job: Job,
    guard: GuardReport,
    tokenizer: CleanTokenizer,
    encoded: Encoded,
    end: checkpoints.Checkpoint,
    out: Path,
) -> AdapterSnapshot:
    """Write the artifact.

    Args:
        job: what was trained, and the checkpoint that this process resumed from.
        guard: the guard's report on the base.
        tokenizer: the clean tokenizer, which goes with the adapter.
        encoded: the training rows.
        end: the last checkpoint.
        out: empty folder.
    """
    from sft_pipeline.report.training import plots as training_plots

    experiment, training = job.experiment, job.experiment.training
    state = json.loads((end.folder / "trainer_state.json").read_text())
    records = deterministic(state["log_history"])
    kept = end.folder.parent / "kept"
    saved = sorted(int(folder.name) for folder in kept.iterdir())
    best, best_by = _best(job, records, saved, end.step)
    chosen = best if training.adapter == "best" else end.step
    wanted = {"all": set(saved), "best_and_last": {best, end.step}, "last": {end.step}}[training.keep_checkpoints]
    base_name = job.base.source if isinstance(experiment.model.source, HubBase) else None
    checkpoints.save_adapter(kept / str(chosen), out / "adapter", base_name)
    tokenizer.save(out / "adapter")
    _require_alive(out / "adapter" / "adapter_model.safetensors", chosen)
    steps = sorted(wanted - {chosen})
    for step in steps:
        checkpoints.save_adapter(kept / str(step), out / "checkpoints" / str(step), base_name)
    live.export(job.work, out, {chosen, *steps})
    (out / "log_history.json").write_text(json.dumps(records, indent=1, allow_nan=False) + "\n")
    (out / "trainer_state.json").write_text(json.dumps(state, indent=1) + "\n")
    training_plots.curves(records, out / "loss.png")

    losses = [float(record["loss"]) for record in records if "loss" in record]
    dev_losses = [(record["step"], record["eval_loss"]) for record in records if "eval_loss" in record]
    tokens = max(record.get("num_tokens", 0) for record in records)
    measurements = {
        "seconds": round(end.seconds, 2),
        "tokens": int(tokens),
        "tokens_per_second": round(tokens / end.seconds, 1),
        "peak_memory_bytes": _peak_memory(end.folder.parent / LOG),
        "waiting_share": _waiting_share(end.folder.parent / LOG),
        "resumed_at_step": job.start.step if job.start else 0,
    }
    rows = len(encoded.examples)
    result: dict[str, Any] = {
        "steps": end.step,
        "step": chosen,
        "epochs": round(schedule.samples_seen(rows, training, end.step) / rows, 6),
        "loss_first": losses[0],
        "loss_last": losses[-1],
        # That of the chosen step; the last step need not have an evaluation, then that of the one before it.
        "dev_loss": next((loss for step, loss in reversed(dev_losses) if step <= chosen), None),
    }
    loaded = json.loads((end.folder.parent / LOADED).read_text())
    packed = loaded.get("batching", {}).get("used") == "packed"
    made = options(experiment, job.plan, bool(dev_losses), packed)
    by = best_by if training.adapter == "best" else "last"
    manifest.write(out, job, guard, encoded, loaded, made, measurements, result, by)
    return AdapterSnapshot.finalize(
        out,
        **result,
        trainable_parameters=_parameters(out / "adapter" / "adapter_model.safetensors"),
        checkpoints=tuple(steps),
        masked_rows=len(encoded.masked),
        training_data=training_data(job.train, job.dev),
        measurements=measurements,
    )


def _best(job: Job, records: list[dict[str, Any]], saved: list[int], last: int) -> tuple[int, str]:
    """The best saved step, and by what: success on dev where that is declared, else the dev loss; `last` without evaluations.

    Where the evaluator has failed, and not every saved step has its success, the dev loss decides.
    """
    losses = {r["step"]: r["eval_loss"] for r in records if isinstance(r.get("eval_loss"), float)}
    if job.experiment.training.best_by == "dev_success":
        found = live.results(job.work)
        points = {r["step"]: SeriesPoint.model_validate(r["point"]) for r in found if "eval_success" in r}
        if missing := [step for step in saved if step not in points]:
            logger.warning(
                "success on dev cannot choose the best checkpoint, it is not known of step %s: the dev loss decides",
                ", ".join(map(str, missing)),
            )
        else:
            rule = job.experiment.evaluation.series.best
            series = SeriesReport(root=job.work, split="dev", rule=rule, points=tuple(points[step] for step in saved))
            return series.best.step, "dev_success"
    best = min((step for step in saved if step in losses), key=lambda step: (losses[step], step), default=last)
    return best, "dev_loss" if losses else "last"


def training_data(train: InstructionDataset, dev: InstructionDataset) -> tuple[str, str]:
    """Hashes of the rows that decide the adapter, as the proofs of the dev and of the test split name them."""
    rows = [read_table(split.path(split.ROWS), ["instruction", "response", "group"]) for split in (train, dev)]
    return training_data_hash(rows[0]), training_data_hash(*rows)


def _parameters(weights: Path) -> int:
    from math import prod

    from safetensors import safe_open

    with safe_open(weights, framework="np") as tensors:
        return sum(prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118


def _require_alive(weights: Path, step: int) -> None:
    """Refuse an adapter that changes nothing.

    Raises:
        TrainingError: every lora_B is zero, as it was at the beginning.
    """
    if dead(weights):
        raise TrainingError(
            f"the adapter of step {step} is dead: every lora_B is zero, as before the training, so it changes nothing. No "
            "gradient has reached it, or the learning rate was 0 up to there: look at grad_norm and learning_rate in the log; "
            "with fsdp, leave training.compile out, or train without fsdp"
        )


def _waiting_share(log: Path) -> float:
    """Share of the logged time in which steps waited for their rows."""
    records = [record for record in journal.read(log) if "waiting_share" in record]
    seconds = sum(record["seconds"] for record in records)
    return round(sum(r["waiting_share"] * r["seconds"] for r in records) / seconds, 4) if seconds else 0.0


def _peak_memory(log: Path) -> int:
    """Peak memory (bytes) over all log records: this process may not have trained, or not all of it; 0 without a record."""
    return max((record.get("peak_memory_bytes", 0) for record in journal.read(log)), default=0)

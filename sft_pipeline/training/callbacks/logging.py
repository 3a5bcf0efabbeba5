"""The log records as they come: in a journal, with the trackers, and as a line of text."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.provenance.journal import Journal
from sft_pipeline.training.callbacks.trackers import Trackers

if TYPE_CHECKING:
    from transformers import TrainerCallback

logger = logging.getLogger("sft_pipeline.training")

LOG = "training_log.jsonl"
"""Every log record with times and memory, one JSON object per line."""

KINDS = {"loss": "training", "eval_loss": "dev", "eval_items": "series"}
"""Kinds of log records, by the key that only they have."""

_TIMES = ("_runtime", "_per_second")


def journal(path: Path, after: int) -> Journal:
    """The journal in `path` without what lies beyond step `after`: the resumed run writes it again."""
    return Journal(path, keep=lambda record: record["step"] <= after, durable=False)


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with non-finite numbers as their names, which JSON can hold."""
    return {k: repr(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}


def deterministic(log_history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The log records without what differs between two identical runs."""
    return [
        finite({key: value for key, value in record.items() if not key.endswith(_TIMES)})
        for record in log_history
        if "train_runtime" not in record
    ]


def reporting(
    journal: Journal, trackers: Trackers, on_log: Callable[[dict[str, Any]], None] | None
) -> "TrainerCallback":
    """A callback that hands on every log record: to journal, trackers and `on_log`; without `on_log`, to the log."""
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Reporting(TrainerCallback):
        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: Mapping[str, Any] | None = None,
            **kwargs: Any,
        ) -> None:
            record = {"step": state.global_step, "steps": state.max_steps, **(logs or {})}
            # The trackers first: should the process end in between, they get the record twice rather than never.
            trackers.log(record)
            journal.add(finite({"time": round(time.time(), 3), **record}))
            announce(record, on_log)

    return Reporting()


def announce(record: dict[str, Any], on_log: Callable[[dict[str, Any]], None] | None) -> None:
    """Hand a log record to `on_log`; without it, to the log."""
    if on_log is not None:
        on_log(record)
    elif text := line(record):
        logger.info(text)


def kind(record: Mapping[str, Any]) -> str:
    """What a log record is about: `training`, `dev` (its loss), `series` (its answers), or nothing for the last summary."""
    return next((name for key, name in KINDS.items() if key in record), "")


def line(record: Mapping[str, Any]) -> str:
    """A log record for people, such as `training 130/1368  loss 0.5321  rate 9.9e-05  …`; empty for the last summary."""
    shown = figures(record)
    return f"{kind(record)} {record['step']}/{record['steps']}  {shown}" if shown else ""


def figures(record: Mapping[str, Any]) -> str:
    """The figures of a log record for people; empty for the last summary."""
    if not kind(record):
        return ""
    prefix = "" if "loss" in record else "eval_"
    formats = {
        prefix + "loss": "loss {:.4f}",
        "learning_rate": "rate {:.2e}",
        "grad_norm": "gradient {:.3g}",
        prefix + "mean_token_accuracy": "accuracy {:.1%}",
        prefix + "entropy": "entropy {:.3f}",
        "num_tokens": "{:,.0f} tokens",
        "tokens_per_second": "{:,.0f}/s",
        "memory_bytes": "{:,.1f} GB",
        "lora_norm_max": "update {:.3g}",
        "eval_success": "success {:.1%}",
        "eval_items": "{} items",
        "eval_truncated_share": "truncated {:.1%}",
        "eval_seconds": "{:.0f} s",
    }
    return "  ".join(
        text.format(record[name] / 1e9 if name == "memory_bytes" else record[name])
        for name, text in formats.items()
        if name in record
    )

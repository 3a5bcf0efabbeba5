"""The log rows as they come: a file of JSON lines, a line of text, and whoever wants to be told."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.provenance import files
from sft_pipeline.training.callbacks.trackers import Trackers

if TYPE_CHECKING:
    from transformers import TrainerCallback

logger = logging.getLogger("sft_pipeline.training")

LOG = "training_log.jsonl"
"""Every log row with times and memory, one JSON object per line."""


class Lines:
    """A file of JSON lines with a `step` each, in which a resumed run leaves what an uninterrupted one would."""

    def __init__(self, path: Path, after: int):
        """Open `path` and drop every row beyond step `after`: the run will write them again."""
        self.path = path
        files.write(path, "".join(_json(row) for row in complete(path) if row["step"] <= after))

    def add(self, *rows: Mapping[str, Any]) -> None:
        """Append rows; they are in the file when this returns."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.writelines(map(_json, rows))


def complete(path: Path) -> Iterator[dict[str, Any]]:
    """The rows in a file of JSON lines, without one that a process was killed over; none where there is no file."""
    # Bytes are split at line feeds, text also at characters that an answer may hold as they are, such as U+2028.
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _json(row: Mapping[str, Any]) -> str:
    finite = {k: repr(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    return json.dumps(finite, ensure_ascii=False) + "\n"


def reporting(lines: Lines, trackers: Trackers, on_log: Callable[[dict[str, Any]], None] | None) -> "TrainerCallback":
    """A callback that hands every log row on: to the file, the trackers and `on_log`; without that, to the log."""
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            row = {"step": state.global_step, "steps": state.max_steps, **(logs or {})}
            # The trackers first: should the process end in between, they get the row twice rather than never.
            trackers.log(row)
            lines.add({"time": round(time.time(), 3), **row})
            if on_log is not None:
                on_log(row)
            elif text := line(row):
                logger.info(text)

    return Reporting()


def line(row: Mapping[str, Any]) -> str:
    """A log row for people, such as `training 130/1368  loss 0.5321  rate 9.9e-05  …`; nothing for the last summary."""
    if "loss" not in row and "eval_loss" not in row:
        return ""
    before = "" if "loss" in row else "eval_"
    parts = [f"{'training' if not before else 'dev'} {row['step']}/{row['steps']}", f"loss {row[before + 'loss']:.4f}"]
    formats = {
        "learning_rate": "rate {:.2e}",
        "grad_norm": "gradient {:.3g}",
        before + "mean_token_accuracy": "accuracy {:.1%}",
        before + "entropy": "entropy {:.3f}",
        "num_tokens": "{:,.0f} tokens",
        "tokens_per_second": "{:,.0f}/s",
        "memory_bytes": "{:,.1f} GB",
        "lora_norm_max": "update {:.3g}",
    }
    parts += [
        text.format(row[name] / 1e9 if name == "memory_bytes" else row[name])
        for name, text in formats.items()
        if name in row
    ]
    return "  ".join(parts)

"""The watchdog: a run that cannot recover is aborted at once, and is not started again by itself.

It aborts a run whose loss is NaN, infinite or exactly 0, no weight of which gets a gradient, or whose loss diverged: it
stays well above the one that the untrained adapter began with. On the same rows and weights a second attempt would end
the same way, so `aborted.json` in the work folder refuses it; the checkpoints from before stay where they are.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from sft_pipeline.diagnosis.log import ABORTED_KEY
from sft_pipeline.diagnosis.rules.loss import SUSTAINED, VANISHED_RECORDS, carries_nothing, stays_above
from sft_pipeline.errors import TrainingError
from sft_pipeline.provenance import files
from sft_pipeline.training.callbacks.early_stopping import Ending
from sft_pipeline.training.callbacks.logging import deterministic

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl
    from trl import SFTTrainer

ZERO_STEPS = 10
"""Steps one after the other with a gradient of exactly 0 after which a run is aborted."""

START_RECORDS = 3
"""Log records whose median loss is the level that the run began with."""

EVERY_RECORD = 5.0
"""Standard deviations of a record by which a diverged loss lies above that level: it is tested after every record, and
each test may be wrong. Of simulated sound runs that log single examples at most 1 % are aborted at 5 (35 % at 0)."""

ABORTED = "aborted.json"
"""Why the run in this work folder was stopped."""

ABORTED_LOG = "aborted_log_history.json"
"""The log records of that run."""


def watchdog(trainer: "SFTTrainer", ending: Ending) -> "TrainerCallback":
    """A callback that aborts a run that cannot recover, and writes the reason to `ending`.

    The gradient norm of every step is compared on the device; the result is read only every `ZERO_STEPS` steps, because
    reading waits for the device.

    Args:
        trainer: its `grad_norm` is that of the step at hand.
        ending: gets the reason.
    """
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Watchdog(TrainerCallback):
        zeros: Any = 0

        def on_pre_optimizer_step(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            self.zeros = (self.zeros + 1) * (trainer.grad_norm == 0)

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            if state.global_step % ZERO_STEPS == 0 and int(self.zeros) >= ZERO_STEPS:
                ending.aborted = f"the gradient was exactly 0 in the {int(self.zeros)} steps up to {state.global_step}"
                control.should_log = True
                _stop(control)

        def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
            ending.aborted = ending.aborted or abort_reason(state.log_history)
            if ending.aborted:
                _stop(control)

    return Watchdog()


def _stop(control: "TrainerControl") -> None:
    control.should_training_stop = True
    # What is saved now the next attempt would resume from.
    control.should_save = False


def abort_reason(log_history: Sequence[Mapping[str, Any]]) -> str:
    """Why the run with this log cannot recover as of its last record, or nothing.

    The limits are far from what a training that works ever shows; what is merely suspicious is left to the diagnosis.

    Args:
        log_history: log records as in `trainer_state.json`.
    """
    last = log_history[-1]
    for name in ("loss", "eval_loss"):
        if name in last and not math.isfinite(last[name]):
            return f"{name} is {last[name]} at step {last['step']}"
    records = [row for row in log_history if "loss" in row]
    if not records or "loss" not in last:
        return ""
    empty = takewhile(lambda row: carries_nothing(row["loss"], row.get("grad_norm")), reversed(records))
    if len(list(empty)) >= VANISHED_RECORDS:
        return f"the loss is exactly 0 in {VANISHED_RECORDS} log records up to step {last['step']}"
    still = takewhile(lambda row: row.get("grad_norm") == 0.0, reversed(records))
    if len(list(still)) >= SUSTAINED:
        return f"the gradient norm is exactly 0 in {SUSTAINED} log records up to step {last['step']}"
    if len(records) >= START_RECORDS + SUSTAINED:
        losses = [row["loss"] for row in records]
        began = median(losses[:START_RECORDS])
        if stays_above(losses, began, EVERY_RECORD):
            return (
                f"it diverged: the loss began at {began:.4g} and is at least {min(losses[-SUSTAINED:]):.4g} in the "
                f"{SUSTAINED} log records up to step {last['step']}"
            )
    return ""


def refuse_aborted(work: Path, run: str) -> None:
    """Refuse to resume a training that the watchdog aborted; `run` is its fingerprint.

    Raises:
        TrainingError: with the reason of the abort, and what can be done; also where the reason cannot be read any more.
    """
    if not (work / ABORTED).exists():
        return
    try:
        record = json.loads((work / ABORTED).read_bytes())
        fingerprint, message = record["fingerprint"], record["message"]
    except (ValueError, TypeError, KeyError) as error:
        # Only an aborted run leaves the file: resuming might cost the time of a whole training.
        raise TrainingError(
            f"{work / ABORTED} cannot be read ({error}). It says that a training in this folder was aborted. Look at "
            f"{work / ABORTED_LOG}, then delete {ABORTED} to resume from the last checkpoint all the same."
        ) from error
    if fingerprint == run:
        raise TrainingError(
            f"this training was aborted before, and the same specification, data and base would lead there again. "
            f"Change the specification, or delete {work / ABORTED} to resume from the last checkpoint all the same.\n{message}"
        )


def record_abort(reason: str, log_history: Sequence[Mapping[str, Any]], work: Path, run: str) -> str:
    """The message of a run that the watchdog aborted, with its diagnosis; log and message stay in `work`.

    The log names the reason: its records alone may not show it, for the watchdog looks at every step.
    """
    from sft_pipeline.diagnosis.diagnose import judge

    records = [*deterministic(log_history), {ABORTED_KEY: reason}]
    files.write(work / ABORTED_LOG, json.dumps(records, indent=1))
    found = [finding for finding in judge(records)[0] if finding.severity == "blocking"]
    saved = sorted(int(folder.name.rpartition("-")[2]) for folder in work.glob("checkpoint-*"))
    message = "\n".join(
        [
            f"the run was aborted: {reason}; its log is in {work / ABORTED_LOG}",
            *(f"  → {f.remedy}" if f.rule == "aborted" else f"- {f.evidence}\n  → {f.remedy}" for f in found),
            f"checkpoints from before: {', '.join(map(str, saved)) or 'none'}",
        ]
    )
    files.write(work / ABORTED, json.dumps({"fingerprint": run, "reason": reason, "message": message}, indent=1))
    return message

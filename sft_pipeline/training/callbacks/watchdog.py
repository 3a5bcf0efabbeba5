"""The watchdog: a run that is provably lost ends at once, and is not begun again by itself.

Lost is a run whose loss is no number, whose loss is exactly 0, no weight of which gets a gradient, or whose loss stays
well above the one that the untrained adapter began with. On the same rows and weights a second attempt would end the
same way, so `lost.json` in the work folder refuses it; the checkpoints from before stay where they are.
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

if TYPE_CHECKING:
    from transformers import TrainerCallback

ZERO_STEPS = 10
"""Steps one after the other with a gradient of exactly 0 after which a run is lost."""

START_ROWS = 3
"""Log rows whose median loss is the level that the run began with."""

EVERY_ROW = 5.0
"""Standard deviations of a row by which a diverged loss lies above that level: it is looked at after every row, and each
look may be deceived. Of made-up sound runs whose rows are single examples 1 % at most are stopped at 5 (35 % at 0)."""

LOST = "lost.json"
"""Why the run in this work folder was stopped."""

LOST_HISTORY = "lost_log_history.json"
"""The log rows of that run."""


def watchdog() -> "TrainerCallback":
    """A callback that stops a run that is lost.

    Its attribute `reason` says why it stopped the run; it is empty for a run that went to its end. The gradient is looked
    at in every step, on the device; whether it was 0 is only asked every `ZERO_STEPS` steps, because asking waits for
    the device.
    """
    import torch
    from transformers import TrainerCallback

    class Watchdog(TrainerCallback):
        reason = ""
        zeros: Any = 0

        def on_train_begin(self, args, state, control, model=None, **kwargs):
            self.weights = [p for p in model.parameters() if p.requires_grad]

        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            if args.fsdp:  # a process's own share of the gradient may well be 0; the logged norm is the whole one's
                return
            gradients = [p.grad for p in self.weights if p.grad is not None]
            alive = torch.stack(torch._foreach_norm(gradients)).any() if gradients else torch.tensor(False)
            self.zeros = (self.zeros + 1) * ~alive

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step % ZERO_STEPS == 0 and int(self.zeros) >= ZERO_STEPS:
                self.reason = f"the gradient was exactly 0 in the {int(self.zeros)} steps up to {state.global_step}"
                control.should_log = True
                _stop(control)

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.reason = self.reason or lost(state.log_history)
            if self.reason:
                _stop(control)

    return Watchdog()


def _stop(control) -> None:
    control.should_training_stop = True
    # What is saved now would be taken up by the next attempt.
    control.should_save = False


def lost(log_history: Sequence[Mapping[str, Any]]) -> str:
    """Why the run with this log is lost as of its last row, or nothing.

    The limits are far from what a training that works ever shows; what is merely suspicious is for the diagnosis.

    Args:
        log_history: rows as in `trainer_state.json`.
    """
    last = log_history[-1]
    for name in ("loss", "eval_loss"):
        if name in last and not math.isfinite(last[name]):
            return f"{name} is {last[name]} at step {last['step']}"
    rows = [row for row in log_history if "loss" in row]
    if not rows or "loss" not in last:
        return ""
    empty = takewhile(lambda row: carries_nothing(row["loss"], row.get("grad_norm")), reversed(rows))
    if len(list(empty)) >= VANISHED_RECORDS:
        return f"the loss is exactly 0 in {VANISHED_RECORDS} log rows up to step {last['step']}"
    still = takewhile(lambda row: row.get("grad_norm") == 0.0, reversed(rows))
    if len(list(still)) >= SUSTAINED:
        return f"the gradient norm is exactly 0 in {SUSTAINED} log rows up to step {last['step']}"
    if len(rows) >= START_ROWS + SUSTAINED:
        losses = [row["loss"] for row in rows]
        began = median(losses[:START_ROWS])
        if stays_above(losses, began, EVERY_ROW):
            return (
                f"it diverged: the loss began at {began:.4g} and is at least {min(losses[-SUSTAINED:]):.4g} in the "
                f"{SUSTAINED} log rows up to step {last['step']}"
            )
    return ""


def refuse_aborted(work: Path, run: str) -> None:
    """Refuse to go on with a training that the watchdog stopped; `run` is its fingerprint.

    Raises:
        TrainingError: saying why it was stopped, and what can be done; also where that cannot be read any more.
    """
    if not (work / LOST).exists():
        return
    try:
        said = json.loads((work / LOST).read_bytes())
        lost_run, message = said["fingerprint"], said["message"]
    except (ValueError, TypeError, KeyError) as error:
        # Only a lost run leaves the file: to go on might cost the time of a whole training, to ask costs a look.
        raise TrainingError(
            f"{work / LOST} cannot be read, and it is there because a training in this folder was stopped as lost. Look at "
            f"{work / LOST_HISTORY}, then delete it to go on from the last checkpoint all the same. ({error})"
        ) from error
    if lost_run == run:
        raise TrainingError(
            f"this training has been stopped before, and the same specification, data and base would lead there again. "
            f"Change the specification, or delete {work / LOST} to go on from the last checkpoint all the same.\n{message}"
        )


def record_abort(reason: str, log_history: Sequence[Mapping[str, Any]], work: Path, run: str) -> str:
    """The message of a run that the watchdog stopped, with its diagnosis; log and message stay in `work`.

    The log says why the run was stopped: the rows alone may not show it, for the watchdog looks at every step.
    """
    from sft_pipeline.diagnosis.diagnose import judge
    from sft_pipeline.training.manifest import deterministic_rows

    rows = [*deterministic_rows(log_history), {ABORTED_KEY: reason}]
    files.write(work / LOST_HISTORY, json.dumps(rows, indent=1))
    found = [finding for finding in judge(rows)[0] if finding.severity == "blocking"]
    saved = sorted(int(folder.name.rpartition("-")[2]) for folder in work.glob("checkpoint-*"))
    message = "\n".join(
        [
            f"the run was stopped because it is lost: {reason}; its log is in {work / LOST_HISTORY}",
            *(f"  → {f.remedy}" if f.rule == "aborted" else f"- {f.evidence}\n  → {f.remedy}" for f in found),
            f"checkpoints from before: {', '.join(map(str, saved)) or 'none'}",
        ]
    )
    files.write(work / LOST, json.dumps({"fingerprint": run, "reason": reason, "message": message}, indent=1))
    return message

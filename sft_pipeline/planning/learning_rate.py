"""The learning rate in a plan, and the intervals of logging, saving and evaluating."""

import math

from sft_pipeline.artifacts import Finding
from sft_pipeline.diagnosis.rules.learning_rate import LORA, NOTHING, QLORA, TOO_HIGH
from sft_pipeline.diagnosis.rules.loss import UNDECIDABLE, VERY_FEW
from sft_pipeline.experiment import Experiment, Training
from sft_pipeline.planning.architecture import Base

SMALL = 100_000_000
"""Weights below which a model tolerates ten times the usual learning rate."""

NO_DEV = "all rows of the dev split are fully masked"
DEV_REMEDY = "give it rows (data.split.dev_size) whose prompts are shorter than training.max_length"


def rates(steps: int, warmup: int, negligible: int | None, experiment: Experiment, base: Base | None) -> list[Finding]:
    """Peak, warm-up and decay of the learning rate."""
    training, found = experiment.training, []
    quantised = experiment.model.quantization != "none"
    low, high = QLORA if quantised else LORA
    high *= 10 if base and base.parameters < SMALL else 1
    if not NOTHING <= training.learning_rate <= TOO_HIGH:  # the diagnosis would block it, whatever the course
        evidence = f"peak learning rate {training.learning_rate:g} is outside {NOTHING:g} to {TOO_HIGH:g}, where no training succeeds"
        remedy = "set learning_rate to 1e-4 or 2e-4, a common start for an adapter"
        found.append(Finding(rule="learning_rate", severity="blocking", evidence=evidence, remedy=remedy))
    elif not low <= training.learning_rate <= high:
        kind = "an adapter on a quantised base" if quantised else "an adapter on such a model"
        evidence = f"peak learning rate {training.learning_rate:g} is outside the usual {low:g} to {high:g} for {kind}"
        remedy = "too small a rate learns nothing, too large a one diverges; 1e-4 to 2e-4 is a common start"
        found.append(Finding(rule="learning_rate", severity="warning", evidence=evidence, remedy=remedy))
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
    if negligible is not None:
        evidence = (
            f"from step {negligible:,} of {steps:,} on the learning rate is below 1 % of its peak: the last "
            f"{(steps - negligible) / steps:.0%} of the run changes next to nothing"
        )
        found.append(Finding(rule="rate_negligible", severity="info", evidence=evidence))
    if "warmup_ratio" in training.model_fields_set and training.warmup_steps is not None:
        evidence = f"warmup_ratio {training.warmup_ratio:g} is ignored: warmup_steps {training.warmup_steps} is given"
        found.append(
            Finding(rule="warmup_ratio_ignored", severity="warning", evidence=evidence, remedy="give one of them")
        )
    return found


def intervals(steps: int, training: Training, dev_rows: int | None) -> list[Finding]:
    """Saving, logging and evaluating often enough for a resume, a diagnosis, an early stop and a choice.

    Args:
        steps: planned steps.
        training: the hyperparameters.
        dev_rows: rows of the dev split that are not fully masked; None where they are not known.
    """
    found = [
        *_no_best(training, dev_rows),
        *_evaluations(steps, training, dev_rows),
        *_log_rows(steps, training, dev_rows),
    ]
    if training.save_steps > steps:
        found.append(
            Finding(
                rule="save_steps",
                severity="warning",
                evidence=f"save_steps {training.save_steps} > {steps} steps: only the end is saved, and a run that is "
                "killed starts from the beginning",
                remedy=f"set save_steps to {max(1, steps // 4)}",
            )
        )
    every, stop = training.eval_interval, training.early_stopping
    field = "eval_steps"
    if training.best_by == "dev_success":  # measured at checkpoints
        every, field = training.save_steps, "save_steps"
    if stop and steps // every <= stop.patience:
        found.append(
            Finding(
                rule="early_stopping_idle",
                severity="warning",
                evidence=f"early stopping waits for {stop.patience} evaluations without improvement, but {steps:,} steps "
                f"have only {steps // every}: it can never take effect",
                remedy=f"set {field} to {max(1, steps // (4 * stop.patience))} or so",
            )
        )
    return found


def _log_rows(steps: int, training: Training, dev_rows: int | None) -> list[Finding]:
    """Whether the log will suffice for the diagnosis, which decides whether the adapter is evaluated."""
    log, save = training.logging_steps, training.save_steps
    # A record is logged at every checkpoint, too, and at the end.
    count = steps // log + steps // save - steps // math.lcm(log, save) + bool(steps % log and steps % save)
    if count >= VERY_FEW:
        return []
    evaluations = _evaluation_count(steps, training, dev_rows)
    evidence = f"logging_steps {log} and save_steps {save} give {count} log record{'s' if count != 1 else ''} over {steps} steps"
    remedy = f"set logging_steps to {max(1, steps // 20)}"
    if max(count, evaluations) >= UNDECIDABLE:
        evidence += ": too few for most rules of the diagnosis"
        return [Finding(rule="few_log_records", severity="warning", evidence=evidence, remedy=remedy)]
    evidence += f" and {evaluations} on dev: the diagnosis needs {UNDECIDABLE} of either, and would block the adapter"
    remedy = remedy if steps >= UNDECIDABLE else f"train for {UNDECIDABLE} steps or more, with logging_steps 1"
    return [Finding(rule="few_log_records", severity="blocking", evidence=evidence, remedy=remedy)]


def _evaluation_count(steps: int, training: Training, dev_rows: int | None) -> int:
    return 0 if dev_rows == 0 else -(-steps // training.eval_interval)  # the trainer evaluates at the end, too


def _evaluations(steps: int, training: Training, dev_rows: int | None) -> list[Finding]:
    """Whether there are the evaluations by which the declared minimum is measured, and one before the end."""
    every = training.eval_interval
    count = _evaluation_count(steps, training, dev_rows)
    found = []
    for name, needed in (("min_dev_loss_drop", 2), ("max_perplexity", 1)):
        if getattr(training.minimum, name) is None or count >= needed:
            continue
        evidence = f"minimum.{name} is measured by {needed} evaluation{'s' if needed > 1 else ''} on dev or more, but "
        if dev_rows == 0:
            evidence += NO_DEV
            remedy = DEV_REMEDY
        else:
            evidence += f"{steps:,} steps with one every {every:,} and at the end have {count}"
            remedy = f"set eval_steps to {max(1, steps // 4):,}"
        remedy += f", or leave minimum.{name} out: the training could not succeed"
        found.append(Finding(rule="minimum_unmeasured", severity="blocking", evidence=evidence, remedy=remedy))
    if every > steps and dev_rows != 0:
        evidence = f"evaluations come every {every:,} steps, and there are {steps:,}: the only one is at the end"
        remedy = f"set eval_steps to {max(1, steps // 4):,}"
        found.append(Finding(rule="one_evaluation", severity="info", evidence=evidence, remedy=remedy))
    return found


def _no_best(training: Training, dev_rows: int | None) -> list[Finding]:
    """`adapter: best` where no checkpoint would have an evaluation: the last one would count as the best."""
    if training.adapter != "best" or dev_rows != 0:
        return []
    early = " without early_stopping" if training.early_stopping else ""
    return [
        Finding(
            rule="no_best",
            severity="blocking",
            evidence=f"adapter: best takes the checkpoint that is best on dev, but {NO_DEV}",
            remedy=f"{DEV_REMEDY}, or set training.adapter to last{early}",
        )
    ]

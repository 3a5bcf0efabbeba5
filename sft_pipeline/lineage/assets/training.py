"""Plan, adapter and diagnosis."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    GuardReport,
    InstructionDataset,
    ModelSnapshot,
    SearchReport,
    TrainingPlan,
    TrainingReport,
)
from sft_pipeline.errors import PreconditionError
from sft_pipeline.lineage import asset_checks, metadata
from sft_pipeline.lineage.asset import SCORERS, Check, counted
from sft_pipeline.lineage.dependencies import decoding, scoring
from sft_pipeline.lineage.processes.devices import evaluates_on, require_evaluators_device, take_last
from sft_pipeline.lineage.step import Work, step
from sft_pipeline.lineage.tags import TRAINING
from sft_pipeline.provenance.code import code_hash
from sft_pipeline.provenance.environment import library_versions

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment

EVERY = 5.0
"""Seconds between two training records, and between two dev records, in the event log; of the live series it has all."""


def throttled(work: Work) -> Callable[[dict[str, Any]], None]:
    """Takes log records and logs the first and the last of each kind, and between them one in `EVERY` seconds.

    The event log is a database row and more for each line; the artifact's own log has all of them.
    """
    from sft_pipeline.training.callbacks.logging import figures, kind, line

    logged: dict[str, float] = {}

    def on_log(row: dict[str, Any]) -> None:
        now, about, step, steps = time.monotonic(), kind(row), row["step"], row["steps"]
        due = about not in logged or now - logged[about] >= EVERY or step == steps or about == "series"
        if due and (text := line(row)):
            logged[about] = now
            if about != "training":
                work.context.log.info(text)
            else:
                work.progressed("training", step, steps, text, figures(row))

    return on_log


def _planning(experiment: "Experiment", root: Path) -> dict[str, Any]:
    evaluation, benchmarks = experiment.evaluation, _benchmarks(experiment, root)
    asked = {"gate": evaluation.gate, "comparators": evaluation.comparators, "benchmarks": benchmarks}
    asked |= {"live": evaluation.series.live}
    parts = {"model": experiment.model, "training": experiment.training}
    return {**decoding(experiment), **scoring(experiment, root), **parts, **asked}


def _benchmarks(experiment: "Experiment", root: Path) -> dict[str, Any] | None:
    """Of the capability report how many items there are and what they must decide; nothing is asked or scored here."""
    from sft_pipeline.capabilities.items import content, paths

    spec = experiment.evaluation.capabilities
    if spec is None:
        return None
    files = content(spec, root)
    return {
        **spec.model_dump(mode="json", include={"benchmarks", "blocking"}),
        "files": {field: files[field] for field in paths(spec)},
    }


def _learning(experiment: "Experiment", root: Path) -> dict[str, Any]:
    training, model = experiment.training.cache_key, experiment.model.loading
    learned = {"prompt": experiment.prompt, "model": model, "training": training}
    if experiment.training.best_by == "dev_success":
        # The answers on dev choose the adapter, and so does their judgement.
        begins = ("evaluation/live_series.py", "generation/engines", *SCORERS)
        learned |= decoding(experiment) | {"scoring": scoring(experiment, root)}
        learned["rule"] = experiment.evaluation.series.best
        learned["evaluator"] = code_hash(*sorted(counted(begins)))
    return learned


def _guarded(work: Work, base_model_guard: GuardReport, **_: Any) -> None:
    require_evaluators_device(work.experiment)
    if base_model_guard.problems:  # the plan asks the base, which may take a device
        raise PreconditionError("plan refused, the guard says: " + "; ".join(base_model_guard.problems))


@step(
    TrainingPlan,
    group=TRAINING,
    docs="docs/how-to/training.md",
    code=["planning/inputs.py", "generation/engines", *SCORERS],
    borders={
        "provenance/store": "where artifacts lie",
    },
    depends=_planning,
    require=_guarded,
    metadata=metadata.plan,
    checks=[Check(asset_checks.plan_is_sane)],
    kinds=["pytorch"],
    cuda=True,
)
def training_plan(
    work: Work,
    train_split: InstructionDataset,
    dev_split: InstructionDataset,
    test_split: InstructionDataset,
    base_model: ModelSnapshot,
    base_model_guard: GuardReport,
) -> TrainingPlan:
    """Can the run work? Steps, coverage, schedule, memory, headroom of the base, power of the gate."""
    from sft_pipeline.planning.inputs import plan_from_artifacts

    return plan_from_artifacts(work.experiment, base_model, train_split, dev_split, test_split, work.root, work.out)


@step(
    AdapterSnapshot,
    group=TRAINING,
    docs="docs/how-to/training.md",
    code=["training/trainer.py", "training/worker.py"],
    borders={
        "diagnosis/diagnose.py": "words the message of an aborted run, which leaves no adapter",
        "diagnosis/rules": "recognizes an aborted run, which leaves no adapter",
        "evaluation/live_series.py": "answers beside the training; where success chooses, its code is in the key otherwise",
        "report": "pages and pictures beside the adapter, which are no part of its version",
    },
    depends=_learning,
    metadata=metadata.adapter,
    kinds=["huggingface", "pytorch"],
    cuda=True,
)
def lora_adapter(
    work: Work,
    train_split: InstructionDataset,
    dev_split: InstructionDataset,
    base_model: ModelSnapshot,
    base_model_guard: GuardReport,
    training_plan: TrainingPlan,
) -> AdapterSnapshot:
    """The adapter with its manifest, logs, checkpoints and TRAINING_SUCCESS marker.

    A killed training resumes at its newest complete checkpoint when it is materialized again.
    """
    from sft_pipeline.evaluation.live_series import evaluator
    from sft_pipeline.training.trainer import train

    where = evaluates_on(work.experiment)
    apart = where == "own" and work.experiment.model.device == "cuda"
    visible = take_last() if apart else None
    return train(
        work.experiment,
        base_model,
        base_model_guard,
        training_plan,
        train_split,
        dev_split,
        work.folder,
        work.out,
        on_log=throttled(work),
        evaluator=evaluator(work.experiment, base_model, dev_split, work.root, where, visible),
    )


@step(
    TrainingReport,
    group=TRAINING,
    docs="docs/how-to/training.md",
    code=["diagnosis/diagnose.py"],
    depends=lambda experiment, root: {"training": experiment.training},
    metadata=metadata.training,
    checks=[Check(asset_checks.training_is_healthy)],
    kinds=["json"],
)
def training_report(work: Work, lora_adapter: AdapterSnapshot, training_plan: TrainingPlan) -> TrainingReport:
    """The diagnosis: did the training learn, and if not, why, from its logs."""
    from sft_pipeline.diagnosis.diagnose import diagnose

    history = json.loads(lora_adapter.path("log_history.json").read_text())
    training, rows = work.experiment.training, training_plan.trained_rows
    batch = None if training.grows else training_plan.effective_batch  # then the log's own epochs are the coverage
    return diagnose(history, work.out, train_rows=rows, effective_batch=batch, training=training)


def _searching(experiment: "Experiment", root: Path) -> dict[str, Any]:
    if experiment.search is None:
        return {"search": None}
    judged_by = scoring(experiment, root) if experiment.search.objective == "dev_success" else {}
    divided = experiment.data.model_dump(mode="json", include={"split", "duplicates"})
    used = library_versions("optuna", "numpy", "scipy")
    return {
        **decoding(experiment),
        **judged_by,
        **_learning(experiment, root),
        "search": experiment.search,
        "data": divided,
        "sampler": used,
    }


def _searched(experiment: "Experiment") -> tuple[str, ...]:
    return ("train_split", "dev_split", "base_model", "base_model_guard") if experiment.search else ()


@step(
    SearchReport,
    group=TRAINING,
    docs="docs/how-to/search.md",
    code=["search/run.py", "training/worker.py", "generation/engines", *SCORERS],
    borders={
        "diagnosis/diagnose.py": "words the message of an aborted trial",
        "diagnosis/rules": "recognizes an aborted trial, which has no figure",
        "report": "pages, texts and pictures, which are no part of the report's version",
    },
    depends=_searching,
    inputs_of=_searched,
    metadata=metadata.search,
    kinds=["pytorch", "html"],
    cuda=True,
)
def search_report(
    work: Work,
    train_split: InstructionDataset,
    dev_split: InstructionDataset,
    base_model: ModelSnapshot,
    base_model_guard: GuardReport,
) -> SearchReport:
    """The declared search over hyperparameters, and whether its best is better than the default; empty where none is declared."""
    from sft_pipeline.search import run

    if work.experiment.search is None:
        return run.none(work.out)
    name, given = work.context.partition_key, (base_model, base_model_guard, train_split, dev_split)
    inputs = run.Inputs(work.experiment, name, *given, work.root, work.folder)
    return run.search(inputs, work.out, work.context.log.info)

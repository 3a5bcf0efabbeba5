"""Plan, adapter and diagnosis."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    GuardReport,
    InstructionDataset,
    ModelSnapshot,
    TrainingPlan,
    TrainingReport,
)
from sft_pipeline.errors import PreconditionError
from sft_pipeline.lineage.code_versions import code_version
from sft_pipeline.lineage.dependencies import decoding, judging
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.lineage.step import produce_one
from sft_pipeline.lineage.tags import CUDA, TRAINING

EVERY = 5.0
"""Seconds between two training rows, and between two dev rows, in the event log."""


def throttled(say: Callable[[str], object]) -> Callable[[dict[str, Any]], None]:
    """Takes log rows and says the first and the last of each kind, and between them one in `EVERY` seconds.

    The event log is a database row and more for each line; the artifact's own log has all of them.
    """
    from sft_pipeline.training.callbacks.logging import line

    said: dict[bool, float] = {}

    def on_log(row: dict[str, Any]) -> None:
        now, kind = time.monotonic(), "eval_loss" in row
        due = kind not in said or now - said[kind] >= EVERY or row["step"] == row["steps"]
        if due and (text := line(row)):
            said[kind] = now
            say(text)

    return on_log


def build(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`training_plan`, `lora_adapter` and `training_report`."""

    @dg.asset(
        partitions_def=partitions,
        group_name=TRAINING,
        kinds={"pytorch"},
        op_tags=CUDA,
        code_version=code_version("training_plan"),
    )
    def training_plan(
        context: dg.AssetExecutionContext,
        project: Project,
        train_split: InstructionDataset,
        dev_split: InstructionDataset,
        test_split: InstructionDataset,
        base_model: ModelSnapshot,
        base_model_guard: GuardReport,
    ) -> dg.MaterializeResult[TrainingPlan]:
        """Can the run work? Steps, coverage, schedule, memory, headroom of the base, power of the gate."""
        from sft_pipeline.planning import inputs as plan_inputs

        experiment = project.experiment(context.partition_key)
        with user_errors():
            if base_model_guard.problems:  # the plan asks the base, which may take a device
                raise PreconditionError("plan refused, the guard says: " + "; ".join(base_model_guard.problems))
        return produce_one(
            context,
            project,
            TrainingPlan,
            depends={
                **decoding(experiment),
                **judging(experiment, Path(project.root)),
                "model": experiment.model,
                "training": experiment.training,
            },
            upstream={
                "train_split": train_split,
                "dev_split": dev_split,
                "test_split": test_split,
                "base_model": base_model,
                "base_model_guard": base_model_guard,
            },
            make=lambda out, work: plan_inputs.plan_from_artifacts(
                experiment, base_model, train_split, dev_split, test_split, Path(project.root), out
            ),
        )

    @dg.asset(
        partitions_def=partitions,
        group_name=TRAINING,
        kinds={"huggingface", "pytorch"},
        op_tags=CUDA,
        code_version=code_version("lora_adapter"),
    )
    def lora_adapter(
        context: dg.AssetExecutionContext,
        project: Project,
        train_split: InstructionDataset,
        dev_split: InstructionDataset,
        base_model: ModelSnapshot,
        base_model_guard: GuardReport,
        training_plan: TrainingPlan,
    ) -> dg.MaterializeResult[AdapterSnapshot]:
        """The adapter with its manifest, logs, checkpoints and TRAINING_SUCCESS marker.

        A killed training goes on at its newest complete checkpoint when it is materialized again.
        """
        from sft_pipeline.training import trainer

        experiment = project.experiment(context.partition_key)
        return produce_one(
            context,
            project,
            AdapterSnapshot,
            depends={
                "prompt": experiment.prompt,
                "model": experiment.model.loading,
                "training": experiment.training.deciding,
            },
            upstream={
                "train_split": train_split,
                "dev_split": dev_split,
                "base_model": base_model,
                "base_model_guard": base_model_guard,
                "training_plan": training_plan,
            },
            make=lambda out, work: trainer.train(
                experiment,
                base_model,
                base_model_guard,
                training_plan,
                train_split,
                dev_split,
                work,
                out,
                on_log=throttled(context.log.info),
            ),
        )

    @dg.asset(
        partitions_def=partitions, group_name=TRAINING, kinds={"json"}, code_version=code_version("training_report")
    )
    def training_report(
        context: dg.AssetExecutionContext, project: Project, lora_adapter: AdapterSnapshot, training_plan: TrainingPlan
    ) -> dg.MaterializeResult[TrainingReport]:
        """The diagnosis: did the training learn, and if not, why, from its logs."""
        from sft_pipeline.diagnosis.diagnose import diagnose

        training = project.experiment(context.partition_key).training

        def make(out: Path, work: Path) -> TrainingReport:
            history = json.loads(lora_adapter.path("log_history.json").read_text())
            rows, batch = training_plan.trained_rows, training_plan.effective_batch
            return diagnose(history, out, train_rows=rows, effective_batch=batch, training=training)

        return produce_one(
            context,
            project,
            TrainingReport,
            depends={"training": training},
            upstream={"lora_adapter": lora_adapter, "training_plan": training_plan},
            make=make,
        )

    return [training_plan, lora_adapter, training_report]

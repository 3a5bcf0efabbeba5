"""Generations of base and fine-tuned model, the checkpoint series, and the gate."""

from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    GateReport,
    Generations,
    GuardReport,
    InstructionDataset,
    ModelSnapshot,
    SeriesReport,
    TrainingReport,
)
from sft_pipeline.lineage.code_versions import code_version
from sft_pipeline.lineage.dependencies import decoding, judging, scoring_with
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.lineage.step import on_devices, produce_one
from sft_pipeline.lineage.tags import CUDA, EVALUATION

GENERATIONS = {
    "base_generations": "The base model's answers to the test split.",
    "sft_generations": "The fine-tuned model's answers to the same items, by the same engine and decoding.",
}

ON_BASE = ("base_model", "test_split", "base_model_guard")
"""What the answers of either model need."""

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment
    from sft_pipeline.generation.engines.engine import Engine


def build(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`base_generations`, `sft_generations`, `checkpoint_series` and `gate_report`."""
    on_model = {
        "partitions_def": partitions,
        "group_name": EVALUATION,
        "kinds": {"pytorch"},
        "op_tags": CUDA,
    }

    # Both are made in one step, so that the engine starts once. Adapter and diagnosis are no inputs of the step: it could
    # then not answer with the base alone before there is an adapter.
    @dg.multi_asset(
        name="generations",
        partitions_def=partitions,
        group_name=EVALUATION,
        op_tags=CUDA,
        can_subset=True,
        deps=["training_plan", "lora_adapter", "training_report"],
        outs={
            name: dg.AssetOut(
                dagster_type=Generations,
                is_required=False,
                kinds={"pytorch"},
                code_version=code_version(name),
                description=text,
            )
            for name, text in GENERATIONS.items()
        },
        internal_asset_deps={
            # A plan that cannot work stops the base's answers too: nobody would use them.
            "base_generations": {dg.AssetKey(name) for name in (*ON_BASE, "training_plan")},
            "sft_generations": {dg.AssetKey(name) for name in (*ON_BASE, "lora_adapter", "training_report")},
        },
    )
    def generations(
        context: dg.AssetExecutionContext,
        project: Project,
        base_model: ModelSnapshot,
        test_split: InstructionDataset,
        base_model_guard: GuardReport,
    ):
        from sft_pipeline.generation.answers import check, generate
        from sft_pipeline.generation.engines import open_engine

        experiment = project.experiment(context.partition_key)
        store = project.artifacts()
        with ExitStack() as stack:
            # One run at a time in this step, from the start. Otherwise one could hold the device and wait for the answers
            # that another one makes, while that one waits for the device.
            with user_errors():
                store.begin("generations", context.partition_key, "both", context.log.info)
            stack.callback(store.end, "generations", context.partition_key, stored=True)

            @cache
            def engine() -> "Engine":
                """Opened once, on one device until the step ends; stored answers that still stand need none."""
                stack.enter_context(on_devices(context, project))
                return stack.enter_context(open_engine(experiment, base_model))

            def made(name: str, model: str, adapter: AdapterSnapshot | None) -> dg.MaterializeResult:
                inputs = {"base_model": base_model, "test_split": test_split}
                return produce_one(
                    context,
                    project,
                    Generations,
                    depends=decoding(experiment),
                    upstream=inputs | ({"lora_adapter": adapter} if adapter else {}),
                    make=lambda out, work: generate(
                        experiment, model, base_model, adapter, test_split, engine(), work, out
                    ),
                    asset=name,
                )

            if "base_generations" in context.selected_output_names:
                with user_errors():
                    check(test_split, base_model_guard)
                yield made("base_generations", "base", None)
            if "sft_generations" in context.selected_output_names:
                with user_errors():
                    training = store.get("training_report", context.partition_key, TrainingReport)
                    adapter = store.get("lora_adapter", context.partition_key, AdapterSnapshot)
                    check(test_split, base_model_guard, training, adapter)
                yield made("sft_generations", "sft", adapter)

    @dg.asset(**on_model, deps=["training_report"], code_version=code_version("checkpoint_series"))
    def checkpoint_series(
        context: dg.AssetExecutionContext,
        project: Project,
        base_model: ModelSnapshot,
        lora_adapter: AdapterSnapshot,
        dev_split: InstructionDataset,
        test_split: InstructionDataset,
    ) -> dg.MaterializeResult[SeriesReport]:
        """Success on the declared split (dev by default) at the base, at each kept checkpoint and at the end."""
        from sft_pipeline.evaluation.checkpoint_series import series
        from sft_pipeline.generation.answers import check

        experiment = project.experiment(context.partition_key)
        root, declared = Path(project.root), experiment.evaluation.series
        items = test_split if declared.split == "test" else dev_split
        store = project.artifacts()
        with user_errors():
            guard = store.get("base_model_guard", context.partition_key, GuardReport)
            training = store.get("training_report", context.partition_key, TrainingReport)
            check(items, guard, training, lora_adapter)
        judged_by = {
            "scorers": _scorers(experiment),
            "run_code": experiment.evaluation.run_code,
            **scoring_with(experiment, root),
        }
        return produce_one(
            context,
            project,
            SeriesReport,
            depends={**decoding(experiment), **judged_by, "series": declared},
            upstream={"base_model": base_model, "lora_adapter": lora_adapter, f"{declared.split}_split": items},
            make=lambda out, work: series(experiment, base_model, lora_adapter, items, root, work, out),
        )

    @dg.asset(
        partitions_def=partitions,
        group_name=EVALUATION,
        kinds={"json", "html"},
        code_version=code_version("gate_report"),
    )
    def gate_report(
        context: dg.AssetExecutionContext,
        project: Project,
        test_split: InstructionDataset,
        base_generations: Generations,
        sft_generations: Generations,
        base_model_guard: GuardReport,
        training_report: TrainingReport,
    ) -> dg.MaterializeResult[GateReport]:
        """Is the adapter better than its base? Verdict, paired statistics and every reason."""
        from sft_pipeline.evaluation.gate.lineage_gate import decide

        experiment = project.experiment(context.partition_key)
        root = Path(project.root)
        return produce_one(
            context,
            project,
            GateReport,
            depends=judging(experiment, root),
            upstream={
                "test_split": test_split,
                "base_generations": base_generations,
                "sft_generations": sft_generations,
                "base_model_guard": base_model_guard,
                "training_report": training_report,
            },
            make=lambda out, work: decide(
                test_split,
                base_generations,
                sft_generations,
                base_model_guard,
                training_report,
                experiment,
                root,
                out,
                work,
            ),
        )

    return [generations, checkpoint_series, gate_report]


def _scorers(experiment: "Experiment") -> dict:
    return {name: spec.model_dump(mode="json") for name, spec in experiment.evaluation.scorers.items()}

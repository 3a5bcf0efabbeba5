"""Generations of base and fine-tuned model, the checkpoint series, and the gate."""

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
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.lineage.step import produce_one
from sft_pipeline.lineage.tags import CUDA, EVALUATION
from sft_pipeline.provenance.environment import library_versions

if TYPE_CHECKING:
    from sft_pipeline.experiment import Experiment


def _decoding(experiment: "Experiment") -> dict:
    """What the answers depend on besides the models: another library version may answer differently."""
    return {
        "prompt": experiment.prompt,
        "generation": experiment.generation,
        "model": experiment.model.loading,
        "libraries": library_versions("torch", "transformers", "peft", "bitsandbytes"),
    }


def build(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`base_generations`, `sft_generations`, `checkpoint_series` and `gate_report`."""
    on_model = {
        "partitions_def": partitions,
        "group_name": EVALUATION,
        "kinds": {"pytorch"},
        "op_tags": CUDA,
    }

    # A plan that cannot work stops the base's answers too: nobody would use them.
    @dg.asset(**on_model, deps=["training_plan"], code_version=code_version("base_generations"))
    def base_generations(
        context: dg.AssetExecutionContext,
        project: Project,
        base_model: ModelSnapshot,
        test_split: InstructionDataset,
        base_model_guard: GuardReport,
    ) -> dg.MaterializeResult[Generations]:
        """The base model's greedy answers to the test split."""
        from sft_pipeline.generation.answers import check, generate

        with user_errors():
            check(test_split, base_model_guard)
        experiment = project.experiment(context.partition_key)
        return produce_one(
            context,
            project,
            Generations,
            depends=_decoding(experiment),
            upstream={"base_model": base_model, "test_split": test_split},
            make=lambda out, work: generate(experiment, "base", base_model, None, test_split, out),
        )

    @dg.asset(**on_model, code_version=code_version("sft_generations"))
    def sft_generations(
        context: dg.AssetExecutionContext,
        project: Project,
        base_model: ModelSnapshot,
        lora_adapter: AdapterSnapshot,
        test_split: InstructionDataset,
        base_model_guard: GuardReport,
        training_report: TrainingReport,
    ) -> dg.MaterializeResult[Generations]:
        """The fine-tuned model's greedy answers to the same items, by the same engine and decoding."""
        from sft_pipeline.generation.answers import check, generate

        with user_errors():
            check(test_split, base_model_guard, training_report)
        experiment = project.experiment(context.partition_key)
        return produce_one(
            context,
            project,
            Generations,
            depends=_decoding(experiment),
            upstream={"base_model": base_model, "lora_adapter": lora_adapter, "test_split": test_split},
            make=lambda out, work: generate(experiment, "sft", base_model, lora_adapter, test_split, out),
        )

    @dg.asset(**on_model, deps=["training_report"], code_version=code_version("checkpoint_series"))
    def checkpoint_series(
        context: dg.AssetExecutionContext,
        project: Project,
        base_model: ModelSnapshot,
        lora_adapter: AdapterSnapshot,
        dev_split: InstructionDataset,
    ) -> dg.MaterializeResult[SeriesReport]:
        """Success on the dev split at the base, at each kept checkpoint and at the end."""
        from sft_pipeline.generation.series import series

        experiment = project.experiment(context.partition_key)
        return produce_one(
            context,
            project,
            SeriesReport,
            depends={**_decoding(experiment), "scorers": _scorers(experiment)},
            upstream={"base_model": base_model, "lora_adapter": lora_adapter, "dev_split": dev_split},
            make=lambda out, work: series(experiment, base_model, lora_adapter, dev_split, out),
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
        from sft_pipeline.evaluation.gate import decide

        experiment = project.experiment(context.partition_key)
        return produce_one(
            context,
            project,
            GateReport,
            depends={"evaluation": experiment.evaluation},
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
                out,
            ),
        )

    return [base_generations, sft_generations, checkpoint_series, gate_report]


def _scorers(experiment: "Experiment") -> dict:
    return {name: spec.model_dump(mode="json") for name, spec in experiment.evaluation.scorers.items()}

"""The base model and its guard."""

from pathlib import Path

import dagster as dg

from sft_pipeline.artifacts import GuardReport, ModelSnapshot
from sft_pipeline.lineage.code_versions import code_version
from sft_pipeline.lineage.resources import Project, user_errors
from sft_pipeline.lineage.step import produce_one
from sft_pipeline.lineage.tags import CUDA, MODEL


def build(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`base_model` and `base_model_guard`."""

    @dg.asset(
        partitions_def=partitions, group_name=MODEL, kinds={"safetensors"}, code_version=code_version("base_model")
    )
    def base_model(context: dg.AssetExecutionContext, project: Project) -> dg.MaterializeResult[ModelSnapshot]:
        """Local, hashed snapshot of the base: safetensors and tokenizer, nothing that can run code."""
        from sft_pipeline.model import snapshot

        with user_errors():
            source = snapshot.pinned(project.experiment(context.partition_key).model.source)
        cache = project.artifacts().cache
        return produce_one(
            context,
            project,
            ModelSnapshot,
            depends={"source": source},
            upstream={},
            make=lambda out, work: snapshot.take(source, Path(project.root), cache, out, work),
            reusable=source.kind != "folder",
        )

    @dg.asset(
        partitions_def=partitions,
        group_name=MODEL,
        kinds={"pytorch"},
        op_tags=CUDA,
        code_version=code_version("base_model_guard"),
    )
    def base_model_guard(
        context: dg.AssetExecutionContext, project: Project, base_model: ModelSnapshot
    ) -> dg.MaterializeResult[GuardReport]:
        """Is the base a base? Template, token-id and delta checks; sentinels raw and in the training format."""
        from sft_pipeline.model import guard, loader

        experiment = project.experiment(context.partition_key)
        return produce_one(
            context,
            project,
            GuardReport,
            depends={"model": experiment.model, "prompt": experiment.prompt, "libraries": loader.versions()},
            upstream={"base_model": base_model},
            make=lambda out, work: guard.inspect(base_model, experiment.model, experiment.prompt, out),
        )

    return [base_model, base_model_guard]

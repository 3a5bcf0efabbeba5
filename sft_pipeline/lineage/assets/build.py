"""The assets, one file per group, in the order in which data flows."""

import dagster as dg

from sft_pipeline.lineage.assets import data, evaluation, model, training


def build_assets(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """All assets of the lineage over the given experiments."""
    return [
        *data.build(partitions),
        *model.build(partitions),
        *training.build(partitions),
        *evaluation.build(partitions),
    ]

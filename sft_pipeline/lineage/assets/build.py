"""The definitions of all assets that the modules of this folder declare, one file per group."""

import dagster as dg

from sft_pipeline.lineage.assets import data, evaluation, model, training
from sft_pipeline.lineage.step import STEPS

GROUPS = (data, model, training, evaluation)
"""Modules that declare assets: importing one enters its assets into the table."""


def build_assets(partitions: dg.PartitionsDefinition) -> list[dg.AssetsDefinition]:
    """All assets of the lineage over the given experiments."""
    return [build(partitions) for build in STEPS.values()]

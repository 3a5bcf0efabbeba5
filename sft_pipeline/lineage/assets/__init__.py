"""The assets, one file per group, in the order in which data flows."""

from sft_pipeline.lineage.assets.build import build_assets

__all__ = ["build_assets"]

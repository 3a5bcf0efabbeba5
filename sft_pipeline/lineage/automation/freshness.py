"""How old a gate may be before the UI says so. It makes nothing run."""

from collections.abc import Iterable
from datetime import timedelta

import dagster as dg

from sft_pipeline.lineage.automation.gate_changes import GATE

POLICY = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=8), fail_window=timedelta(days=15))
"""One weekly re-evaluation missed is a warning, two are a failure."""


def with_freshness(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The same assets, the gate with the policy."""
    return [
        dg.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=POLICY), [definition])[0]
        if dg.AssetKey(GATE) in definition.keys
        else definition
        for definition in assets
    ]

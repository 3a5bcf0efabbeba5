"""Jobs: the selections that people, schedules and sensors launch by name."""

from typing import Any

import dagster as dg

from sft_pipeline.lineage.asset import ASSETS
from sft_pipeline.lineage.tags import DATA, EVALUATION


def build_jobs() -> list[Any]:
    """`full_lineage`, `data_only` and `re_evaluate` (all of the group evaluation, for the adapter that is there)."""
    evaluation = [asset for asset in ASSETS.values() if asset.group == EVALUATION]
    # What the evaluation rests on is not recomputed, but its checks are evaluated: blocking in this run as in the one
    # that made it.
    rests_on = {name for asset in evaluation for name in (*asset.consumes, *asset.deps)} - {a.name for a in evaluation}
    checks = dg.AssetSelection.checks_for_assets(*sorted(name for name in rests_on if ASSETS[name].checks))
    selections = {
        "full_lineage": (dg.AssetSelection.all(), "From the raw source to the release."),
        "data_only": (dg.AssetSelection.groups(DATA).upstream(), "Up to the splits."),
        "re_evaluate": (
            dg.AssetSelection.groups(EVALUATION) | checks,
            "Answers, checkpoint series, capability report, review and gate of the adapter that is there.",
        ),
    }
    return [
        dg.define_asset_job(name, selection=selection, description=text)
        for name, (selection, text) in selections.items()
    ]

"""Jobs: the selections that people, schedules and sensors launch by name."""

import dagster as dg

from sft_pipeline.lineage.tags import DATA


def build_jobs() -> list:
    """`full_lineage`, `data_only` and `re_evaluate` (answers, series and gate of the adapter that is there)."""
    everything = dg.AssetSelection.all()
    evaluation = dg.AssetSelection.assets("base_generations", "sft_generations", "checkpoint_series", "gate_report")
    # Their assets are not made again, but their checks are: blocking in this run as in the one that made them.
    stand = dg.AssetSelection.checks_for_assets("test_split", "base_model_guard", "training_plan", "training_report")
    selections = {
        "full_lineage": (everything, "From the raw source to the gate."),
        "data_only": (dg.AssetSelection.groups(DATA) | dg.AssetSelection.assets("base_model"), "Up to the splits."),
        "re_evaluate": (evaluation | stand, "Answers, checkpoint series and gate of the adapter that is there."),
    }
    return [
        dg.define_asset_job(name, selection=selection, description=text)
        for name, (selection, text) in selections.items()
    ]

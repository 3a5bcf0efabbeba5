"""Jobs: the selections that people launch by name."""

import dagster as dg

from sft_pipeline.lineage.tags import DATA


def build_jobs() -> list:
    """`full_lineage`, `data_only` and `re_evaluate` (answers and gate of the adapter that is there)."""
    everything = dg.AssetSelection.all()
    evaluation = dg.AssetSelection.assets("base_generations", "sft_generations", "checkpoint_series", "gate_report")
    selections = {
        "full_lineage": (everything, "From the raw source to the gate."),
        "data_only": (dg.AssetSelection.groups(DATA) | dg.AssetSelection.assets("base_model"), "Up to the splits."),
        "re_evaluate": (evaluation, "Answers and gate of the adapter that is there."),
    }
    return [
        dg.define_asset_job(name, selection=selection, description=text)
        for name, (selection, text) in selections.items()
    ]

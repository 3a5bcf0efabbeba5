"""Dagster shows what an edit of a specification makes stale, and only that."""

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from sft_pipeline.definitions import build_defs
from sft_pipeline.lineage.specifications import key, observe
from sft_pipeline.specification import load_by_name

EDITS = {
    "description: the whole": ("description: a whole", set()),
    "rows: 1500": ("rows: 1400", {"raw_dataset"}),
    "dev_size: 40": ("dev_size: 41", {"splits"}),
    "learning_rate: 2e-2": ("learning_rate: 1e-2", {"training_plan", "lora_adapter", "training_report"}),
    "alpha: 0.01": ("alpha: 0.02", {"training_plan", "gate_report"}),
}
"""What is edited, into what, and the steps whose part of the specification it is."""


@pytest.fixture
def observed(toy_project, instance):
    """Observes the toy specification; gives the changed assets."""
    return lambda: set(observe(instance, "toy", load_by_name("toy", toy_project), toy_project))


def edit(project, old, new):
    path = project / "specs" / "toy.yaml"
    assert old in path.read_text(), old
    path.write_text(path.read_text().replace(old, new))


def test_an_edit_changes_the_parts_that_it_decides_and_no_other(toy_project, observed, instance):
    assert len(observed()) > 10 and observed() == set()
    for old, (new, steps) in EDITS.items():
        edit(toy_project, old, new)
        assert observed() == {"specification", *(key(step).to_user_string() for step in steps)}, old
        edit(toy_project, new, old)
        observed()
    path = toy_project / "specs" / "toy.yaml"
    path.write_text("# a comment\n" + path.read_text())
    assert observed() == set()
    last = instance.get_latest_data_version_record(key(), is_source=True, partition_key="toy")
    difference = last.event_log_entry.asset_observation.metadata["difference"].value
    assert "-  " in difference and "alpha: 0.02" in difference and "alpha: 0.01" in difference


def test_dagster_calls_stale_what_the_edit_decides(toy_project, materialize, instance, observed):
    observed()
    assert materialize(toy_project, "raw_dataset").result.success

    def status():
        graph = build_defs(root=toy_project, store=toy_project / "store").resolve_asset_graph()
        resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
        return resolver.get_status(dg.AssetKey("raw_dataset"), "toy").value

    assert status() == "FRESH"
    edit(toy_project, "learning_rate: 2e-2", "learning_rate: 1e-2")
    observed()
    assert status() == "FRESH"
    edit(toy_project, "rows: 1500", "rows: 1400")
    observed()
    assert status() == "STALE"
    assert materialize(toy_project, "raw_dataset").result.success
    assert status() == "FRESH"

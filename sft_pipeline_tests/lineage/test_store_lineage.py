"""The lineage over its store: behind a URL and under two code locations."""

import shutil

import dagster as dg
import pytest

from sft_pipeline.artifacts import InstructionDataset
from sft_pipeline.definitions import build_defs
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import verify_lineage

pytestmark = pytest.mark.slow


@pytest.fixture
def make(instance):
    """Materializes assets of the experiment `toy` in one process; gives the materializations by asset."""

    def make(root, store, *assets):
        job = build_defs(root=root, store=store).resolve_job_def("full_lineage")
        keys = [dg.AssetKey(asset) for asset in assets]
        done = job.execute_in_process(instance=instance, partition_key="toy", asset_selection=keys)
        events = done.get_asset_materialization_events()
        return {e.asset_key.path[-1]: e.step_materialization_data.materialization for e in events}

    return make


def test_two_machines_share_a_lineage_behind_a_url(s3, toy_project, toy_base, make, tmp_path, monkeypatch):
    spec = toy_project / "specs" / "toy.yaml"
    start, end = (spec.read_text().index(part) for part in ("    {kind: embedded, hidden", "training:"))
    text = spec.read_text()
    spec.write_text(f"{text[:start]}    {{kind: folder, path: {toy_base.root}}}\n{text[end:]}")
    first = make(toy_project, s3.url, "raw_dataset", "base_model")
    folder = first["raw_dataset"].metadata["folder"].value
    assert folder.startswith("s3://artifacts/lineage/objects/raw_dataset/")
    assert s3.fs.exists(f"{folder}/rows.parquet")
    monkeypatch.setenv("SFT_PIPELINE_WORK", str(tmp_path / "elsewhere"))
    second = make(toy_project, s3.url, "raw_dataset", "base_model", "clean_dataset")
    # A base from a folder is always looked at again; it has not changed either, and is not stored twice.
    assert second["raw_dataset"].metadata["reused"].value and second["base_model"].metadata["reused"].value
    assert second["base_model"].tags["dagster/data_version"] == first["base_model"].tags["dagster/data_version"]
    assert len([path for path in s3.fs.find("artifacts") if path.endswith("model.safetensors")]) == 1
    problems, checked = verify_lineage(Store(s3.url), "toy")
    assert problems == [] and set(checked) == {"raw_dataset", "base_model", "clean_dataset"}
    damaged = s3.flip_a_bit("model.safetensors")
    problems, _ = verify_lineage(Store(s3.url), "toy")
    assert len(problems) == 1 and damaged in problems[0] and "materialize base_model again" in problems[0]
    assert not (tmp_path / "store").exists(), "nothing is written to the folder that the URL replaced"


def test_two_code_locations_over_one_store_share_what_is_the_same_and_keep_what_differs(
    toy_project, make, tmp_path, monkeypatch
):
    other = tmp_path / "other"
    shutil.copytree(toy_project / "specs", other / "specs")
    place = toy_project / "store"
    assert not make(toy_project, place, "raw_dataset")["raw_dataset"].metadata["reused"].value
    assert make(other, place, "raw_dataset")["raw_dataset"].metadata["reused"].value
    spec = other / "specs" / "toy.yaml"
    spec.write_text(spec.read_text().replace("rows: 1500", "rows: 1400"))
    assert not make(other, place, "raw_dataset")["raw_dataset"].metadata["reused"].value
    store = Store(place)
    (before,) = store.pointer("raw_dataset", "toy").previous
    assert (
        store.get("raw_dataset", "toy", InstructionDataset).rows
        < store.restore("raw_dataset", "toy", InstructionDataset, before.address).rows
    )
    assert make(toy_project, place, "raw_dataset")["raw_dataset"].metadata["reused"].value

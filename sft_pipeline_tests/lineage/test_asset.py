"""An asset that is declared in one place is seen everywhere."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest

from sft_pipeline.artifacts import InstructionDataset, TrainingReport
from sft_pipeline.definitions import build_defs
from sft_pipeline.lineage import dependencies
from sft_pipeline.lineage.asset import ASSETS, Check, counted, stale
from sft_pipeline.lineage.specifications import key
from sft_pipeline.lineage.step import STEPS, step
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import verify_lineage
from sft_pipeline.specification import load_by_name, project_root


@pytest.fixture
def word_count():
    """Declares an asset, in this one place."""

    def many(report: TrainingReport) -> dg.AssetCheckResult:
        """There are words."""
        return dg.AssetCheckResult(passed=report.metrics["words"] > 10)

    @step(
        TrainingReport,
        group="counting",
        docs="docs/how-to/data.md",
        code=["dataset/text.py"],
        depends=lambda experiment, root: {"description": experiment.description},
        metadata=lambda report: {"words": report.metrics["words"]},
        checks=[Check(many)],
        kinds=["json"],
    )
    def word_count(work, raw_dataset: InstructionDataset) -> TrainingReport:
        """Words of the raw dataset."""
        (work.out / "count.txt").write_text("many")
        return TrainingReport.finalize(work.out, findings=(), metrics={"words": 20.0 * raw_dataset.rows})

    yield "word_count"
    del ASSETS["word_count"], STEPS["word_count"]


@pytest.mark.slow
def test_a_declared_asset_is_seen_everywhere(word_count, toy_project, materialize):
    graph = build_defs(root=toy_project, store=toy_project / "store").resolve_asset_graph()
    node = graph.get(dg.AssetKey(word_count))
    assert node.group_name == "counting" and node.description == "Words of the raw dataset." and node.owners
    assert Path(node.metadata["docs"].path) == Path("docs/how-to/data.md")
    assert node.parent_keys == {dg.AssetKey("raw_dataset"), key(word_count)}
    assert node.code_version == ASSETS[word_count].code_version
    assert "dataset/text.py" in counted(ASSETS[word_count].code)
    assert [key.name for key in graph.asset_check_keys if key.asset_key == dg.AssetKey(word_count)] == ["many"]

    run = materialize(toy_project, "raw_dataset,word_count")
    assert run.result.success and run.checks["many"].passed
    assert (
        run.made[word_count].metadata["words"].value
        == 20.0 * run.made["raw_dataset"].metadata["dagster/row_count"].value
    )
    assert materialize(toy_project, word_count).reused == {word_count}

    store = Store(toy_project / "store")
    assert verify_lineage(store, "toy") == ([], {"raw_dataset": 2, word_count: 1})
    assert store.versions(word_count, "toy")[0][1] == ""

    def why():
        return stale(store, "toy", load_by_name("toy", toy_project), toy_project)

    assert word_count not in why()
    path = toy_project / "specs" / "toy.yaml"
    path.write_text(path.read_text().replace("description: ", "description: another, "))
    assert list(why()) == [word_count]
    # What was made from the edited specification differs; taken back, the edit costs nothing.
    before = store.pointer(word_count, "toy").version
    edited = materialize(toy_project, word_count)
    assert edited.reused == set() and why() == {}
    path.write_text(path.read_text().replace("description: another, ", "description: "))
    assert list(why()) == [word_count]
    assert materialize(toy_project, word_count).reused == {word_count}
    assert why() == {} and store.pointer(word_count, "toy").version == before
    shutil.rmtree(store.root / "pointers" / "raw_dataset")
    assert "no raw_dataset of toy is stored" in verify_lineage(store, "toy")[0][0]


def test_a_plan_rests_on_how_many_benchmark_items_there_are_and_not_on_the_harness_or_on_labels(monkeypatch, tmp_path):
    experiment = load_by_name("tiny", project_root())
    declared = experiment.evaluation
    assert declared.capabilities

    def decided(evaluation, harness="1"):
        changed = experiment.model_copy(update={"evaluation": evaluation})
        versions = {"lm-eval": harness}
        monkeypatch.setattr(dependencies, "library_versions", lambda *names: {n: versions.get(n, "1") for n in names})
        return {
            name: ASSETS[name].decided(changed, tmp_path)
            for name in ("training_plan", "capability_report", "gate_report")
        }

    def differ(evaluation, harness="1"):
        now, before = decided(evaluation, harness), decided(declared)
        return {name for name in now if now[name] != before[name]}

    def measured(**update):
        return declared.model_copy(update={"capabilities": declared.capabilities.model_copy(update=update)})

    assert differ(declared, harness="2") == {"capability_report"} == differ(measured(alpha=0.01))
    assert differ(measured(blocking="undecided")) == {"training_plan", "capability_report"}
    world = declared.capabilities.benchmarks["world"].model_copy(update={"limit": 50})
    assert differ(measured(benchmarks={"world": world})) == {"training_plan", "capability_report"}
    (tmp_path / "labels.jsonl").write_text("{}")
    assert differ(declared.model_copy(update={"human_labels": "labels.jsonl"})) == {"gate_report"}


def test_a_live_series_decides_nothing_of_the_adapter_unless_success_chooses_it():
    experiment, root = load_by_name("tiny", project_root()), project_root()

    def decided(asset, best_by="dev_loss", pattern=None, **series):
        document = experiment.model_dump(mode="json", exclude_unset=True)
        document["training"] |= {"adapter": "best", "best_by": best_by}
        document["evaluation"]["series"] = series
        if pattern:
            document["evaluation"]["scorers"]["default"] = {"kind": "regex", "options": {"pattern": pattern}}
        return ASSETS[asset].decided(type(experiment).model_validate_json(json.dumps(document)), root)

    for asset in ("lora_adapter", "checkpoint_series", "gate_report"):
        assert decided(asset) == decided(asset, live={"device": "own"}), asset
    assert decided("training_plan") != decided("training_plan", live={"device": "own"})
    assert decided("lora_adapter", pattern="a") == decided("lora_adapter", pattern="b")
    chosen = decided("lora_adapter", "dev_success", "a", live={})
    assert chosen == decided("lora_adapter", "dev_success", "a", live={"device": "same"})
    assert chosen != decided("lora_adapter", "dev_success", "b", live={})
    assert chosen != decided("lora_adapter", "dev_success", "a", live={}, best="within_one_standard_error")

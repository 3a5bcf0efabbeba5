"""The whole lineage at toy size, with the real libraries, in one process."""

import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from sft_pipeline.artifacts import AdapterSnapshot, GateReport, TrainingPlan
from sft_pipeline.definitions import build_defs
from sft_pipeline.errors import PreconditionError
from sft_pipeline.lineage.asset import ASSETS, stale
from sft_pipeline.lineage.specifications import key, observe
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import read_lineage, verify_lineage
from sft_pipeline.release.build import build
from sft_pipeline.release.reproduce import compare, read, stored
from sft_pipeline.release.verify import check
from sft_pipeline.specification import load_by_name

pytestmark = pytest.mark.slow

MADE = set(ASSETS) - {"model_exports", "release"}
"""What a run makes whose gate says no: its check blocks what comes after it."""

HOLDER = """
import sys, time
from pathlib import Path
from sft_pipeline.provenance.store import Store
Store(Path(sys.argv[1])).begin("generations", "toy", "both", print)
print("held", flush=True)
time.sleep(3)
"""


def edit(project, old, new):
    path = project / "specs" / "toy.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_whole_lineage_is_made_and_shown(toy_lineage):
    first = toy_lineage
    assert set(first.made) == MADE and first.reused == set()
    # What is linked lies in the store, not where it was made.
    linked = [v.value for m in first.made.values() for v in m.metadata.values() if isinstance(v, dg.PathMetadataValue)]
    assert len(linked) == len(MADE) and all(Path(path).exists() for path in linked)
    # A base that knows nothing cannot be improved in so few steps: the gate says no, and its report is there.
    assert not first.result.success and not first.checks["gate"].passed
    declared = [check for name in MADE for check in ASSETS[name].checks]
    assert set(first.checks) == {name for check in declared for name in check.several or [check.function.__name__]}
    assert all(e.passed for name, e in first.checks.items() if name != "gate")
    assert any(log.user_message.startswith("failed check gate: verdict: ") for log in first.logs)
    rows, gate = first.made["raw_dataset"].metadata, first.made["gate_report"].metadata
    assert {"id", "instruction"} < {column.name for column in rows["dagster/column_schema"].schema.columns}
    assert rows["dagster/row_count"].value > 1000 and rows["dagster/uri"].value.startswith("file:///")
    assert gate["SFT rate"].value - gate["base rate"].value == pytest.approx(gate["lift"].value)
    plotted = {
        name: {label for label, v in m.metadata.items() if isinstance(v, dg.FloatMetadataValue | dg.IntMetadataValue)}
        for name, m in first.made.items()
    }
    hyperparameters = {"learning rate", "effective batch", "LoRA r", "LoRA alpha", "seed"}
    assert {"first loss", "last loss", "steps", "epochs", *hyperparameters} <= plotted["lora_adapter"]
    assert first.made["lora_adapter"].metadata["learning rate"].value == 2e-2
    assert {"base rate", "best rate", "last rate"} <= plotted["checkpoint_series"]
    assert {"base success on dev", "learning rate", "effective batch"} <= plotted["training_plan"]
    assert {"lift", "p", "step_seconds", "bytes"} <= plotted["gate_report"]
    assert {m.tags["sft_pipeline/specification"] for m in first.made.values()} == {
        first.result.dagster_run.tags["sft_pipeline/specification"]
    }
    store = Store(first.store)
    report = store.get("gate_report", "toy", GateReport)
    assert report.verdict in ("fail", "refused")
    for fact in ("About this page", "the whole lineage at toy size", first.versions["lora_adapter"][:12], "UTC"):
        assert fact in report.path("gate.html").read_text()
    problems, checked = verify_lineage(store, "toy")
    assert problems == [] and set(checked) == MADE
    assert not [path for path in (first.store / "work").rglob("*") if path.name.startswith("checkpoint-")]
    assert not any((first.store / "scratch").iterdir())


EDITS = {
    "description: the whole": ("description: a whole", set()),
    "rows: 1500": ("rows: 1400", {"raw_dataset"}),
    "dev_size: 40": ("dev_size: 41", {"splits"}),
    "layers: 1": ("layers: 2", {"base_model", "base_model_guard", "training_plan"}),
    "learning_rate: 2e-2": ("learning_rate: 1e-2", {"training_plan", "lora_adapter", "training_report"}),
    "min_coverage: 0.01": ("min_coverage: 0.02", {"training_plan", "training_report"}),
    "max_new_tokens: 6": (
        "max_new_tokens: 5",
        {"training_plan", "generations", "comparator_generations", "checkpoint_series"},
    ),
    "{kind: refusal}": (
        "{kind: refusal, options: {refusals: [no]}}",
        {"training_plan", "checkpoint_series", "gate_report"},
    ),
    "alpha: 0.01": ("alpha: 0.02", {"training_plan", "gate_report"}),
    "examples: 1": ("examples: 2", {"training_plan", "comparator_generations", "gate_report"}),
    "  gate: {": ("  series: {best: within_one_standard_error}\n  gate: {", {"checkpoint_series"}),
    "data:\n": (
        "prompt: {response_prefix: ' : '}\ndata:\n",
        {
            "base_model_guard",
            "training_plan",
            "lora_adapter",
            "generations",
            "comparator_generations",
            "checkpoint_series",
        },
    ),
}
"""Kinds of edits: what is edited, into what, and the steps whose part of the specification it is."""


def test_an_edit_makes_stale_what_depends_on_it_and_a_revert_makes_it_fresh(
    made_project, instance, materialize, toy_lineage
):
    def observed():
        return set(observe(instance, "toy", load_by_name("toy", made_project), made_project))

    def status():
        resolver = CachingStaleStatusResolver(instance, graph, loading_context=LoadingContextForTest(instance))
        return {name for name in MADE if resolver.get_status(dg.AssetKey(name), "toy") != StaleStatus.FRESH}

    graph = build_defs(root=made_project, store=made_project / "store").resolve_asset_graph()
    observed()
    again = materialize(made_project)
    assert again.reused == MADE and again.versions == toy_lineage.versions
    assert observed() == set() and status() == set()
    for old, (new, steps) in EDITS.items():
        edit(made_project, old, new)
        changed = {
            key(step).to_user_string() for step in (*steps, "release")
        }  # a release names the whole specification
        assert observed() == {"specification", *changed}, old
        made = {name for name, asset in ASSETS.items() if asset.step in steps}
        experiment = load_by_name("toy", made_project)
        assert status() == made == set(stale(Store(made_project / "store"), "toy", experiment, made_project)), old
        edit(made_project, new, old)
        assert observed() == {"specification", *changed}, old
    assert status() == set()
    path = made_project / "specs" / "toy.yaml"
    path.write_text("# a comment\n" + path.read_text())
    assert observed() == set()
    last = instance.get_latest_data_version_record(key(), is_source=True, partition_key="toy")
    difference = last.event_log_entry.asset_observation.metadata["difference"].value
    assert "-prompt: {response_prefix: ' : '}" in difference


def test_the_lineage_is_made_again_only_where_something_changed(made_project, materialize, toy_lineage):
    toy_project, first, store = made_project, toy_lineage, Store(made_project / "store")
    # Another evaluation: the plan and the gate are recomputed, the adapter and the answers are untouched.
    edit(toy_project, "alpha: 0.01", "alpha: 0.02")
    evaluated = materialize(toy_project)
    assert MADE - evaluated.reused == {"training_plan", "gate_report"}
    assert evaluated.versions["lora_adapter"] == first.versions["lora_adapter"]
    assert evaluated.versions["gate_report"] != first.versions["gate_report"]

    # Another limit of the training: its plan and its diagnosis are recomputed, the adapter is not.
    edit(toy_project, "min_coverage: 0.01", "min_coverage: 0.02")
    limited = materialize(toy_project)
    assert MADE - limited.reused == {"training_plan", "training_report"}

    # Another decoding: no training, but all answers. Without the base's new ones the gate is not even reached.
    edit(toy_project, "max_new_tokens: 6", "max_new_tokens: 5")
    half = materialize(toy_project, "sft_generations+")
    assert set(half.made) == {"sft_generations"} and half.reused == set()
    assert not half.checks["generations_comparable"].passed
    assert "decoding" in half.checks["generations_comparable"].description
    whole = materialize(toy_project, "base_generations,sft_generations+")
    assert whole.reused == {"sft_generations", "review_request"} and whole.checks["generations_comparable"].passed

    # Other comparators: their answers and the gate, and no others.
    edit(toy_project, "{examples: 1}", "{examples: 1, choose: nearest}")
    prompted = materialize(toy_project, "comparator_generations,gate_report")
    assert prompted.reused == set()
    assert materialize(toy_project, "gate_report").reused == {"gate_report"}
    # Asked for explicitly, the work is done again, and gives the same.
    recomputed = materialize(toy_project, "gate_report", tags={"sft_pipeline/recompute": "true"})
    assert recomputed.reused == set() and recomputed.versions["gate_report"] == prompted.versions["gate_report"]
    assert materialize(toy_project, "base_generations").reused == {"base_generations"}

    # An artifact that was edited by hand is found out, named, and rebuilt by its own asset, bit by bit.
    adapter = store.get("lora_adapter", "toy", AdapterSnapshot).path("adapter/adapter_model.safetensors")
    adapter.chmod(0o644)
    adapter.write_bytes(adapter.read_bytes()[:-1] + b"x")
    spoilt = materialize(toy_project, "training_report")
    assert "adapter_model.safetensors was changed" in spoilt.failure("training_report")
    healed = materialize(toy_project, "lora_adapter")
    assert healed.versions["lora_adapter"] == first.versions["lora_adapter"] and "lora_adapter" not in healed.reused

    # Other splits: what the adapter has learned from may stand in the new test split, whose proof is about other rows.
    edit(toy_project, "dev_size: 40", "dev_size: 40, seed: 5")
    assert materialize(toy_project, "train_split,dev_split,test_split").result.success
    apart = materialize(toy_project, "sft_generations")
    assert "about other rows than those that the adapter is trained on" in apart.failure("generations")
    assert any("was trained on other rows" in problem for problem in verify_lineage(store, "toy")[0])


def test_a_batch_size_that_is_changed_back_costs_no_training(made_project, materialize, toy_lineage):
    edit(made_project, "batch_size: 16", "batch_size: 32")
    assert materialize(made_project, "training_plan,lora_adapter").reused == set()
    edit(made_project, "batch_size: 32", "batch_size: 16")
    back = materialize(made_project)
    assert back.reused == MADE and back.versions == toy_lineage.versions


def test_the_base_answers_before_there_is_an_adapter_and_both_answer_on_one_engine(
    made_project, materialize, monkeypatch
):
    toy_project, pointers = made_project, made_project / "store" / "pointers"
    for asset in ("lora_adapter", "training_report", "sft_generations", "base_generations"):
        (pointers / asset).rename(pointers.parent / asset)  # as before there was an adapter
    from sft_pipeline.generation import engines
    from sft_pipeline.model import loader

    opened, real = [], engines.open_engine
    monkeypatch.setattr(engines, "open_engine", lambda *given: opened.append(given) or real(*given))
    alone = materialize(toy_project, "*base_generations")
    assert alone.result.success and "base_generations" in alone.made
    assert not {"lora_adapter", "training_report", "sft_generations"} & alone.made.keys()
    missing = materialize(toy_project, "sft_generations")
    assert "lora_adapter of experiment toy was never materialized" in missing.failure("generations")

    for asset in ("lora_adapter", "training_report"):
        (pointers.parent / asset).rename(pointers / asset)
    opened.clear()
    both = materialize(toy_project, "base_generations,sft_generations", tags={"sft_pipeline/recompute": "true"})
    assert both.result.success and both.reused == set() and len(opened) == 1
    assert both.versions["base_generations"] == alone.versions["base_generations"]
    assert both.versions["sft_generations"] != both.versions["base_generations"]
    # What stands needs no engine.
    again = materialize(toy_project, "base_generations,sft_generations")
    assert again.reused == {"base_generations", "sft_generations"} and len(opened) == 1

    # Another run of the step is waited for before anything is taken: with a device in hand the two could block each other.
    other = subprocess.Popen([sys.executable, "-c", HOLDER, str(toy_project / "store")], stdout=subprocess.PIPE)
    other.stdout.readline()
    assert materialize(toy_project, "sft_generations").result.success
    assert other.poll() == 0
    other.stdout.close()

    # Other libraries may load the base differently, or answer differently.
    monkeypatch.setattr(loader, "versions", lambda: {"transformers": "another"})
    assert materialize(toy_project, "base_model_guard,training_plan").reused == set()


@pytest.mark.drawn
def test_a_fresh_store_elsewhere_gives_the_same_artifacts(toy_lineage, toy_project, materialize, tmp_path_factory):
    """Another working folder and a fresh store: the digests of data, splits, plan, CPU adapter and gate are the same."""
    materialize(toy_project)
    experiment = load_by_name("toy", toy_project)
    found, _ = read_lineage(Store(toy_project / "store"), "toy")
    report = tmp_path_factory.mktemp("report")
    build(found, experiment, "toy", report, "report")
    before, _ = read_lineage(Store(toy_lineage.store), "toy")
    result = compare(read(report), stored(before))
    proved = MADE - {"search_report"}  # a search makes nothing that a release consists of
    assert set(result.same) == proved and (result.first, result.later, result.missing, result.reasons) == (
        (),
        (),
        (),
        (),
    )
    # The report of a gate that said no is sound, and is no release.
    problems, manifest = check(str(report))
    assert problems == [] and manifest["kind"] == "report" and manifest["verdict"] in ("fail", "refused")
    with pytest.raises(PreconditionError, match="the gate's verdict is"):
        build(found, experiment, "toy", tmp_path_factory.mktemp("release"))


def test_a_doomed_plan_stops_before_any_training(made_project, materialize):
    toy_project = made_project
    shutil.rmtree(toy_project / "store" / "pointers" / "lora_adapter")
    edit(toy_project, "min_coverage: 0.01", "min_coverage: 1.0")
    run = materialize(toy_project)
    assert not run.checks["plan_is_sane"].passed
    assert "coverage" in run.checks["plan_is_sane"].description
    assert "training_plan" in run.made and "lora_adapter" not in run.made
    # A later run that starts behind the check meets the recorded state.
    alone = materialize(toy_project, "lora_adapter")
    assert "coverage" in alone.failure("lora_adapter")
    assert Store(toy_project / "store").get("training_plan", "toy", TrainingPlan).blocking


def test_a_contaminated_base_stops_before_any_training(made_project, materialize):
    toy_project = made_project
    shutil.rmtree(toy_project / "store" / "pointers" / "lora_adapter")
    edit(
        toy_project,
        "training:\n",
        "  sentinels:\n    - {name: must_work, prompt: The, expect: works, matches: '^never$', in_format: false}\ntraining:\n",
    )
    run = materialize(toy_project, "*lora_adapter")
    assert not run.checks["base_is_a_base"].passed and "must_work" in run.checks["base_is_a_base"].description
    assert "lora_adapter" not in run.made


def test_input_errors_reach_the_user_as_they_are(toy_project, materialize):
    edit(toy_project, "{kind: embedded, rows: 1500, world_seed: 7}", "{kind: file, path: missing.jsonl}")
    assert "missing.jsonl" in materialize(toy_project, "raw_dataset").failure("raw_dataset")
    edit(toy_project, "max_steps: 40", "max_stepz: 40")
    message = materialize(toy_project, "raw_dataset").failure("raw_dataset")
    assert "toy.yaml:9" in message and "max_steps" in message


def test_a_store_that_cannot_be_written_is_reported(toy_project, materialize):
    (toy_project / "store").write_text("a file where the folder should be")
    assert "SFT_PIPELINE_STORE" in materialize(toy_project, "raw_dataset").failure("raw_dataset")

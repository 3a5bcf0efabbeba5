"""What a release holds, what it does not hold, and when there is none."""

import json
import re

import pytest
import yaml
from huggingface_hub import ModelCard

from sft_pipeline.artifacts import ComparatorGenerations, ComparatorResult, ExportReport, ExportResult, TrainingReport
from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Comparator
from sft_pipeline.provenance.hashing import files_below, hash_value
from sft_pipeline.release.build import build
from sft_pipeline.release.eligibility import OPTIONAL, PARTS, problems
from sft_pipeline.report.experiment import cost
from sft_pipeline_tests.release.conftest import EXPERIMENT, SECRET, Lineage, experiment

HOSTILE = "<script>alert(1)</script> | a `b` [c](javascript:d) \u202e {{ 7 * 7 }} **e**"


def test_the_asset_takes_what_a_release_holds():
    import sft_pipeline.lineage.assets.release  # noqa: F401 - it declares the asset
    from sft_pipeline.lineage.asset import ASSETS

    assert ASSETS["release"].consumes == (*PARTS, *OPTIONAL)


@pytest.mark.slow
def test_every_part_is_there_and_the_same_artifacts_give_the_same_bytes(passed, made, tmp_path):
    again = build(passed, experiment(), "made", tmp_path)
    files = {path.relative_to(made).as_posix(): path.read_bytes() for path in files_below(made)}
    assert files == {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files_below(tmp_path)}
    assert set(again.files) == set(files) >= {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "TRAINING_SUCCESS", "training_manifest.json",
        "baseline_metrics.json", "README.md", ".eval_results/results.yaml", "data/README.md", "data/croissant.json",
        "reports/gate.json", "reports/gate.txt", "specification.yaml", "lineage.json", "provenance.intoto.json",
        "bom.cdx.json", "release.json", "verify.py", "SHA256SUMS",
    }  # fmt: skip
    assert again.kind == "release" and again.verdict == "pass"


def test_no_row_of_the_data_is_in_it(passed, made):
    rows = passed["test_split"].root / "rows.parquet"
    assert rows.is_file() and "validation_samples.jsonl" in passed["lora_adapter"].files
    for path in files_below(made):
        assert SECRET.encode() not in path.read_bytes(), path.name


def test_the_card_is_one_that_the_hub_reads_with_the_figures_of_the_artifacts(passed, made):
    read = ModelCard.load(made / "README.md")
    overall = passed["gate_report"].overall
    results = read.data.eval_results
    assert [r.metric_value for r in results][:1] == [round(overall.sft_rate, 6)] and len(results) == 3
    assert read.data.library_name == "peft" and read.data.model_name == "made"
    text = read.text
    assert "| all | 300 | 10.0 % | 83.3 %" in text and "nobody/base" in text and "base's licence" not in text
    assert "2.006 h in 11 steps" in text and "7.22 USD in all" in text and "2,800 tokens" in text
    (entry,) = yaml.safe_load((made / ".eval_results" / "results.yaml").read_text())
    assert entry["value"] == round(overall.sft_rate, 6) and entry["dataset"]["id"] == "local/made"


def test_the_data_card_counts_what_each_stage_rejected(made):
    assert "| empty | 3 |\n| leak | 2 |\n" in (made / "data" / "README.md").read_text()


def test_the_card_says_how_and_on_what_was_judged(passed, made, tmp_path):
    assert "of the same source as the training rows, with greedy decoding" in (made / "README.md").read_text()
    data = {"source": {"kind": "embedded"}, "test": {"kind": "file", "path": "test.jsonl"}}
    build(passed, experiment(data=data, generation={"sampling": {"seed": 1}}), "made", tmp_path, "report")
    assert "of the declared test file, with sampled answers" in (tmp_path / "README.md").read_text()


def test_foreign_text_has_no_effect_in_a_card(passed, tmp_path):
    release = {"name": HOSTILE, "limits": [HOSTILE], "license": "mit", "base_license": HOSTILE}
    build(passed, experiment(description=HOSTILE, release=release), "made", tmp_path)
    body = ModelCard.load(tmp_path / "README.md").text + (tmp_path / "data" / "README.md").read_text()
    assert "<script>" not in body and "\u202e" not in body and "49" not in re.findall(r"\{\{.*?\}\}|= 49", body)
    assert "&lt;script&gt;" in body and "{{ 7 \\* 7 }}" in body and "\\[c\\]" in body and "\\*\\*e\\*\\*" in body
    assert ModelCard.load(tmp_path / "README.md").data.license == "mit"


def test_the_statement_is_one_of_in_toto_and_names_the_chain(passed, made):
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement_pb2

    content = json.loads((made / "provenance.intoto.json").read_text())
    parsed = json_format.ParseDict(content, statement_pb2.Statement())
    assert {s.name for s in parsed.subject} == {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"}
    build_ = content["predicate"]["buildDefinition"]
    named = {d["name"]: d["digest"] for d in build_["resolvedDependencies"]}
    assert named["raw_dataset"] == {"sha256": passed["raw_dataset"].version}
    assert named["base_model"] == {"sha256": passed["base_model"].version}
    assert named["sft-pipeline"] == {"gitCommit": "a" * 40}
    made_ = {d["name"] for d in content["predicate"]["runDetails"]["byproducts"]}
    assert made_ == {"lora_adapter", "training_report", "base_generations", "sft_generations", "gate_report"}
    assert build_["externalParameters"]["specification"]["evaluation"]["gate"]["alpha"] == 0.01


def test_the_bill_of_materials_holds_to_the_schema_of_cyclonedx(made):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (made / "bom.cdx.json").read_text()
    try:
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    except Exception as error:  # the validator is an extra of the library
        pytest.skip(str(error))
    assert problem is None
    content = json.loads(text)
    names = {c["name"]: c["type"] for c in content["components"]}
    assert (
        names["nobody/base"] == "machine-learning-model"
        and names["train_split"] == "data"
        and names["torch"] == "library"
    )
    metrics = content["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert float(metrics[1]["value"]) == pytest.approx(250 / 300)


@pytest.mark.slow
def test_a_failed_gate_is_no_release_and_may_be_a_report(failed, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(PreconditionError, match=r"the gate's verdict is (fail|refused).*--report"):
        build(failed, experiment(), "made", out)
    assert not any(out.iterdir())
    report = build(failed, experiment(), "made", out, "report")
    assert report.kind == "report" and not [name for name in report.files if "adapter" in name]
    assert "This is a report and not a release" in (out / "README.md").read_text()
    assert not (out / ".eval_results").exists()


def test_what_is_not_exactly_what_was_gated_is_refused_with_every_reason(passed, tmp_path):
    def refused(found, declared=None, **more):
        with pytest.raises(PreconditionError) as error:
            build(passed | found, declared or experiment(**more), "made", tmp_path)
        assert not any(tmp_path.iterdir())
        return str(error.value)

    other = passed["lora_adapter"].model_copy(update={"step": 4})
    assert "sft_generations was made from another lora_adapter" in refused({"lora_adapter": other})
    finding = {"rule": "zero", "severity": "blocking", "evidence": "no gradient"}
    unhealthy = TrainingReport(root=passed["training_report"].root, findings=[finding])
    message = refused({"training_report": unhealthy})
    assert "training: no gradient" in message and "gate_report was made from another training_report" in message
    assert "another training.learning_rate" in refused({}, training={"epochs": 1.0, "learning_rate": 0.5})
    assert "another prompt.template" in refused({}, prompt={"template": "Q: {instruction}"})
    gate = {"scorers": {"default": {"kind": "exact"}}, "gate": {"alpha": 0.5}}
    assert "another evaluation.gate.alpha, evaluation.gate.protected" in refused({}, evaluation=gate)
    assert "model_exports is not stored" in refused({}, export={"kinds": ["merged"]})


def test_other_comparators_than_those_that_the_gate_judged_stop_a_release(passed):
    few = Comparator(examples=2)
    answers = {"label": "a prompt with 2 examples", "rows": 300, "prompt_tokens": 9.0, "mean_tokens": 2.0}
    answers |= {"conditions": {"prompt": hash_value(few.model_dump(mode="json"))}, "truncated_share": 0.0}
    result = {"name": "few", "label": "few", "n": 300, "successes": 3, "interval": (0, 1), "missing": 0}
    gate = passed["gate_report"]
    judged = gate.model_copy(update={"comparators": (ComparatorResult(**result, finding="beaten"),)})
    made = ComparatorGenerations(root=gate.root, comparators={"few": answers})

    def against(found, **comparators):
        declared = experiment(evaluation=EXPERIMENT["evaluation"] | {"comparators": comparators})
        return [p for p in problems(passed | found, declared, "made") if "evaluation.comparators" in p]

    found = {"gate_report": judged, "comparator_generations": made}
    assert not against({}) and not against(found, few={"examples": 2})
    assert "another evaluation.comparators.few than" in against(found, few={"examples": 3})[0]
    assert against(found, few={"examples": 2}, more={"examples": 2}), "declared later"
    assert against(found), "no longer declared"
    assert against({"comparator_generations": made}, few={"examples": 2}), "the gate did not judge it"


def test_a_refused_export_is_no_part_of_a_release_and_stops_it(passed, tmp_path):
    out = tmp_path / "exports"
    (out / "merged").mkdir(parents=True)
    (out / "merged" / "model.safetensors").write_text("weights")
    upstream = {name: passed[name].version for name in ("lora_adapter", "gate_report")}

    def found(verdict):
        result = ExportResult(
            kind="merged", verdict=verdict, detail="because", margin=0.02, files=("merged/model.safetensors",)
        )
        made = ExportReport.finalize(out, results=(result,))
        return passed | {"model_exports": made.model_copy(update={"upstream": upstream})}

    declared = experiment(export={"kinds": ["merged"]})
    for number, verdict in enumerate(("inferior", "undecided", "dead_adapter", "equals_base", "not_judged")):
        with pytest.raises(PreconditionError, match=f"export merged: {verdict}: because"):
            build(found(verdict), declared, "made", tmp_path / str(number))
    accepted = tmp_path / "accepted"
    accepted.mkdir()
    made = build(found("accepted"), declared, "made", accepted)
    assert "exports/merged/model.safetensors" in made.files
    assert "| merged | accepted |" in (accepted / "README.md").read_text()
    statement = json.loads((accepted / "provenance.intoto.json").read_text())
    assert "exports/merged/model.safetensors" in {s["name"] for s in statement["subject"]}


def test_a_dead_adapter_is_refused_by_name(passed, tmp_path):
    adapter = Lineage(tmp_path, lora_b=0.0).lora_adapter(tmp_path / "dead")
    with pytest.raises(PreconditionError, match="dead adapter: every lora_B of it is zero"):
        build(passed | {"lora_adapter": adapter}, experiment(), "made", tmp_path / "out")


def test_the_cost_is_summed_once_for_each_step_and_says_what_it_does_not_know(passed):
    made = cost.cost(passed, experiment().release)
    splits = next(step for step in made.steps if "train_split" in step.assets)
    assert splits.assets == ("train_split", "dev_split", "test_split") and splits.seconds == 2
    assert made.seconds == 10 * 2 + 7200 and made.price == pytest.approx(7220 / 1000)
    assert made.kwh is None and made.device_hours == 0

    def measured(**values):
        adapter = passed["lora_adapter"].model_copy(update={"measurements": {"step_seconds": 3600.0, **values}})
        return cost.cost({"lora_adapter": adapter, "gate_report": passed["gate_report"]}, experiment().release)

    on_device = measured(step_devices=2, step_device="H200", step_joules=7.2e6)
    assert on_device.device_hours == 2 and on_device.kwh == 2.0
    assert on_device.price is None, "the price of one step is not known"
    resumed = measured(step_devices=2, step_device="H200", step_joules=7.2e6, resumed_at_step=40)
    assert resumed.kwh is None, "the energy of the last process is not that of the training"
    unknown = {"gate_report": passed["gate_report"].model_copy(update={"measurements": {}})}
    assert cost.cost(unknown, experiment().release).not_measured == ("gate_report",)
    declared = experiment(release={"price_per_hour": 2.5}).release
    assert (
        cost.cost(
            {"lora_adapter": passed["lora_adapter"].model_copy(update={"measurements": {"step_seconds": 7200.0}})},
            declared,
        ).price
        == 5.0
    )

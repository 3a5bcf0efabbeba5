"""The gate on artifacts: comparability, preconditions, and the files it leaves."""

import json

import pytest

from sft_pipeline.artifacts import Finding, GateReport
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import SpecificationError


def detail(report: GateReport, criterion: str) -> str:
    return next(reason.detail for reason in report.reasons if reason.criterion == criterion)


@pytest.mark.slow
@pytest.mark.drawn
def test_a_better_adapter_passes_and_every_file_is_there(case, outcomes):
    report = case.add("capital", 150, 10, 100).add("sum", 150, 10, 90).decide()
    assert report.verdict == "pass"
    assert set(report.files) >= {
        "gate.json", "gate.txt", "gate.html", "items.parquet", "rates.png", "differences.png",
    }  # fmt: skip
    assert (report.overall.n, report.overall.base_successes, report.overall.sft_successes) == (300, 20, 190)
    assert [t.name for t in report.types] == ["capital", "sum"]
    assert all(t.p_adjusted is not None for t in report.types)
    assert set(outcomes(report).values()) == {"pass", "info"}


@pytest.mark.slow
def test_no_lift_fails(case):
    report = case.add("capital", 300, 50, 55).decide()
    assert (report.verdict, report.p > 0.01) == ("fail", True)


@pytest.mark.slow
def test_different_conditions_are_refused_and_named(case):
    case.add("capital", 300, 10, 200)
    case.sft_conditions |= {"decoding": '{"max_new_tokens":128}'}
    del case.sft_conditions["engine"]
    report = case.decide()
    assert report.verdict == "refused"
    assert 'decoding: {"max_new_tokens":64} (base), {"max_new_tokens":128} (sft)' in detail(report, "same conditions")
    assert "engine: transformers (base), not recorded (sft)" in detail(report, "same conditions")
    assert "prompt" not in detail(report, "same conditions")


@pytest.mark.slow
def test_the_diagnosis_of_another_adapter_is_refused(case):
    case.add("capital", 300, 10, 200).diagnosed = "adapter 2"
    report = case.decide()
    assert report.verdict == "refused"
    assert detail(report, "same origin") == "lora_adapter differs: adapter 1 (sft), adapter 2 (diagnosis)"


@pytest.mark.slow
def test_generations_without_conditions_are_refused(case):
    case.add("capital", 300, 10, 200)
    case.base_conditions, case.sft_conditions = {}, {}
    assert case.decide().verdict == "refused"


@pytest.mark.slow
def test_missing_extra_and_repeated_ids_are_refused_and_named(case):
    case.add("capital", 300, 10, 200)
    missing, repeated = case.items[0]["id"], case.items[1]["id"]
    del case.sft[missing]
    case.base["stranger"] = "answer"
    case.repeated = [repeated]
    report = case.decide()
    assert report.verdict == "refused"
    reason = detail(report, "same items")
    assert f"sft generations: 1 items ({missing}) missing" in reason
    assert f"base generations: 1 items ({repeated}) more than once" in reason
    assert "base generations: 1 items (stranger) not in the test split" in reason
    assert report.overall.n == 298


def test_nothing_in_common_is_refused_not_a_crash(case):
    case.add("capital", 5, 1, 1)
    case.sft = {"x": "answer"}
    report = case.decide()
    assert (report.verdict, report.overall.n) == ("refused", 0)


@pytest.mark.slow
def test_a_leak_is_refused(case, outcomes):
    case.add("capital", 300, 10, 200).leaks = 2
    report = case.decide()
    assert (report.verdict, outcomes(report)["leakage"]) == ("refused", "refused")
    assert "2 exact" in detail(report, "leakage")


@pytest.mark.slow
def test_a_base_that_is_none_and_an_unhealthy_training_are_refused(case, outcomes):
    case.add("capital", 300, 10, 200).sentinel_passed = False
    case.findings = (
        Finding(rule="zero_gradient", severity="blocking", evidence="grad_norm 0.0 in 50 of 50 rows"),
        Finding(rule="short", severity="warning", evidence="few steps"),
    )
    report = case.decide()
    assert report.verdict == "refused"
    assert outcomes(report)["base model guard"] == outcomes(report)["training"] == "refused"
    assert detail(report, "training") == "zero_gradient: grad_norm 0.0 in 50 of 50 rows"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "sft", "verdict", "model", "says"),
    [
        (0.5, 0.1, "pass", "base", "150 of the 300 answers of the base"),
        (0.0, 0.11, "refused", "fine-tuned model", "33 of the 300 answers of the fine-tuned model"),
        (0.51, 0.0, "refused", "base", "(51.0 %, at most 50.0 % are accepted)"),
    ],
)
def test_cut_answers_have_a_limit_for_each_model(case, base, sft, verdict, model, says):
    case.add("capital", 300, 10, 200).base_truncated, case.sft_truncated = base, sft
    report = case.decide()
    assert report.verdict == verdict
    assert says in detail(report, f"truncation: {model}")


@pytest.mark.slow
def test_answers_that_are_a_random_sample_are_refused(case):
    case.add("capital", 300, 10, 200)
    sampled = {"decoding": '{"max_new_tokens":64,"sampling":{"seed":11,"temperature":1.0,"top_k":null}}'}
    case.base_conditions |= sampled
    case.sft_conditions |= sampled
    report = case.decide()
    assert report.verdict == "refused"
    assert "the base answers are a random sample (seed 11, temperature 1.0)" in detail(report, "decoding")


@pytest.mark.slow
def test_an_adapter_judged_on_another_precision_is_named(case, outcomes):
    case.add("capital", 300, 10, 200).trained_on = {"dtype": "bfloat16", "quantization": "nf4"}
    for conditions in (case.base_conditions, case.sft_conditions):
        conditions |= {"dtype": "bfloat16", "quantization": "none"}
    report = case.decide()
    assert (report.verdict, outcomes(report)["precision"]) == ("pass", "info")
    assert "quantization nf4 in training, none in the answers" in detail(report, "precision")
    assert "dtype" not in detail(report, "precision")


@pytest.mark.slow
def test_human_labels_of_the_same_answers_are_part_of_the_verdict(case, outcomes):
    case.add("capital", 300, 10, 200)
    ids = [row["id"] for row in case.items]
    right = [{"id": i, "output": case.sft[i], "success": case.sft[i].startswith("answer")} for i in ids[80:130]]
    case.human_labels = right
    report = case.decide("agreeing")
    assert (report.verdict, report.agreement.kappa) == ("pass", 1.0)
    case.human_labels = [row | {"success": k % 2 == 0} for k, row in enumerate(right)]
    report = case.decide("disagreeing")
    assert (report.verdict, outcomes(report)["human labels"]) == ("refused", "refused")


@pytest.mark.slow
def test_a_base_without_headroom_is_refused(case, outcomes):
    report = case.add("capital", 300, 290, 300).decide()
    assert (report.verdict, outcomes(report)["headroom"]) == ("refused", "refused")


@pytest.mark.slow
def test_a_violated_guarantee_fails_a_significant_lift(case, outcomes):
    case.gate = {"protected": [{"name": "safety", "types": ["refuse"], "margin": 0.1}]}
    report = case.add("capital", 250, 10, 200).add("refuse", 100, 100, 70).decide()
    assert (report.verdict, outcomes(report)["significance"]) == ("fail", "pass")
    assert report.protected[0].verdict == "violated"


def test_a_type_without_a_scorer_stops_the_gate(case):
    case.add("capital", 10, 1, 5).scorers = {"sum": {"kind": "numeric"}}
    with pytest.raises(SpecificationError, match="'capital'"):
        case.decide()


@pytest.mark.slow
@pytest.mark.drawn
def test_the_same_inputs_give_the_same_files(case):
    case.add("capital", 40, 10, 30).add("sum", 20, 1, 2)
    first, second = case.decide("one"), case.decide("two")
    assert first.files == second.files
    assert first.digest == second.digest


@pytest.mark.slow
def test_the_items_table_holds_both_answers_and_the_reasons(case):
    report = case.add("capital", 12, 3, 8).decide()
    rows = {row["id"]: row for row in read_table(report.path("items.parquet"))}
    first = case.items[0]
    made = {"labels": [], "tokens": 3, "cut": False}
    assert rows[first["id"]] == {
        "id": first["id"],
        "type": "capital",
        "instruction": "capital question 0?",
        "base_output": "answer 0",
        "sft_output": "mistak 0",
        "base_success": True,
        "sft_success": False,
        "base_reason": "",
        "sft_reason": "expected 'answer 0', got 'mistak 0'",
        "verifier": True,
        "cluster": None,
    } | {f"{model}_{field}": value for model in ("base", "sft") for field, value in made.items()}
    assert sum(row["sft_success"] for row in rows.values()) == report.overall.sft_successes


@pytest.mark.slow
def test_gate_json_repeats_the_report_and_names_what_was_used(case, facts):
    report = case.add("capital", 40, 10, 30).decide()
    written = facts(report)
    assert GateReport(root=report.root, **{k: written[k] for k in ("verdict", "overall", "types", "protected", "reasons", "test", "alpha")}).overall == report.overall  # fmt: skip
    assert set(written["inputs"]) == {
        "test_split", "base_generations", "sft_generations", "base_model_guard", "training_report",
    }  # fmt: skip
    assert all(len(version) == 64 for version in written["inputs"].values())
    assert written["gate"]["alpha"] == 0.01
    assert (written["length"]["adjusted"]["n"], written["length"]["rule"]) == (40, None)
    assert written["sources"]["scorers"] == "exact (capital)"
    assert sum(written["lengths"]["base"]) == sum(written["lengths"]["sft"]) == 40
    assert written["repetition"] == {"base": 0, "sft": 0, "n": 40}
    assert written["power_curve"]["power"][-1] > written["power_curve"]["power"][0]


@pytest.mark.slow
def test_gate_json_leads_back_to_everything_and_the_environment_is_in_no_digest(case, facts, monkeypatch):
    case.add("capital", 40, 10, 30)
    report = case.decide("one")
    written = facts(report)
    assert written["origin"] == {"base_model": "base 1", "lora_adapter": "adapter 1", "training_rows": "learned"}
    assert "bootstrap_seed" in written["gate"]
    page = report.path("gate.html").read_text("utf-8")
    assert "adapter 1" in page
    made_with = json.loads(report.path("environment.json").read_text("utf-8"))
    assert {"python", "scipy", "commit"} <= set(made_with)
    monkeypatch.setattr("sft_pipeline.evaluation.gate.lineage_gate.environment.record", lambda: {"commit": "another"})
    other = case.decide("two")
    assert other.files["environment.json"] != report.files["environment.json"]
    assert (other.digest, other.version) == (report.digest, report.version)


@pytest.mark.slow
def test_several_samples_of_one_prompt_are_one_observation(case):
    case.add("capital", 300, 0, 150)
    for k, row in enumerate(case.items):
        row["instruction"] = f"Question {k // 50}?"
    report = case.decide()
    assert report.overall.p_exact < 1e-10
    assert (report.verdict, report.overall.clusters) == ("fail", 6)
    assert "300 items without a group ask 6 different questions" in detail(report, "repeated questions")


@pytest.mark.slow
@pytest.mark.parametrize(("second", "rate", "verdict"), [("answer {}", 0.2, "fail"), ("{} mistakes", 0.0, "pass")])
def test_the_flip_rate_is_of_the_judgements_and_not_of_the_texts(case, second, rate, verdict):
    case.add("capital", 300, 60, 120)
    failed = [id for id, output in case.base.items() if output.startswith("mistak")][:30]
    case.second_texts = {id: second.format(case.base[id].split()[1]) for id in failed}
    report = case.decide()
    found = json.loads((report.root / "gate.json").read_text("utf-8"))["flip_rates"]
    assert (found["base"], report.verdict) == (pytest.approx(rate), verdict)

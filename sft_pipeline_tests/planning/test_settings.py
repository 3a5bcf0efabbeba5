"""What the plan chooses where the specification leaves it open, how long it says it takes, and on what that rests."""

import dataclasses
from pathlib import Path

import pytest

from sft_pipeline.errors import PreconditionError
from sft_pipeline.planning import plan, throughput
from sft_pipeline.report.plan.text import summary
from sft_pipeline.specification import load
from sft_pipeline_tests.planning.test_real_models import LLAMA_3_8B, QWEN_32B, Run, architecture, qwen

SPECS = Path(__file__).parents[2] / "specs"
EXPECTED = {"expected": {"train_rows": 4000, "mean_tokens": 100.0, "test_rows": {"all": 300}}}
SEVEN = qwen("qwen2", 3584, 18944, 28, 28, 4, 152064)


def planned(toy, model=None, **training):
    """A plan for a model of 7B on a card."""
    facts = {"device": "cuda", "dtype": "bfloat16", "architecture": SEVEN}
    experiment = toy(data=EXPECTED, model=facts | (model or {}), **{"batch_size": 8, "min_coverage": 0.1} | training)
    return plan.compute(experiment, None, {"all": 300}, None, None)


def said(made, rule):
    return next((finding.evidence for finding in made.findings if finding.rule == rule), None)


@pytest.mark.slow
def test_the_fast_record_has_the_records_steps_and_is_estimated_beside_its_hour_and_its_memory():
    record, fast = (load(SPECS / f"stage1_qwen2.5_32b{name}.yaml") for name in ("", "_fast"))
    slow, quick = (plan.compute(e, None, e.data.expected.test_rows, None, None) for e in (record, fast))
    assert quick.identity[:-1] == slow.identity[:-1]  # rows, batch, steps, rates; only the settings differ
    assert slow.settings == {"eval_batch_size": slow.settings["eval_batch_size"]}, "the record leaves nothing open"
    assert slow.rate_basis == "estimated" and "not a measurement" in said(slow, "rate_estimated")
    assert slow.seconds / 60 == pytest.approx(72, rel=0.15)  # as recorded on an L40S
    assert " packed instead of 2 × 4, without checkpointing: the weights are dequantised" in said(
        slow, "forward_passes"
    )
    roomy = record.model_copy(
        update={"model": record.model.model_copy(update={"card": "H100", "device_memory_gb": None})}
    )
    advice = said(plan.compute(roomy, None, record.data.expected.test_rows, None, None), "forward_passes")
    assert advice.startswith("8 × 1 packed instead of 2 × 4") and "dequantised 4 times less often" in advice
    assert quick.settings["gradient_accumulation"] < 4 and said(quick, "forward_passes") is None
    assert quick.seconds < slow.seconds / 2
    assert sum(quick.memory_bytes.values()) < 0.85 * 46e9


@pytest.mark.slow
def test_more_forward_passes_that_need_no_checkpointing_are_not_called_fewer():
    experiment = load(SPECS / "math_1.5b.yaml")
    advice = said(plan.compute(experiment, None, experiment.data.expected.test_rows, None, None), "forward_passes")
    assert advice.startswith("8 × 8 packed instead of 32 × 2, without checkpointing: the same optimiser steps, about ")


# Published tokens per second (docs/explanation/throughput.md): configuration, card, rows, tokens of a row, options.
QWEN_3 = {
    8: qwen("qwen3", 4096, 12288, 36, 32, 8, 151936, head_dim=128),
    32: qwen("qwen3", 5120, 25600, 64, 64, 8, 151936, head_dim=128),
}
RECORD = {"lora": {"dropout": 0.1, "target_modules": ("q_proj", "v_proj")}, "quantization": "nf4"}
RATES = [
    (180, QWEN_32B, "L40S", 2, 71, RECORD),
    (2400, QWEN_3[32], "H100", 2, 2048, {"quantization": "nf4"}),
    (8200, QWEN_3[8], "H100", 2, 2048, {"quantization": "nf4"}),
    (9621, LLAMA_3_8B, "H100", 4, 1024, {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("published", "config", "card", "rows", "length", "options"), RATES)
def test_the_estimated_rate_is_within_15_percent_of_published_ones(published, config, card, rows, length, options):
    run = Run(**options, batch_size=rows, gradient_checkpointing=True)
    rate = throughput.rate(
        architecture.build(config, run), run, throughput.card(card), length, 0.28 if rows * length < 200 else 0
    )
    assert rate == pytest.approx(published, rel=0.15)


@pytest.mark.slow
def test_what_a_pass_takes_grows_with_what_it_does():
    def parts(tokens=568.0, **options):
        run = Run(**options)
        base = architecture.build(QWEN_32B | {"num_hidden_layers": 2}, run)
        return throughput.pass_seconds(base, run, throughput.card("L40S"), tokens, 71)

    assert parts()["dequantisation"] == 0
    quantised, more = parts(quantization="nf4"), parts(8 * 568.0, quantization="nf4")
    assert quantised["dequantisation"] == more["dequantisation"] > 0  # however many tokens
    assert more["products"] > 4 * quantised["products"]
    again = parts(quantization="nf4", gradient_checkpointing=True)
    assert again["dequantisation"] == pytest.approx(1.5 * quantised["dequantisation"])
    small = architecture.build(qwen("qwen2", 896, 4864, 24, 14, 2, 151936, True), Run())
    alone, many = (throughput.pass_seconds(small, Run(), throughput.card("H100"), n, 1.0) for n in (1, 100_000))
    assert alone["launches"] > 0 == many["launches"]  # a token alone leaves the card waiting


def test_a_mixture_computes_with_the_experts_of_a_token_and_dequantises_all():
    mixture = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 768, "num_hidden_layers": 2}
    run = Run({"target_modules": ("q_proj",)}, quantization="nf4")
    base = architecture.build(qwen("qwen3_moe", 2048, 6144, 2, 32, 4, 151936, head_dim=128) | mixture, run)
    experts = 2 * 8 * 3 * 2048 * 768
    assert base.matrices - base.active == pytest.approx(experts * 6 / 8)


@pytest.mark.parametrize("name", ["NVIDIA H100 80GB HBM3", "h100"])
def test_a_card_is_found_by_the_name_that_nvidia_smi_gives(name):
    assert throughput.card(name).name == "H100"


def test_an_unknown_card_is_refused_with_those_that_are_known():
    with pytest.raises(PreconditionError, match=r"GeForce 1060, which .* knows H200, H100,"):
        throughput.card("GeForce 1060")
    assert {throughput.card(name).name for name in throughput._cards()} == set(throughput._cards())


@pytest.mark.slow
def test_the_memory_of_the_device_decides_how_a_step_is_divided(toy):
    def choice(gigabytes, **training):
        made = planned(toy, {"device_memory_gb": gigabytes} if gigabytes else {}, **training)
        return made.settings | {"blocked": [f.rule for f in made.blocking if f.rule == "memory"]}

    roomy, small = choice(80), choice(20)
    assert roomy["batching"] == "packed" and roomy["optimizer"] == "adamw_torch_fused"
    assert roomy["gradient_accumulation"] == 1 and roomy["gradient_checkpointing"] is False
    assert roomy["eval_batch_size"] > 8, "an evaluation keeps nothing for a backward pass"
    assert (small["gradient_accumulation"], small["gradient_checkpointing"]) != (1, False)
    assert small.get("batch_size", 8) * small["gradient_accumulation"] == 8, "the optimiser's step is the same"
    unknown = choice(None)
    assert (unknown["gradient_accumulation"], unknown["gradient_checkpointing"]) == (1, False)
    assert unknown["eval_batch_size"] == 8 and not small["blocked"]
    nothing_fits = choice(12)
    assert nothing_fits["blocked"] and nothing_fits["gradient_checkpointing"] is True
    declared = choice(20, batch_size=4, gradient_accumulation=2, gradient_checkpointing=True, eval_batch_size=3)
    assert set(declared) == {"batching", "optimizer", "blocked"}, "what is declared stays"


def test_on_the_cpu_rows_are_grouped_and_the_plan_is_applied_to_what_is_open_alone(toy):
    experiment = toy(data=EXPECTED, eval_batch_size=3, min_coverage=0.1)
    made = plan.compute(experiment, None, {"all": 300}, None, None)
    assert made.settings["batching"] == "grouped" and made.settings["optimizer"] == "adamw_torch"
    applied = made.applied(experiment).training
    assert applied.batching == "grouped" and applied.eval_batch_size == 3 and applied.gradient_accumulation == 1
    assert made.applied(toy(batching="plain")).training.batching == "plain"


def test_a_division_of_another_batch_is_not_taken_for_the_declared_one(toy):
    settings = {"batch_size": 2, "gradient_accumulation": 4}
    recorded = toy(batch_size=8).training.completed(settings)
    assert (recorded.batch_size, recorded.passes) == (2, 4) and recorded.completed(settings) == recorded
    edited = toy(batch_size=16).training.completed(settings)
    assert edited.batch_size == 16, "a release must see that the specification was edited"


@pytest.mark.slow
def test_a_base_that_fits_in_16_bits_is_recommended(toy):
    assert "nothing would be dequantised" in said(
        planned(toy, {"quantization": "nf4", "card": "L40S"}), "sixteen_bits_fit"
    )
    assert said(planned(toy, {"quantization": "nf4", "device_memory_gb": 16}), "sixteen_bits_fit") is None


def test_nothing_is_estimated_of_a_sharded_model(toy):
    def advised(**sharded):
        model, passes = {"quantization": "nf4", "card": "L40S"}, {"batch_size": 2, "gradient_accumulation": 4}
        made = planned(toy, model, gradient_checkpointing=True, processes=4, **passes, **sharded)
        return {finding.rule for finding in made.findings} & {"forward_passes", "sixteen_bits_fit", "rate_estimated"}

    assert advised() == {"forward_passes", "sixteen_bits_fit", "rate_estimated"}
    assert advised(fsdp=True) == set(), "what the processes exchange is not known"


def test_the_measured_rate_of_an_earlier_training_counts_more_than_the_estimate(toy):
    assert planned(toy, {"card": "H100"}, processes=4, fsdp=True).seconds is None, "what sharding costs is not known"
    made = planned(toy, {"card": "H100"})
    assert made.rate_basis == "estimated" and "ESTIMATED for the card" in summary(made)
    experiment = toy(data=EXPECTED, model={"device": "cuda", "card": "H100"}, min_coverage=0.1)
    again = plan.compute(experiment, None, {"all": 300}, None, None, measured_rate=1234.5)
    assert (again.rate_basis, again.tokens_per_second) == ("measured", 1234.5)
    assert again.seconds == pytest.approx(4000 * 100 * again.coverage / 1234.5)
    offered = next(finding for finding in again.findings if finding.rule == "rate_measured")
    assert "declare training.tokens_per_second: 1234.5" in offered.remedy


@pytest.mark.parametrize(
    ("training", "model", "rule", "severity"),
    [
        ({"optimizer": "paged_adamw_8bit"}, {}, "fsdp_paged", "blocking"),
        ({"compile": True}, {}, "fsdp_compile", "blocking"),
        ({}, {"card": "H100"}, "fsdp_unneeded", "warning"),
    ],
)
def test_what_does_not_go_with_fsdp_is_refused_and_processes_with_whole_models_preferred(
    toy, training, model, rule, severity
):
    made = planned(toy, model, processes=4, fsdp=True, **training)
    assert {finding.rule: finding.severity for finding in made.findings}[rule] == severity
    assert said(planned(toy, {"device_memory_gb": 12}, processes=4, fsdp=True), "fsdp_unneeded") is None


def test_compiling_is_recommended_where_it_pays(toy):
    hours = planned(toy, {"card": "L40S"}, epochs=200.0)
    assert "torch.compile would save" in said(hours, "compile_pays")
    assert said(planned(toy, {"card": "H200"}), "compile_pays") is None


def test_a_card_is_a_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        throughput.card("L40S").flops = 1.0


FALCON = qwen("falcon", 4544, 18176, 32, 71, 1, 65024)


@pytest.mark.slow
def test_no_packed_rows_are_planned_for_an_architecture_that_cannot_keep_them_apart(toy):
    made = planned(toy, {"architecture": FALCON})
    assert made.settings["batching"] == "grouped" and said(made, "packing_padded") is None
    declared, padded = (planned(toy, {"architecture": FALCON}, batching=kind) for kind in ("packed", "plain"))
    assert "The training pads the rows" in said(declared, "packing_padded")
    assert declared.memory_bytes == padded.memory_bytes
    advice = said(planned(toy, {"architecture": FALCON}, batch_size=2, gradient_accumulation=4), "forward_passes")
    assert advice is None or " packed " not in advice
    opt = qwen("opt", 4096, 16384, 32, 32, 32, 50272) | {"ffn_dim": 16384, "word_embed_proj_dim": 4096}
    ways = [
        planned(toy, {"architecture": opt}, packed_attention=way).settings["batching"] for way in ("varlen", "mask")
    ]
    assert ways == ["packed", "grouped"]
    sharded = planned(toy, batching="packed", fsdp=True, processes=2)
    assert said(sharded, "packing_padded").startswith("batching is packed, but under fsdp no process can measure")

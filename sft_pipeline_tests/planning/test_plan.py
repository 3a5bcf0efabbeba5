"""The plan: its figures against what is known, and what it refuses."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_pipeline.diagnosis.log import read
from sft_pipeline.diagnosis.rules import learning_rate as rate_rules
from sft_pipeline.diagnosis.rules import loss as loss_rules
from sft_pipeline.diagnosis.rules.learning_rate import NOTHING, TOO_HIGH
from sft_pipeline.embedded.base_model import SHIPPED
from sft_pipeline.embedded.instructions import clean_rows
from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Experiment, Training
from sft_pipeline.model.tokenizer import load_tokenizer
from sft_pipeline.planning import plan
from sft_pipeline.planning import rows as plan_rows
from sft_pipeline.report.plan.text import summary
from sft_pipeline.specification import load, project_root, specifications
from sft_pipeline.training import schedule, tokenization

SPECS = Path(__file__).parents[2] / "specs"

QWEN_32B = {
    "hidden_size": 5120,
    "intermediate_size": 27648,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
}
SMALL = QWEN_32B | {"num_hidden_layers": 2}
"""Two of its layers: what does not depend on their number."""
RECORD = {"expected": {"train_rows": 5467, "mean_tokens": 71.0, "test_rows": {"all": 300}}}
UNDERTRAINED = {"expected": {"train_rows": 45000, "mean_tokens": 200.0, "test_rows": {"all": 5000}}}


@pytest.fixture
def made(tmp_path):
    """Makes a plan; `files` writes them too."""

    def make(experiment, lengths=None, items=None, base=None, architecture=None, dev=None, files=False):
        expected = experiment.data.expected
        items = items or (expected.test_rows if expected and lengths is None else {})
        given = (experiment, lengths, items, architecture, base)
        return plan.make(*given, tmp_path, dev) if files else plan.compute(*given, dev)

    return make


def blocking(made_plan):
    return {finding.rule: finding for finding in made_plan.blocking}


@pytest.mark.slow
def test_the_plan_of_the_record(toy, made):
    experiment = toy(
        data=RECORD,
        model={"architecture": QWEN_32B, "quantization": "nf4", "dtype": "bfloat16", "device": "cuda"},
        lora={"r": 16, "target_modules": ("q_proj", "v_proj")},
        batch_size=2,
        gradient_accumulation=4,
        epochs=2.0,
        learning_rate=2e-4,
        optimizer="paged_adamw_8bit",
        gradient_checkpointing=True,
        logging_steps=10,
        save_steps=100,
    )
    result = made(experiment, files=True)
    assert (result.steps, result.effective_batch, result.coverage) == (1368, 8, 2.0)
    assert result.trainable_parameters == 16_777_216
    assert result.total_parameters == pytest.approx(32.76e9, rel=1e-3)
    # Peak on the card was 23 GB, with activations of real lengths and the CUDA context.
    assert 17 * 2**30 < sum(result.memory_bytes.values()) < 24e9
    assert result.learning_rates[0] == 0.0 and max(result.learning_rates) == pytest.approx(2e-4, rel=0.02)
    assert result.power["midp"] == pytest.approx(0.92, abs=0.01) and not result.blocking
    assert set(result.files) == {"plan.json", "plan.txt", "schedule.png"}
    text = result.path("plan.txt").read_text()
    assert "1,368" in text and "16,777,216" in text and text.endswith("the run may start\n")
    assert json.loads(result.path("plan.json").read_text())["steps"] == 1368


def test_the_undertrained_run_is_refused_with_the_number_and_the_remedy(toy, made):
    undertrained = {
        "data": UNDERTRAINED,
        "batch_size": 8,
        "learning_rate": 5e-5,
        "logging_steps": 10,
        "save_steps": 100,
    }
    finding = blocking(made(toy(max_steps=500, **undertrained)))["coverage"]
    assert finding.evidence == "coverage 0.0889 epochs: 500 steps × 8 = 4,000 of 45,000 rows"
    assert finding.remedy == "set epochs, or at least 5,625 steps"
    assert not made(toy(max_steps=5625, **undertrained)).blocking
    assert not made(toy(epochs=1.0, **undertrained)).blocking
    for batch, steps, coverage in ((32, 2000, 1.42), (64, 5000, 7.11)):
        result = made(toy(data=UNDERTRAINED, batch_size=batch, max_steps=steps))
        assert result.coverage == pytest.approx(coverage, abs=0.01) and not result.blocking


def test_headroom(toy, made):
    assert "headroom" in blocking(made(toy(data=RECORD), base=(100, 100)))
    assert "100 of 100 dev items" in blocking(made(toy(data=RECORD), base=(100, 100)))["headroom"].evidence
    small = made(toy(data=RECORD), base=(94, 100))
    assert not small.blocking and "headroom_small" in {f.rule for f in small.findings}
    assert made(toy(data=RECORD), base=(40, 100)).base_success == 0.4


def test_power_and_guarantees(toy, made):
    weak = blocking(made(toy(data=RECORD, gate={"planned_lift": 0.05})))["power"]
    assert "probability 0.22 < 0.8" in weak.evidence and "test items" in weak.remedy
    protected = {"protected": ({"name": "safety", "types": ("refuse",), "margin": 0.05},)}
    finding = blocking(made(toy(data=RECORD, gate=protected), items={"refuse": 20, "other": 380}))[
        "guarantee_undecidable"
    ]
    # 0 lost of n shows a loss below z²/(n + z²): 16 points at n = 20, below 5 points from n = 73.
    assert "16.1%" in finding.evidence and "at least 73 items" in finding.remedy
    passes = made(toy(data=RECORD, gate=protected | {"undecided": "passes"}), items={"refuse": 20, "other": 380})
    assert not passes.blocking and "guarantee_undecidable" in {f.rule for f in passes.findings}
    tight = made(toy(data=RECORD, gate=protected), items={"refuse": 73, "other": 380})
    assert not tight.blocking and "guarantee_tight" in {f.rule for f in tight.findings}
    assert "guarantee_undecidable" in blocking(made(toy(data=RECORD, gate=protected), items={"other": 380}))
    half = {"protected": ({"name": "safety", "types": ("refuse", "jail_break"), "margin": 0.05},)}
    finding = blocking(made(toy(data=RECORD, gate=half), items={"refuse": 380}))["guarantee_undecidable"]
    assert "there is no test item of jail_break" in finding.evidence
    contradiction = made(toy(data=RECORD, gate={"planned_lift": 0.3, "expected_discordance": 0.2}))
    assert "power_contradiction" in blocking(contradiction)


def test_lengths_batches_and_schedule(toy, made):
    lengths = [(20, 10)] * 90 + [(20, 100)] * 10
    cut = blocking(made(toy(max_length=64), lengths))["truncated_rows"]
    assert "10 of 100 rows (10.0%)" in cut.evidence and "120" in cut.remedy
    assert not made(toy(max_length=64, max_truncated_share=0.2), lengths).blocking
    assert "batch_exceeds_rows" in blocking(made(toy(batch_size=8), [(5, 5)] * 3))
    odd = toy(save_steps=800, logging_steps=200, learning_rate=2e-2, epochs=30.0)
    warned = {f.rule for f in made(odd, lengths, architecture=SMALL).findings if f.severity == "warning"}
    assert warned == {"save_steps", "few_log_records", "learning_rate", "coverage_high"}
    usual = made(toy(learning_rate=2e-4), lengths, architecture=SMALL)
    assert not [f for f in usual.findings if f.severity != "info"]
    assert "positions" in blocking(made(toy(), lengths, architecture=SMALL | {"max_position_embeddings": 64}))
    assert not made(toy(), lengths, architecture=SMALL | {"max_position_embeddings": 120}).blocking
    assert "warmup" in blocking(made(toy(warmup_steps=60), lengths))
    with pytest.raises(PreconditionError, match="no rows"):
        made(toy(), [])
    with pytest.raises(PreconditionError, match=r"data\.expected"):
        made(toy())


@pytest.mark.parametrize(
    ("rate", "severity"),
    [(5e-9, "blocking"), (NOTHING, "warning"), (TOO_HIGH, "warning"), (0.031, "blocking"), (2e4, "blocking")],
)
def test_a_learning_rate_that_the_diagnosis_would_block_is_refused(toy, made, rate, severity):
    found = {f.rule: f for f in made(toy(learning_rate=rate), [(20, 10)] * 100).findings}["learning_rate"]
    assert found.severity == severity
    (judged,) = rate_rules.out_of_range(read([{"step": step, "loss": 1.0, "learning_rate": rate} for step in (1, 2)]))
    assert judged.severity == severity


@pytest.mark.parametrize(
    ("training", "dev", "severity"),
    [
        ({"max_steps": 250, "logging_steps": 200, "save_steps": 200}, None, "blocking"),  # at 200 and 250, both
        ({"max_steps": 250, "logging_steps": 200, "save_steps": 120}, None, "warning"),  # at 120, 200, 240 and 250
        ({"max_steps": 250, "logging_steps": 200, "save_steps": 60}, None, None),  # every checkpoint is logged
        ({"max_steps": 250, "logging_steps": 200, "save_steps": 200, "eval_steps": 100}, [(20, 10)] * 8, "warning"),
        ({"max_steps": 250, "logging_steps": 200, "save_steps": 200, "eval_steps": 100}, [], "blocking"),
        ({"max_steps": 250, "logging_steps": 200, "save_steps": 200, "eval_steps": 100}, [(9000, 9)], "blocking"),
        ({"max_steps": 2, "min_coverage": 0.01}, None, "blocking"),
        ({"max_steps": 3, "min_coverage": 0.01}, None, "warning"),
    ],
)
def test_a_log_that_the_diagnosis_could_not_judge_is_refused(toy, made, training, dev, severity):
    result = made(toy(**training), [(20, 10)] * 100, dev=dev)
    found = {f.rule: f for f in result.findings}.get("few_log_records")
    assert (found and found.severity) == severity
    count, options = result.steps, toy(**training).training
    steps = [
        s for s in range(1, count + 1) if not s % options.logging_steps or not s % options.save_steps or s == count
    ]
    rows = [{"step": step, "loss": 1.0} for step in steps]
    if dev is None or len(dev) > 1:
        ends = [*range(options.eval_interval, count, options.eval_interval), count]
        rows += [{"step": step, "eval_loss": 1.0} for step in ends]
    (judged,) = loss_rules.few_records(read(rows)) or [None]
    assert severity == (judged.severity if judged and judged.severity != "info" else None)


PRESETS = {  # coverage, and what refuses it
    "plan2_undertrained": (0.0889, {"coverage"}),
    "plan2_conservative": (1.42, set()),
    "plan2_aggressive": (7.10, set()),
    "plan2_8bit": (1.42, set()),
    "math_1.5b": (50.9, set()),
    "stage1_qwen2.5_32b": (2.0, set()),
    "baseline_7b": (3.2, set()),
}
"""The experiments of the records."""


@pytest.mark.slow  # models of 64 layers are built
@pytest.mark.parametrize("name", specifications(project_root())[0])
def test_every_specification_is_planned_and_printed(made, name, request):
    experiment = load(SPECS / f"{name}.yaml")
    if experiment.data.expected:
        result = made(experiment)
        warned = {f.rule for f in result.findings if f.severity == "warning"}
        assert warned == {"plan2_undertrained": {"learning_rate"}, "math_1.5b": {"coverage_high"}}.get(name, set())
    else:
        if experiment.data.source.kind == "embedded":
            base, rows = SHIPPED, clean_rows(experiment.data.source, experiment.data.source.rows)
        else:
            assert name == "stories_gsm8k"
            folder = request.getfixturevalue("real_data")
            base, lines = folder / "stories260K-hf", (folder / "gsm8k" / "train.jsonl").read_text("utf-8").splitlines()
            rows = [{"instruction": r["question"], "response": r["answer"]} for r in map(json.loads, lines[:1200])]
        lengths = tokenization.lengths(experiment, load_tokenizer(base, experiment.model), rows)
        held_out = max(experiment.data.split.test_size, 300)
        protected = {t: 200 for guarantee in experiment.evaluation.gate.protected for t in guarantee.types}
        config = json.loads((base / "config.json").read_text("utf-8"))
        result = made(experiment, lengths[held_out:], {"all": held_out} | protected, None, config)
    coverage, refusals = PRESETS.get(name, (result.coverage, set()))
    assert result.coverage == pytest.approx(coverage, abs=0.05 if coverage > 10 else 0.005)
    assert set(blocking(result)) == refusals
    assert ("refused: 1 blocking finding" if refusals else "the run may start") in summary(result)


@pytest.mark.slow
def test_the_8bit_preset_is_scaled_by_the_root_of_its_rank(made):
    result = made(load(SPECS / "plan2_8bit.yaml"))
    assert result.lora_scaling == pytest.approx(64 / 32**0.5)
    # 64 layers × 32 × (inputs + outputs) of q, v, o, gate, up and down.
    assert result.trainable_parameters == 64 * 32 * (10240 + 6144 + 10240 + 3 * 32768)
    assert result.memory_bytes["weights"] > 31e9


def test_effective_batch_counts_the_processes(toy, made):
    result = made(toy(data=UNDERTRAINED, batch_size=2, gradient_accumulation=4, processes=4, max_steps=1500))
    assert result.effective_batch == 32 and result.coverage == pytest.approx((45000 + 93 * 32) / 45000)
    one = toy(data=UNDERTRAINED, batch_size=8, gradient_accumulation=4, max_steps=1500)
    assert made(one).coverage == result.coverage


def test_memory_that_the_device_lacks_is_refused_with_the_number(toy, made):
    def plan_of(limit, **training):
        model = {"architecture": SMALL, "dtype": "bfloat16", "device": "cuda", "device_memory_gb": limit}
        declared = {"gradient_accumulation": 1, "gradient_checkpointing": False, "batching": "grouped"} | training
        return made(toy(data=RECORD, model=model, lora={"target_modules": ("q_proj", "v_proj")}, **declared))

    finding = blocking(plan_of(4.0))["memory"]
    assert "4 GB declared; the largest part is embeddings with 3.1 GB" in finding.evidence
    assert (
        "nf4" in finding.remedy and "gradient_checkpointing" in finding.remedy and "halve batch_size" in finding.remedy
    )
    fitting = plan_of(14.0, gradient_checkpointing=True)
    assert not {f.rule for f in fitting.findings} & {"memory", "memory_tight"}
    needed = sum(fitting.memory_bytes.values()) / 1e9
    assert "memory_tight" in {f.rule for f in plan_of(1.05 * needed, gradient_checkpointing=True).findings}


def test_what_a_loss_over_all_logits_would_need_is_named_beside_the_estimate(toy, made):
    def found(length):
        result = made(toy(max_length=8192), [(20, length)] * 100, architecture=SMALL)
        return result, {f.rule: f for f in result.findings}.get("logits_tiled")

    assert found(10)[1] is None
    result, finding = found(4000)
    tiled, whole = (float(figure) for figure in re.findall(r"([\d.]+) GB", finding.evidence))
    assert tiled == pytest.approx(sum(result.memory_bytes.values()) / 1e9, abs=0.06)
    # at most 4 rows × 4,020 tokens × 152,064 entries × 16 bytes and their fragments: one layer's share is free by then
    assert 1 <= whole - tiled < 1.1 * 39.2


def test_memory_by_quantisation(toy, made):
    def weights(kind, **options):
        model = {"architecture": SMALL, "dtype": "bfloat16", "quantization": kind, **options}
        parts = made(toy(data=RECORD, model=model)).memory_bytes
        assert parts["embeddings"] == pytest.approx(2 * (2 * 152064 * 5120 + 2 * 2 * 5120 + 5120), rel=1e-3)
        return parts["weights"] / (2 * (2 * 5120**2 + 2 * 5120 * 1024 + 3 * 5120 * 27648))

    assert weights("none") == pytest.approx(2)
    assert weights("nf4") == pytest.approx(0.5 + 0.127 / 8, abs=1e-4)  # 0.127 bits per parameter: QLoRA, section 3
    assert weights("nf4", double_quantization=False) == pytest.approx(0.5625)
    assert weights("int8") == pytest.approx(1, abs=0.001)


def test_optimiser_states_by_optimiser(toy, made):
    def states(name):
        model = {"architecture": SMALL, "device": "cuda"}
        return made(toy(data=RECORD, model=model, optimizer=name)).memory_bytes["optimiser"]

    trainable = made(toy(data=RECORD, model={"architecture": SMALL})).trainable_parameters
    assert states("adamw_torch") == 8 * trainable
    assert states("adamw_8bit") == states("paged_adamw_8bit") == pytest.approx(2 * trainable, rel=0.02)


def test_time_is_what_the_declared_throughput_gives_and_never_invented(toy, made):
    timed = made(toy(data=RECORD, epochs=2.0, tokens_per_second=180.0), files=True)
    assert timed.seconds / 60 == pytest.approx(72, abs=0.5)  # the record: 776,698 tokens in 72 minutes
    assert "about 72 min" in timed.path("plan.txt").read_text()
    assert made(toy(data=RECORD)).seconds is None


@pytest.mark.parametrize(
    ("model", "training", "rule"),
    [
        ({}, {"optimizer": "paged_adamw_8bit"}, "optimizer_fallback"),
        ({}, {"batching": "packed", "packed_attention": "mask"}, "packed_mask"),
        ({}, {"liger": True}, "liger_idle"),
        ({}, {"batching": "grouped", "batch_size": 1}, "batching_idle"),
        ({}, {"fsdp": True, "processes": 2}, "fsdp_idle"),
        ({"device": "cuda"}, {"fsdp": True, "processes": 2, "validation_prompts": 3}, "validation_prompts_idle"),
        ({}, {"eval_steps": 51}, "one_evaluation"),  # of 50 steps
        ({"double_quantization": True}, {}, "double_quantization_idle"),
        ({"quantization": "nf4", "int8_threshold": 5.0}, {}, "int8_threshold_idle"),
        ({}, {"warmup_ratio": 0.1, "warmup_steps": 3}, "warmup_ratio_ignored"),
        ({}, {"early_stopping": {"patience": 9}, "adapter": "best", "save_steps": 10}, "early_stopping_idle"),
        ({"architecture": SMALL}, {"gradient_checkpointing": True}, "checkpointing_idle"),
    ],
)
def test_an_option_that_has_no_effect_is_reported(toy, made, model, training, rule):
    lengths = [(20, 10)] * 100
    assert rule not in {f.rule for f in made(toy(), lengths).findings}
    assert rule in {f.rule for f in made(toy(model=model, **training), lengths).findings}


@pytest.mark.parametrize(
    ("training", "dev", "said"),
    [
        ({"save_steps": 50}, None, ""),
        ({"save_steps": 60, "eval_steps": 10}, None, ""),  # the end is saved and has an evaluation
        ({"save_steps": 60}, None, ""),
        ({"save_steps": 60, "eval_steps": 15}, [(20, 10), (9000, 9)], ""),
        ({"save_steps": 10}, [(9000, 9)], "all rows of the dev split are fully masked"),
    ],
)
def test_a_best_checkpoint_without_an_evaluation_is_refused(toy, made, training, dev, said):
    options = {"lengths": [(20, 10)] * 100, "dev": dev}  # 50 steps
    found = blocking(made(toy(**training, adapter="best", early_stopping={"patience": 2}), **options)).get("no_best")
    assert (said in found.evidence and "adapter to last without early_stopping" in found.remedy) if said else not found
    assert "no_best" not in blocking(made(toy(**training), **options))


@pytest.mark.parametrize(
    ("minimum", "training", "dev", "said"),
    [
        (
            {"min_dev_loss_drop": 0.1},
            {"eval_steps": 50},
            None,
            "min_dev_loss_drop is measured by 2 .* every 50 and .* have 1",
        ),
        ({"min_dev_loss_drop": 0.1}, {"eval_steps": 49}, None, ""),
        ({"max_perplexity": 20.0}, {"save_steps": 51}, None, ""),
        ({"max_perplexity": 20.0}, {"eval_steps": 5}, [], "all rows of the dev split are fully masked"),
        ({"min_loss_drop": 0.1, "min_accuracy_gain": 0.1}, {"eval_steps": 51}, None, ""),
    ],
)
def test_a_minimum_that_no_evaluation_could_measure_is_refused(toy, made, minimum, training, dev, said):
    options = {"lengths": [(20, 10)] * 100, "dev": dev}  # 50 steps
    found = blocking(made(toy(minimum=minimum, **training), **options)).get("minimum_unmeasured")
    assert re.search(said, found.evidence) if said else not found
    assert "minimum_unmeasured" not in blocking(made(toy(optimal=minimum, **training), **options))


def test_a_plan_of_a_billion_steps_is_made_as_fast_as_any(toy, made):
    result = made(toy(max_steps=10**9, schedule="cosine", warmup_steps=12_345), [(20, 10)] * 100, files=True)
    assert result.steps == 10**9 and result.path("schedule.png").stat().st_size > 0
    assert result.negligible_from == pytest.approx(0.936e9, rel=1e-3)
    points = schedule.sampled_steps(10**9, 12_345)
    assert len(points) <= 2000 and {0, 12_345, 5 * 10**8, 10**9} <= set(points) and points == sorted(points)
    assert schedule.sampled_steps(7, 2) == [*range(8)]


def test_padding_by_batching(toy, made):
    lengths = [(5, 5 + (i * 37) % 190) for i in range(800)]
    plain, grouped, packed = (
        made(toy(batching=kind, batch_size=8, epochs=1.0), lengths) for kind in ("plain", "grouped", "packed")
    )
    assert plain.padding_share > 0.35 > 0.1 > grouped.padding_share > packed.padding_share == 0
    assert "padding" in {f.rule for f in plain.findings} and "padding" not in {f.rule for f in grouped.findings}
    assert plain.tokens_per_epoch == sum(p + r for p, r in lengths) and plain.longest == max(p + r for p, r in lengths)


def test_fully_masked_rows_are_left_out_of_the_plan_and_named(toy, made):
    trained, masked = [(20, 5 + i) for i in range(32)], [(64, 5), (200, 300)] * 24
    allowed = toy(max_length=64, max_masked_share=0.6, max_truncated_share=0.6, epochs=2.0, batch_size=8)
    result, alone = made(allowed, [*masked, *trained]), made(allowed, trained)
    assert (result.train_rows, result.masked_rows, result.trained_rows) == (80, 48, 32) and alone.masked_rows == 0
    same = ("steps", "coverage", "tokens_per_epoch", "padding_share", "longest", "memory_bytes", "learning_rates")
    assert all(getattr(result, name) == getattr(alone, name) for name in same) and result.steps == 8
    (named,) = (f for f in result.findings if f.rule == "masked_rows")
    assert named.severity == "warning" and "48 of 80 rows (60.0%)" in named.evidence and "other 32" in named.evidence
    # Coverage and batch are judged by what is trained on: 10 steps are 1 pass over 80 rows, but 2.5 over 32.
    judged = made(
        toy(max_length=64, max_masked_share=0.6, max_truncated_share=1.0, max_steps=10, batch_size=8, max_coverage=2.0),
        [*masked, *trained],
    )
    assert judged.coverage == 2.5 and "coverage_high" in {f.rule for f in judged.findings}
    assert "batch_exceeds_rows" in blocking(made(toy(max_length=64, batch_size=64), [*masked, *trained]))
    with pytest.raises(
        PreconditionError, match=r"prompt of each of the 48 rows reaches training\.max_length 64; raise it"
    ):
        made(allowed, masked)


def test_a_stated_mean_above_the_limit_is_refused(toy, made):
    stated = {"expected": RECORD["expected"] | {"mean_tokens": 64.5}}
    refused = blocking(made(toy(data=stated, max_length=64)))["truncated_rows"]
    assert "64.5 tokens is above max_length 64" in refused.evidence and "max_length to 129 or more" in refused.remedy
    assert not made(toy(data=stated, max_length=65)).blocking


@pytest.mark.parametrize(
    ("rows", "batch", "count"), [(37, 4, 2), (40, 4, 2), (41, 4, 2), (44, 4, 2), (50, 4, 3), (64, 1, 8), (65, 1, 8)]
)
def test_the_rows_that_several_processes_repeat_are_those_of_accelerate(toy, made, rows, batch, count):
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    batches = BatchSampler(range(rows), batch, drop_last=False)
    shards = [BatchSamplerShard(batches, count, index) for index in range(count)]
    repeated = sum(len(one) for shard in shards for one in shard) - rows
    several = toy(batch_size=batch, gradient_accumulation=2, processes=count)
    said = [f.evidence for f in made(several, [(20, 10)] * rows).findings if f.rule == "rows_repeated"]
    assert (f"accelerate reads {repeated} of them again" in said[0]) if repeated else not said
    first = toy(batch_size=batch, processes=count, max_steps=1, min_coverage=0.01)  # the pass does not end
    assert "rows_repeated" not in {f.rule for f in made(first, [(20, 10)] * rows).findings}


@pytest.mark.slow
@given(
    rows=st.integers(1, 50_000),
    batch=st.integers(1, 16),
    accumulation=st.integers(1, 8),
    steps=st.integers(1, 5_000),
)
def test_the_remedy_for_too_little_coverage_is_the_fewest_steps_that_are_enough(rows, batch, accumulation, steps):
    def refused(count):
        training = Training(max_steps=count, batch_size=batch, gradient_accumulation=accumulation)
        return next((f for f in plan_rows.batches(rows, training) if f.rule == "coverage"), None)

    finding = refused(steps)
    assert (finding is not None) == (
        steps
        < schedule.steps_per_epoch(rows, Training(max_steps=1, batch_size=batch, gradient_accumulation=accumulation))
    )
    if finding:
        needed = int(finding.remedy.split("at least ")[1].split()[0].replace(",", ""))
        assert refused(needed) is None and refused(needed - 1 or 1) is not None


def test_the_remedy_counts_the_batches_of_a_batch_that_grows():
    def refused(steps):
        growing = Training(max_steps=steps, batch_size=4, gradient_accumulation={0: 1, 20: 8}, min_coverage=0.5)
        return [f.remedy for f in plan_rows.batches(200, growing) if f.rule == "coverage"]

    assert refused(12) == refused(20) == ["set epochs, or at least 21 steps"] and not refused(21)


def test_unknown_modules_and_architectures(toy, made):
    lengths = [(20, 10)] * 100
    finding = blocking(made(toy(lora={"target_modules": ("q_proj", "c_attn")}), lengths, architecture=SMALL))
    assert "c_attn" in finding["target_modules"].evidence
    paths = toy(lora={"target_modules": ("self_attn.q_proj", "model.embed_tokens")})
    taken = made(paths, lengths, architecture=SMALL)
    assert not taken.blocking and "embeddings_adapted" in {f.rule for f in taken.findings}
    wrong = made(toy(lora={"target_modules": ("mlp.q_proj", "proj")}), lengths, architecture=SMALL)
    assert "named mlp.q_proj, proj" in blocking(wrong)["target_modules"].evidence
    head = made(toy(lora={"target_modules": ("q_proj", "lm_head")}), lengths, architecture=SMALL)
    assert "lm_head is the output layer" in blocking(head)["target_modules"].evidence
    other = made(toy(), lengths, architecture={"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2})
    assert not other.blocking and other.trainable_parameters > 0
    with pytest.raises(PreconditionError, match="no_such_type cannot be built"):
        made(toy(), lengths, architecture={"model_type": "no_such_type"})


def test_the_memory_of_the_device_is_enforced_in_every_case(toy, made):
    lengths = [(20, 10)] * 100
    unknown = {f.rule: f for f in made(toy(), lengths).findings}["architecture_unknown"]
    assert unknown.severity == "warning"
    assert (
        "memory (46 GB) cannot be checked"
        in blocking(made(toy(model={"device_memory_gb": 46.0}), lengths))["architecture_unknown"].evidence
    )
    both = toy(model={"device_memory_gb": 1.0, "architecture": SMALL | {"vocab_size": 8}})
    result = made(both, lengths, architecture=SMALL)  # as in the lineage, beside the base's config.json
    assert "memory" in blocking(result) and result.total_parameters > 10**9
    assert "architecture_differs" in {f.rule for f in result.findings}


def test_without_a_demanded_power_the_plan_is_made(toy, made):
    result = made(toy(data=RECORD, gate={"min_power": 0.0}))
    assert not result.blocking and result.power["minimum_effect_exact"] == 0.0


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj"), ("self_attn.q_proj", "1.mlp.up_proj")])
@pytest.mark.parametrize("kind", ["Qwen2", "Llama"])
def test_parameters_are_those_of_a_loaded_model(toy, made, kind, targets):
    import transformers
    from peft import LoraConfig, get_peft_model

    sizes = QWEN_32B | {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "vocab_size": 64}
    sizes |= {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": kind == "Llama"}
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    lora = {"r": 3, "target_modules": targets}
    result = made(toy(lora=lora), [(20, 10)] * 100, architecture=config.to_dict())
    assert result.total_parameters == model.num_parameters()
    peft = LoraConfig(r=3, target_modules=targets if isinstance(targets, str) else list(targets), task_type="CAUSAL_LM")
    assert result.trainable_parameters == get_peft_model(model, peft).get_nb_trainable_parameters()[0]


@pytest.mark.slow
def test_plan_says_what_each_benchmark_can_decide():
    experiment = load(SPECS / "baseline_7b.yaml")
    made = plan.compute(experiment, None, {"all": 500}, None, None)
    benchmarks = {b.name: b for b in made.benchmarks}
    assert [b.items for b in made.benchmarks] == [14042, 164, 1319, 817, 10042]
    assert benchmarks["humaneval"].smallest_loss == pytest.approx(0.0229, abs=1e-4) and made.benchmark_seconds is None
    assert "humaneval:      164 items rule out a loss of 2.3 points" in summary(made)
    assert not made.blocking

    narrow = json.loads(experiment.model_dump_json())
    narrow["training"]["tokens_per_second"] = 1000.0
    narrow["evaluation"]["capabilities"] |= {"blocking": "undecided"}
    narrow["evaluation"]["capabilities"]["benchmarks"]["humaneval"]["margin"] = 0.02
    made = plan.compute(Experiment.model_validate_json(json.dumps(narrow)), None, {"all": 500}, None, None)
    (finding,) = made.blocking
    assert finding.rule == "benchmark_undecidable" and "189 items or more" in finding.remedy
    assert made.benchmark_seconds == sum(b.tokens for b in made.benchmarks) / 1000

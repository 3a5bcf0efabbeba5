"""The diagnosis, on runs of others, on the record's sick run, and on one fault at a time."""

import json
import math
import random

import pytest

from sft_pipeline.training.diagnosis import diagnose, judge


def run(losses, dev=(), norms=0.5, every=10):
    """Log rows of a run; `dev` are (step, loss), `norms` one value for all rows or one per row."""
    norms = norms if isinstance(norms, list) else [norms] * len(losses)
    rows = [
        {"step": (i + 1) * every, "loss": x, "grad_norm": n} for i, (x, n) in enumerate(zip(losses, norms, strict=True))
    ]
    return rows + [{"step": step, "eval_loss": value} for step, value in dev]


def falling(count=40, start=2.0, end=1.0, noise=0.02, seed=0):
    generator = random.Random(seed)
    return [end + (start - end) * math.exp(-5 * i / count) + generator.gauss(0, noise) for i in range(count)]


def rules(log, severity="blocking", **known):
    return {finding.rule for finding in judge(log, **known)[0] if finding.severity == severity}


@pytest.mark.real_data
def test_real_runs_get_the_label_of_their_reader(real_data, tmp_path):
    folder = real_data / "trainer-states"
    labels = {entry["file"]: entry["label_by_reading"] for entry in json.loads((folder / "INDEX.json").read_text())}
    assert len(labels) == 5
    for name, label in labels.items():
        out = tmp_path / name
        out.mkdir()
        report = diagnose(json.loads((folder / name).read_text())["log_history"], out)
        assert report.healthy == (label == "healthy"), (name, report.findings)
        assert set(report.files) == {"diagnosis.json", "diagnosis.txt", "curves.png"}
        assert report.digest


def test_the_record_s_sick_run():
    generator = random.Random(4)
    losses = [2.7335 + (2.7150 - 2.7335) * i / 49 + generator.gauss(0, 0.001) for i in range(50)]
    log = run(losses, dev=[(150, 2.9310), (300, 2.9310), (450, 2.9310)], norms=0.0)
    assert rules(log, train_rows=45_000, effective_batch=8) == {"zero_gradient", "identical_dev_loss", "not_learning"}
    found = {f.rule: f for f in judge(log, 45_000, 8)[0]}
    assert "coverage 0.0889 epochs: 500 steps × 8 = 4,000 of 45,000 rows" in found["coverage"].evidence
    assert "2.931 at all 3 evaluations" in found["identical_dev_loss"].evidence


def test_the_record_s_healthy_run():
    log = run(falling(136, 1.673, 0.587), dev=[(400, 0.9), (800, 0.7), (1300, 0.65)], norms=0.5)
    assert not rules(log, train_rows=5467, effective_batch=8)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (run([*falling(20), math.nan, math.nan]), {"non_finite_loss"}),
        (run([*falling(20), "nan"]), {"non_finite_loss"}),
        (run([math.nan] * 12), {"non_finite_loss"}),
        (run(falling(), dev=[(100, 1.5), (200, math.inf)]), {"non_finite_loss"}),
        (run(falling(20), norms=[0.5] * 18 + [math.nan] * 2), {"non_finite_gradient"}),
        (run(falling(40), norms=[0.5] * 30 + [0.0] * 10), {"zero_gradient"}),
        (run([2.0 + 0.01 * (i % 3) for i in range(40)]), {"not_learning"}),
        (run([1.0 + 0.02 * i for i in range(40)]), {"not_learning", "divergence"}),
        (run([*falling(30, 2.0, 0.8), 1.5, 2.5, 3.5, 4.0, 4.5, 5.0]), {"not_learning", "divergence"}),
        (run([*falling(20), *[0.0] * 20]), {"zero_loss"}),
        (run(falling(), dev=[(100, 1.2), (200, 1.2), (300, 1.2)]), {"identical_dev_loss"}),
        (run([x * 8 for x in falling()], dev=[(100, 1.4), (250, 1.1), (400, 1.0)]), {"loss_scales"}),
        (run(falling(), dev=[(100, 9.9), (250, 9.5), (400, 9.2)]), {"loss_scales"}),
        ([], {"no_log"}),
    ],
)
def test_one_fault_at_a_time_is_found_and_nothing_else_blocks(log, expected):
    assert rules(log) == expected
    assert all(finding.remedy for finding in judge(log)[0] if finding.severity == "blocking")


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (run(falling(), norms=[0.5] * 20 + [math.nan] + [0.5] * 19), "info non_finite_gradient"),
        (run([*falling(20), 9.0, *falling(19, 1.2, 1.0)]), "warning loss_spikes"),
        (run(falling(), dev=[(100, 1.2), (200, 1.1), (300, 1.3), (400, 1.6)]), "warning overfitting"),
        (run(falling(start=0.2, end=0.001, noise=0.0001)), "warning memorised"),
        (run(falling(4)), "warning few_log_rows"),
        (run([1.0 - 0.02 * i / 39 for i in range(40)]), "warning slow_learning"),
        ([{"step": i, "loss": x} for i, x in enumerate(falling())], "info gradient_norm_missing"),
        (run(falling(), norms=[0.5] * 36 + [50.0] * 4), "warning exploding_gradient"),
    ],
)
def test_what_is_worth_saying_but_not_sick(log, expected):
    severity, rule = expected.split()
    assert rule in rules(log, severity)
    assert not rules(log)


def test_per_step_logs_that_are_noisy_but_fall_are_healthy():
    losses = falling(1000, 1.6, 1.0, noise=0.35)
    assert not rules(run([abs(x) for x in losses], every=1))


def test_metrics_are_finite_and_the_text_names_the_verdict(tmp_path):
    report = diagnose(run([*falling(20), math.nan], dev=[(10, math.nan)]), tmp_path)
    assert all(map(math.isfinite, report.metrics.values())) and report.digest
    assert (tmp_path / "diagnosis.txt").read_text().startswith("sick\n")

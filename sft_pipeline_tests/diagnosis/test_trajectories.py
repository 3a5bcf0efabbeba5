"""The diagnosis on synthetic trajectories: no alarm over healthy runs, and the severity from which on each fault is detected.

A run is a list of log records; a fault changes such records by a severity from 0 (none) to 1 (as bad as it gets).
"""

import math
import random

import pytest

from sft_pipeline.diagnosis.diagnose import judge

KINDS = {  # loss at start and end (nats), learning rate, lower and upper
    "adapter": ((1.3, 3.0), (0.5, 0.9), (5e-5, 2e-3)),
    "full": ((1.0, 2.0), (0.6, 0.9), (1e-6, 5e-5)),
    "continued": ((0.6, 1.4), (0.86, 0.94), (1e-6, 2e-4)),
    "pretraining": ((6.5, 10.5), (0.25, 0.5), (1e-4, 4e-3)),
    "preference": ((0.69, 0.7), (0.3, 0.95), (1e-7, 5e-6)),
}
"""By kind of training: the loss at the start (nats), the share of it at the end, the peak learning rate."""


def healthy(seed, kind=None, rows=None, evaluations=None):
    """Log records of a run that is healthy; what is not given is drawn by the seed."""
    draw = random.Random(seed)
    kind = kind or draw.choice(list(KINDS))
    starts, shares, rates = KINDS[kind]
    rows = rows or round(math.exp(draw.uniform(math.log(10), math.log(2000))))
    start, peak = draw.uniform(*starts), math.exp(draw.uniform(*map(math.log, rates)))
    end, speed = start * draw.uniform(*shares), draw.uniform(2, 10)
    noise = draw.uniform(0.003, 0.2 if rows > 100 else 0.08 if rows > 30 else 0.03)
    warm_up, every, epochs = draw.choice([0, 0.03, 0.1]), draw.choice([1, 10, 50]), draw.choice([0.4, 1, 2, 3])
    schedule = draw.choice(["cosine", "linear", "constant"])
    norm, growth = math.exp(draw.uniform(math.log(0.05), math.log(20))), draw.uniform(0.3, 4)
    log = []
    for i in range(rows):
        done = (i + 1) / rows
        level = end + (start - end) * math.exp(-speed * max(0.0, done - warm_up / 2))
        decay = max(0.0, done - warm_up) / (1 - warm_up)
        share = {"cosine": (1 + math.cos(math.pi * decay)) / 2, "linear": 1 - decay, "constant": 1.0}[schedule]
        early = 1 + draw.choice([0, 0, 30]) * math.exp(-60 * done)
        log.append(
            {
                "step": (i + 1) * every,
                "epoch": epochs * done,
                "loss": level * math.exp(draw.gauss(0, noise)),
                "learning_rate": peak * min(share, done / warm_up if warm_up else 1.0),
                "grad_norm": norm * early * growth**done * math.exp(draw.gauss(0, 0.3)),
            }
        )
        if kind == "preference":
            log[-1]["rewards/chosen"] = draw.gauss(done, 0.3)
    for i in range(draw.randrange(rows // 30 + 1)):  # what happens now and then: a hard batch, a skipped step
        log[draw.randrange(rows)]["grad_norm" if i else "loss"] *= draw.uniform(1.5, 8) if i else 1.5
    if draw.random() < 0.1:
        log[0]["grad_norm"] = math.nan
    evaluations = draw.choice([0, 0, 1, 3, 8, 25]) if evaluations is None else evaluations
    gap, late = draw.uniform(0.97, 1.1), draw.choice([0, 0, 0.04])
    for i in range(min(evaluations, rows // 3)):
        done = (i + 1) / min(evaluations, rows // 3)
        level = end + (start - end) * math.exp(-speed * done)
        value = gap * level * (1 + late * max(0.0, done - 0.6)) * math.exp(draw.gauss(0, 0.004))
        log.append({"step": round(done * rows) * every, "epoch": epochs * done, "eval_loss": value})
    return log


def single_examples(seed, scatter, evaluations, rows=300):
    """Log records of a healthy run that logs every step of one example: they scatter widely, their mean is the dev loss."""
    draw = random.Random(seed)

    def level(step):
        return 1.7 + 0.7 * math.exp(-10 * step / rows)

    log = [
        {"step": i, "loss": level(i) * math.exp(draw.gauss(0, scatter)), "grad_norm": 0.5} for i in range(1, rows + 1)
    ]
    for i in range(1, evaluations + 1):
        step = i * rows // evaluations
        log.append({"step": step, "eval_loss": level(step) * math.exp(scatter**2 / 2)})
    return log


def training(log):
    """The records of training steps, in order."""
    return [row for row in log if "loss" in row]


def evaluated(log):
    """The rows of evaluations, in order."""
    return [row for row in log if "eval_loss" in row]


def _from(log, share):
    rows = training(log)
    return list(enumerate(rows[round(share * len(rows)) :], start=1)), len(rows) - round(share * len(rows))


def diverging(log, severity):
    """The loss climbs over the last 40 % of the run, by up to twice what it was."""
    tail, count = _from(log, 0.6)
    for i, row in tail:
        row["loss"] *= 1 + 2 * severity * min(1.0, 2 * i / count)


def diverging_at_the_end(log, severity):
    """The loss of the last five rows is up to ten times what it was."""
    for row in training(log)[-5:]:
        row["loss"] *= 1 + 9 * severity


def not_finite(log, severity):
    """The loss is NaN in the last records: one of them to half of the run."""
    for row in training(log)[-max(1, round(severity * len(training(log)) / 2)) :]:
        row["loss"] = math.nan


def exploding(log, severity):
    """The gradient norm jumps by up to 1,000 in the last 60 % of the run."""
    for _, row in _from(log, 0.4)[0]:
        row["grad_norm"] *= 1000**severity


def no_gradient(log, severity):
    """The gradient norm is exactly 0 in up to all rows, from the end."""
    for row in training(log)[-max(1, round(severity * len(training(log)))) :]:
        row["grad_norm"] = 0.0


def standing(log, severity):
    """Nothing is learned: a share of the fall is missing, all of it at severity 1, on dev as well."""
    start = training(log)[0]["loss"]
    for row in log:
        key = "loss" if "loss" in row else "eval_loss"
        row[key] = start * (row[key] / start) ** (1 - severity)


def no_rate(log, severity):
    """The learning rate is divided by up to 10¹²; at severity 1 it is 0."""
    for row in training(log):
        row["learning_rate"] *= 10 ** (-12 * severity) if severity < 1 else 0.0


def high_rate(log, severity):
    """The learning rate is multiplied by up to 10⁶."""
    for row in training(log):
        row["learning_rate"] *= 10 ** (6 * severity)


def overfitted(log, severity):
    """The dev loss turns at half of the run and ends up to 60 % above its best; the training loss falls on."""
    rows = evaluated(log)
    for i, row in enumerate(rows):
        row["eval_loss"] = rows[len(rows) // 2]["eval_loss"] * (
            1 + 0.6 * severity * max(0.0, 2 * (i + 1) / len(rows) - 1)
        )
    for i, row in _from(log, 0.5)[0]:
        row["loss"] *= 1 - 0.3 * i / len(log)


def memorized(log, severity):
    """The loss of training falls by up to a further factor of 10,000 in the course of the run; there is no dev loss."""
    log[:] = training(log)
    for i, row in enumerate(log):
        row["loss"] *= 10 ** (-4 * severity * min(1.0, 2 * (i + 1) / len(log)))


def same_dev(log, severity):
    """The evaluations differ by less and less, and at severity 1 not at all."""
    rows = evaluated(log)
    for row in rows[1:]:
        row["eval_loss"] = rows[0]["eval_loss"] * (
            1 if severity == 1 else (row["eval_loss"] / rows[0]["eval_loss"]) ** (1 - severity)
        )


def other_scale(log, severity):
    """The training loss is summed over up to 16 accumulation steps."""
    for row in training(log):
        row["loss"] *= 16**severity


def blocking(log):
    return {finding.rule for finding in judge(log)[0] if finding.severity == "blocking"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_healthy_runs_of_any_length_noise_and_schedule_raise_no_alarm(kind):
    found = {seed: blocking(healthy(seed, kind)) for seed in range(40)}
    assert not {seed: rules for seed, rules in found.items() if rules}
    lengths = [len(training(healthy(seed, kind))) for seed in range(40)]
    assert min(lengths) < 20 and max(lengths) > 1000
    assert any(not evaluated(healthy(seed, kind)) for seed in range(40))


@pytest.mark.parametrize("scatter", [0.5, 0.7])
@pytest.mark.parametrize("evaluations", [1, 6])
def test_healthy_runs_whose_records_are_single_examples_raise_no_alarm(scatter, evaluations):
    for seed in range(20):
        log = single_examples(seed, scatter, evaluations)
        assert blocking(log) <= ({"undecided_rise"} if evaluations == 1 else set()), seed


@pytest.mark.parametrize(
    ("fault", "severity", "rules"),
    [
        (diverging, 0.45, {"divergence"}),
        (diverging_at_the_end, 0.4, {"divergence"}),
        (not_finite, 0.01, {"non_finite_loss"}),
        (exploding, 0.9, {"exploding_gradient"}),
        (no_gradient, 0.3, {"zero_gradient"}),
        (standing, 1.0, {"not_learning"}),
        (no_rate, 0.7, {"learning_rate"}),
        (high_rate, 0.8, {"learning_rate"}),
        (overfitted, 0.4, {"overfitting"}),
        (memorized, 0.65, {"memorized"}),
        (same_dev, 1.0, {"identical_dev_loss"}),
        (other_scale, 0.5, {"loss_scales", "loss_level"}),
    ],
)
def test_a_fault_of_this_severity_is_always_seen_and_none_is_no_fault(fault, severity, rules):
    for seed in range(12):
        log = healthy(seed, ("adapter", "full")[seed % 2], (20, 60, 200, 800)[seed % 4], evaluations=8)
        fault(log, severity)
        assert blocking(log) & rules, (seed, blocking(log))
    assert not blocking(healthy(0, "adapter", 200, evaluations=8))


@pytest.mark.parametrize("rows", [12, 50, 200])
def test_a_gradient_of_0_beside_a_loss_that_only_scatters_is_never_taken_for_unmeasured(rows):
    for seed in range(20):
        generator = random.Random(seed)
        log = healthy(seed, "adapter", rows, evaluations=0)
        standing(log, 1.0)
        no_gradient(log, 1.0)
        for row in log:
            row["loss"] *= math.exp(generator.gauss(0, 0.2))
        assert "zero_gradient" in blocking(log), seed


def test_what_was_learned_before_the_norm_was_logged_does_not_excuse_a_gradient_of_0():
    log = healthy(1, "adapter", 200, evaluations=0)
    for row in log[:100]:
        row.pop("grad_norm")
    for row in log[100:]:
        row["loss"] = log[99]["loss"]
        row["grad_norm"] = 0.0
    assert "zero_gradient" in blocking(log)


def test_a_norm_that_a_launcher_records_as_0_beside_a_loss_that_falls_was_not_measured():
    for rows in (12, 50, 200):
        log = healthy(3, "adapter", rows, evaluations=0)
        no_gradient(log, 1.0)
        assert not blocking(log)

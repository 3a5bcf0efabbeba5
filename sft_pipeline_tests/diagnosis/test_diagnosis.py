"""The diagnosis, on public runs, on the record's unhealthy run, and on one fault at a time."""

import json
import math
import random

import pytest

from sft_pipeline.diagnosis.diagnose import diagnose, judge, verdict
from sft_pipeline.diagnosis.log_files import log_history, state_file
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Training


def run(losses, dev=(), norms=0.5, every=10, rates=None, epochs=None):
    """Log records of a run; `dev` are (step, loss), `norms` one value for all rows or one per row."""
    norms = norms if isinstance(norms, list) else [norms] * len(losses)
    rows = [
        {"step": (i + 1) * every, "loss": x, "grad_norm": n} for i, (x, n) in enumerate(zip(losses, norms, strict=True))
    ]
    for i, row in enumerate(rows):
        row |= {"learning_rate": rates[i]} if rates else {}
        row |= {"epoch": epochs * (i + 1) / len(rows)} if epochs else {}
    return rows + [{"step": step, "eval_loss": value} for step, value in dev]


def falling(count=40, start=2.0, end=1.0, noise=0.02, seed=0):
    generator = random.Random(seed)
    return [end + (start - end) * math.exp(-5 * i / count) + generator.gauss(0, noise) for i in range(count)]


def sure(scored):
    """A run that is certain of its rows and of dev's; with a measure of its labels it may be right to be."""
    log = run([2.0 * math.exp(-0.3 * i) for i in range(40)], dev=[(100, 0.1), (250, 1e-3), (400, 5e-4)])
    return [row | {"eval_f1": 0.99} if scored and "eval_loss" in row else row for row in log]


BLOCKS = {
    "healthy": set(),
    # Its loss falls from around 10.9 to 8.9 and its dev loss from 7.9 to 7.2: the level is what shows that nothing works.
    "not learning": {"loss_level"},
    "suspicious": {"loss_scales"},
}
"""The rules that block, by what the reader of a real run wrote."""


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
        assert {f.rule for f in report.findings if f.severity == "blocking"} == BLOCKS[label], name
        assert set(report.files) == {"diagnosis.json", "diagnosis.txt", "curves.png"}
        assert report.digest


def test_the_record_s_unhealthy_run():
    generator = random.Random(4)
    losses = [2.7335 + (2.7150 - 2.7335) * i / 49 + generator.gauss(0, 0.001) for i in range(50)]
    log = run(losses, dev=[(150, 2.9310), (300, 2.9310), (450, 2.9310)], norms=0.0)
    for i, row in enumerate(log[:50]):
        row["learning_rate"] = 2.5e-5 * (1 + math.cos(math.pi * i / 50)) if i < 49 else 5e-10
    assert rules(log, train_rows=45_000, effective_batch=8) == {"zero_gradient", "identical_dev_loss", "not_learning"}
    found = {f.rule: f for f in judge(log, 45_000, 8)[0]}
    assert "coverage 0.0889 epochs: 500 steps × 8 = 4,000 of 45,000 rows" in found["coverage"].evidence
    assert "raise learning_rate to 1e-4" in found["learning_rate_low"].remedy
    assert "5e-10 and is below 1 %" in found["rate_spent"].evidence
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
        (run([*falling(30, 2.0, 0.8), 1.5, 2.5, 3.5, 4.0, 4.5, 5.0]), {"divergence"}),
        (run([*falling(20), *[0.0] * 20], norms=None), {"zero_loss"}),
        (run([*falling(57), *[0.0] * 3], norms=[0.5] * 57 + [0.0] * 3), {"zero_loss"}),
        (run([*falling(20), *[0.0] * 20], norms=[0.5] * 20 + [math.nan] * 20), {"zero_loss", "non_finite_gradient"}),
        (run([*falling(20), *[0.0] * 20]), {"memorized"}),  # it has a gradient, so it is only nearly 0
        (run(falling(), dev=[(100, 1.2), (200, 1.2), (300, 1.2)]), {"identical_dev_loss"}),
        (run([x * 4 for x in falling()], dev=[(100, 1.4), (250, 1.1), (400, 1.0)]), {"loss_scales"}),
        (run([x * 16 for x in falling()]), {"loss_level"}),
        (run([1.6, 11.8, 11.6, *[10.37] * 7]), {"not_learning", "divergence", "loss_level"}),
        (run(falling(), dev=[(100, 1.2), (200, 1.1), (300, 1.3), (400, 1.6)]), {"overfitting"}),
        (run(falling(), dev=[(100, 0.8), (200, 0.75), (300, 0.8), (400, 0.87)]), {"overfitting"}),
        (run(falling(), rates=[0.0] * 40), {"learning_rate"}),
        (run(falling(), rates=[1e-9] * 40), {"learning_rate"}),
        (run(falling(), rates=[0.5] * 40), {"learning_rate"}),
        (run(falling(), norms=[0.5] * 12 + [60.0] * 28), {"exploding_gradient"}),
        (run(falling(), norms=[5e4] * 40), {"exploding_gradient"}),
        (run([*falling(295), *[6.0] * 5]), {"divergence"}),
        (run([*falling(297), *[6.0] * 3]), {"divergence"}),
        (run([*falling(297, 8.0, 1.0), *[6.0] * 3]), {"divergence"}),
        (run(falling(300), norms=[0.5] * 295 + [90.0] * 5), {"exploding_gradient"}),
        (
            [*run(falling()), {"aborted_by_watchdog": "the gradient was exactly 0 in the 10 steps up to 400"}],
            {"aborted"},
        ),
        ([{"stopped_as_lost": "eval_loss is nan at step 1"}], {"aborted"}),
        (run([2.0 * 0.78**i for i in range(40)]), {"memorized"}),
        (run(falling(start=2.0, end=0.1), epochs=10), {"memorized"}),
        (sure(scored=False), {"memorized"}),
        (run(falling(2)), {"few_log_records"}),
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
        (run([*falling(298), *[6.0] * 2]), "warning loss_spikes"),
        (run([*falling(296), *[2.6] * 4]), "warning loss_spikes"),
        (run([*falling(200), 7.0, *falling(96, 1.05, 1.0), *[6.0] * 3]), "warning loss_spikes"),
        (
            run([0.0 if i in (200, 201, 399) else x for i, x in enumerate(falling(400))], norms=None),
            "warning zero_loss",
        ),
        (run([0.0 if i % 5 == 0 else x for i, x in enumerate(falling(400))]), "warning zero_loss"),
        (run([0.0 if 99 < i < 110 else x for i, x in enumerate(falling(400))]), "warning zero_loss"),
        (run([1.41, 1.23, 1.17, *falling(197, 1.12, 1.12)]), "warning learned_at_once"),
        (
            run([1.41, 1.23, *falling(98, 1.133, 1.12, 0.01)], dev=[(500, 1.13), (1000, 1.125)]),
            "warning learned_at_once",
        ),
        (run(falling(), dev=[(100, 1.2), (200, 1.1), (300, 1.15), (400, 1.2)]), "warning overfitting"),
        (run(falling(60, 2.0, 1.2, noise=0.4)), "warning noise"),
        (run(falling(), norms=0.0), "warning gradient_norm_unmeasured"),
        (run([2.7 - 0.0004 * i for i in range(40)], dev=[(100, 2.7), (400, 2.5)]), "warning slow_learning"),
        (run([3.0, *falling(60, 1.2, 1.2, noise=0.004)], rates=[1e-4] * 60 + [9e-5]), "info plateau"),
        (run(falling(), rates=[1e-4] * 20 + [1e-7] * 20), "warning rate_spent"),
        (run(falling(), rates=[2e-2] * 40), "warning learning_rate"),
        (run(falling(), epochs=0.05), "warning coverage"),
        (run(falling(start=2.0, end=0.1, noise=0.002), epochs=3), "warning memorized"),
        ([{"step": i, "loss": 0.0, "reward": 0.1 * i, "grad_norm": 0.3} for i in range(20)], "info reward_log"),
        (sure(scored=True), "warning memorized"),
        (run(falling(4)), "warning few_log_records"),
        (run([1.0 - 0.02 * i / 39 for i in range(40)]), "warning slow_learning"),
        ([{"step": i, "loss": x} for i, x in enumerate(falling())], "info gradient_norm_missing"),
        (run(falling(), norms=[0.5] * 36 + [20.0] * 4), "warning exploding_gradient"),
    ],
)
def test_what_deserves_a_warning_but_is_not_unhealthy(log, expected):
    severity, rule = expected.split()
    assert rule in rules(log, severity)
    assert not rules(log)


def test_a_norm_that_grows_below_the_clip_is_no_explosion():
    assert "exploding_gradient" not in rules(run(falling(), norms=[0.02] * 10 + [0.8] * 30), "warning")


def test_per_step_logs_that_are_noisy_but_fall_are_healthy():
    losses = falling(1000, 1.6, 1.0, noise=0.35)
    assert not rules(run([abs(x) for x in losses], every=1))


def test_metrics_are_finite_and_the_text_names_the_verdict(tmp_path):
    report = diagnose(run([*falling(20), math.nan], dev=[(10, math.nan)]), tmp_path)
    assert all(map(math.isfinite, report.metrics.values())) and report.digest
    assert (tmp_path / "diagnosis.txt").read_text().startswith("unhealthy\n")


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [20, 60, 300])
def test_healthy_runs_with_noise_are_never_called_unhealthy(seed, count):
    generator = random.Random(seed)
    scatter = 0.25 if count > 20 else 0.1
    fresh = [1.1 + 0.5 * math.exp(-6 * i / count) for i in range(count)]
    continued = [0.9 - 0.1 * i / count for i in range(count)]
    for course in (fresh, continued):
        found = judge(run([x * (1 + generator.uniform(-scatter, scatter)) for x in course], every=1))[0]
        assert verdict(found) == "healthy" or course is continued and verdict(found) == "undecided"


@pytest.mark.parametrize("seed", range(6))
def test_a_loss_that_stands_still_is_called_unhealthy_where_the_log_can_show_it_and_noise_where_not(seed):
    generator = random.Random(seed)
    assert "not_learning" in rules(run([2.7 + generator.gauss(0, 0.004) for _ in range(60)]))
    unclear = run([2.7 + generator.gauss(0, 0.6) for _ in range(60)])
    found = judge(unclear)[0]
    assert verdict(found) != "unhealthy" and {f.rule for f in found} & {"noise", "undecided_rise"}


def test_any_logging_style_is_read():
    plain = run(falling(), dev=[(200, 1.4), (400, 1.1)], epochs=2.0)
    texts = [{key: str(value) for key, value in row.items()} for row in plain]
    repeated = plain[:20] + plain[10:]  # resumed at step 100
    summary = [*plain, {"step": 400, "train_loss": 1.2, "train_runtime": 9.0, "total_flos": 0.0}]
    expected = judge(plain)
    assert judge(texts) == judge(repeated) == judge(summary) == expected
    without_steps = [{key: value for key, value in row.items() if key != "step"} for row in run(falling())]
    assert judge(without_steps)[1]["last_step"] == 40 and not rules(without_steps)


def test_too_few_records_are_undecided_and_two_rows_can_still_be_unhealthy(tmp_path):
    report = diagnose(run([2.0, 1.5]), tmp_path)
    assert not report.healthy and verdict(report.findings) == "undecided"
    assert (
        (tmp_path / "diagnosis.txt").read_text().startswith("undecided\n\nblocking: too few log records to judge: 2 of")
    )
    assert verdict(judge(run([2.0, math.nan]))[0]) == "unhealthy"
    assert verdict(judge(run([2.0, 1.5], dev=[(10, 2.0), (20, 1.6), (30, 1.4)]))[0]) == "healthy"


def test_a_module_without_a_gradient_and_steps_that_are_clipped_are_said():
    log = run(falling(40), norms=[2.0] * 40)
    for row in log[:40]:
        row |= {
            "module_grad_norm/q_proj": 2.0,
            "module_grad_norm/v_proj": 0.0,
            "clipped_share": float(row["step"] <= log[25]["step"]),
        }
    assert rules(log, "warning") == {"zero_gradient_of_a_module"} and rules(log, "info") == {"gradient_clipped"}
    assert judge(log)[1]["clipped_share"] == pytest.approx(0.65, abs=0.03)
    for row in log:
        row |= {"module_grad_norm/v_proj": 0.1, "clipped_share": 0.5}
    assert not rules(log, "warning") | rules(log, "info")


def test_an_answer_without_reward_has_no_gradient_and_the_run_is_healthy():
    rows = [
        {"step": i, "loss": 0.0, "reward": 0.1, "grad_norm": 0.0 if i % 9 < 5 and i < 40 else 0.3} for i in range(90)
    ]
    assert not rules(rows)
    without = [
        {key: value for key, value in row.items() if key != "reward"} | {"loss": 1 - row["step"] / 200} for row in rows
    ]
    assert rules(without) == {"zero_gradient"}


def preferences(peak, **evaluated):
    """Log records of a run that learns from rewards, whose loss need not fall."""
    rows = run([0.69 + 0.01 * (i % 3) for i in range(40)], rates=[peak] * 40)
    return [row | {"reward": 0.01 * i} for i, row in enumerate(rows)] + [
        {"step": 100 * i} | evaluated for i in range(1, 5)
    ]


def test_learning_from_rewards_has_rates_of_its_own_and_need_not_have_a_dev_loss():
    for peak in (1e-7, 5e-7, 5e-6, 5e-5):
        found = judge(preferences(peak, eval_loss=0.0, eval_reward=0.3))[0]
        assert {finding.rule for finding in found} == {"reward_log"}, peak
    low = {finding.rule: finding for finding in judge(preferences(5e-8))[0]}["learning_rate"]
    assert "outside 1e-07 to 0.01" in low.evidence and "5e-7 to 5e-6" in low.remedy
    assert rules(preferences(1e-9)) == {"learning_rate"}
    assert rules(preferences(5e-6, eval_loss=0.69)) == {"identical_dev_loss"}
    assert "identical_dev_loss" in rules(run(falling(), dev=[(100, 0.0), (200, 0.0), (300, 0.0)]))


def test_answers_of_one_token_that_are_sure_and_now_and_then_wrong_are_not_memorized():
    losses = [1.5 if i % 12 == 0 else 0.9 * 0.95**i + 1e-5 * (i % 7) for i in range(400)]
    log = run([round(loss, 4) for loss in losses], dev=[(1000, 0.2), (2000, 0.14), (4000, 0.13)])
    assert not rules(log) and {"memorized", "zero_loss"} <= rules(log, "warning")
    sure = run([0.9 * 0.95**i + 1e-5 for i in range(400)], dev=[(1000, 0.2), (2000, 0.14), (4000, 0.13)])
    assert rules(sure) == {"memorized"}


def test_a_loss_that_rises_after_its_first_row_is_no_learning():
    assert "not_learning" in rules(run([1.41, *[1.0 + 0.002 * i for i in range(100)]]))
    assert rules(run([1.15, *falling(99, 1.12, 1.12)])) == {"not_learning"}, "the first row is no higher than its noise"


def test_several_evaluation_sets_are_averaged():
    rows = run(falling())
    for step, easy, hard in ((200, 1.0, 5.0), (400, 0.8, 4.6)):
        rows += [{"step": step, "eval_easy_loss": easy}, {"step": step, "eval_hard_loss": hard}]
    metrics = judge(rows)[1]
    assert (metrics["dev_loss_first"], metrics["dev_loss_last"]) == (3.0, pytest.approx(2.7)) and not rules(rows)


def test_an_invalid_log_is_refused_with_the_record():
    with pytest.raises(DataError, match="record 2 .* loss is 'much'"):
        judge([{"step": 1, "loss": 2.0}, {"step": 2, "loss": "much"}])
    for key, value, said in (
        ("loss", 10**400, "loss is 1000.*, not a number"),
        ("loss", True, "loss is True, not a number"),
        ("learning_rate", math.nan, "learning_rate is nan, which no trainer writes"),
        ("step", math.inf, "step is inf, which no trainer writes"),
    ):
        with pytest.raises(DataError, match=f"record 2 .* {said}"):
            judge([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.9, key: value}])
    with pytest.raises(DataError, match="record 1 .* str, not an object"):
        judge(["loss"])


def test_a_log_is_found_in_a_run_s_folder(tmp_path):
    with pytest.raises(DataError, match=r"no trainer_state\.json"):
        log_history(tmp_path)
    (tmp_path / "trainer_state.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DataError, match="pointer of Git LFS.* git lfs pull"):
        log_history(tmp_path)
    (tmp_path / "trainer_state.json").unlink()
    for step in (900, 1000):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": step, "loss": 1.0}]}))
    assert log_history(tmp_path)[0]["step"] == 1000
    (tmp_path / "trainer_state.json").write_text('{"log_history": [{"step": 7, "loss": NaN}]}')
    assert log_history(tmp_path)[0]["step"] == 7 and math.isnan(log_history(tmp_path)[0]["loss"])
    for bad, message in (
        ("{}", "no field log_history"),
        ("[1", "not JSON"),
        ('{"log_history": {}}', "log_history is dict"),
        ('{"log_history": []}', "is empty; set logging_steps"),
        ('[{"file": "a.json", "label": "healthy"}]', "no record has a training loss"),
    ):
        (tmp_path / "trainer_state.json").write_text(bad)
        with pytest.raises(DataError, match=rf"trainer_state\.json: .*{message}"):
            log_history(tmp_path)
    with pytest.raises(DataError, match=r"No such file.*give a trainer_state\.json"):
        log_history(tmp_path / "none.json")


def test_the_state_of_a_folder_is_the_one_that_is_furthest(tmp_path):
    def save(folder, step):
        folder.mkdir(exist_ok=True)
        file = folder / "trainer_state.json"
        file.write_text(json.dumps({"global_step": step, "log_history": [{"step": step, "loss": 1.0}]}))
        return file

    own, first, newest = (
        save(tmp_path, 1000),
        save(tmp_path / "checkpoint-900", 900),
        save(tmp_path / "checkpoint-1000", 1000),
    )
    assert state_file(tmp_path) == own, "the run's last word"
    save(tmp_path, 600)  # left over from before the run went on
    assert state_file(tmp_path) == newest and log_history(tmp_path)[0]["step"] == 1000
    newest.unlink()
    assert state_file(tmp_path) == first
    own.unlink()
    assert state_file(tmp_path) == first and state_file(first) == first


def criteria(**fields):
    return Training(max_steps=500, **fields)


def test_declared_criteria_stop_below_the_minimum_and_only_tell_below_the_optimum():
    log = run([2.7 - 0.012 * i for i in range(50)], dev=[(150, 2.6), (300, 2.4), (450, 2.3)])
    for i, row in enumerate(log[:50]):
        row["mean_token_accuracy"] = 0.45 + 0.002 * i
    record = {"min_loss_drop": 0.5, "min_dev_loss_drop": 0.2, "min_accuracy_gain": 0.05, "max_perplexity": 20.0}
    optimal = {"min_loss_drop": 1.0, "max_perplexity": 6.0}
    training = criteria(minimum=record, optimal=optimal)
    assert not rules(log, training=training)
    assert rules(log, "info", training=training) >= {"optimal_min_loss_drop", "optimal_max_perplexity"}
    strict = criteria(minimum={key: 2 * value for key, value in record.items()} | {"max_perplexity": 9.0})
    assert rules(log, training=strict) == {f"minimum_{key}" for key in record}
    found = {f.rule: f.evidence for f in judge(log, training=strict)[0]}
    assert found["minimum_max_perplexity"] == "perplexity on dev: 9.974, minimum criterion at most 9"  # exp(2.3)
    unmeasured = criteria(minimum={"max_perplexity": 20.0})
    assert rules(run(falling()), training=unmeasured) == {"minimum_max_perplexity"}


def test_the_unhealthy_run_misses_every_minimum_but_the_perplexity():
    log = run([2.7335 - 0.000378 * i for i in range(50)], dev=[(150, 2.931), (300, 2.931), (450, 2.931)], norms=0.0)
    training = criteria(minimum={"min_loss_drop": 0.5, "min_dev_loss_drop": 0.2, "max_perplexity": 20.0})
    missed = {rule for rule in rules(log, training=training) if rule.startswith("minimum")}
    assert missed == {"minimum_min_loss_drop", "minimum_min_dev_loss_drop"}  # exp(2.9310) = 18.7


def test_overfitting_is_no_harm_where_the_best_state_is_the_result():
    log = run(falling(), dev=[(100, 1.2), (200, 1.1), (300, 1.3), (400, 1.6)])
    assert rules(log) == {"overfitting"} and not rules(log, training=criteria(adapter="best"))


def test_dev_tells_a_norm_of_another_scale_from_an_explosion():
    dev = [(100, 1.6), (250, 1.3), (400, 1.1)]
    shrinking = [6e5 * 0.96**i for i in range(40)]
    assert rules(run(falling(), dev=dev, norms=shrinking), "warning") == {"gradient_norm_scale"}
    assert not rules(run(falling(), dev=dev, norms=shrinking))
    for log in (
        run(falling(), norms=shrinking),  # nothing speaks for it
        run(falling(), dev=dev, norms=shrinking[::-1]),
        run(falling(), dev=[(100, 1.6), (250, 1.5), (400, 1.55)], norms=shrinking),
    ):
        assert rules(log) == {"exploding_gradient"}


def test_a_loss_that_is_no_cross_entropy_may_end_at_any_level_where_dev_falls_as_well():
    losses = [27.0 - 14.0 * i / 39 for i in range(40)]
    squares = run(losses, dev=[(130, 24.0), (400, 18.0)])
    assert not rules(squares) and "loss_level" in rules(squares, "warning")
    for dev in (
        [(130, 24.0), (400, 23.9)],  # dev does not follow
        [(130, 12.0), (400, 8.0)],  # where the rows are, a model that knows nothing is
        [(130, 13.0), (400, 8.0)],  # the training loss is a multiple
    ):
        assert "loss_level" in rules(run(losses, dev=dev)), dev


def test_a_rate_that_shows_behind_the_first_decay_is_judged_by_its_peak():
    for peak, unhealthy in ((0.997e-8, False), (0.8e-8, True)):
        log = run(falling(), rates=[peak * (1 - i / 41) for i in range(40)])
        assert rules(log) == ({"learning_rate"} if unhealthy else set())
        assert unhealthy or "learning_rate" in rules(log, "warning")


def test_several_evaluation_sets_that_all_rise_are_overfitting_and_one_of_them_is_not():
    for end, unhealthy in ((2.0, True), (1.0, False)):
        rows = run(falling())
        for step, easy, hard in ((100, 1.5, 3.0), (200, 1.1, 2.4), (400, end, 5.0)):
            rows += [{"step": step, "eval_easy_loss": easy}, {"step": step, "eval_hard_loss": hard}]
        assert rules(rows) == ({"overfitting"} if unhealthy else set())
        found = next(finding for finding in judge(rows)[0] if finding.rule == "overfitting")
        assert ("each of the 2 sets" in found.evidence) == unhealthy


def test_the_best_of_many_evaluations_counts_alone_where_no_other_comes_close():
    later = [3.4 - 0.02 * i for i in range(20)]
    for first, unhealthy in ((2.5, True), (2.8, False)):  # 2.8 could be a lucky one
        dev = [(20 * i, value) for i, value in enumerate([first, *later], start=1)]
        log = run([1.2, 2.0, 2.2, 2.0, 1.8], dev=dev, every=80)
        assert ("rising_dev_loss" in rules(log)) == unhealthy


def test_evaluations_without_a_training_loss_can_show_a_unhealthy_run_and_never_a_healthy_one():
    evaluations = [{"step": i, "eval_loss": loss} for i, loss in enumerate([0.42, 0.30, 0.26, 0.29, 0.33], start=1)]
    assert rules(evaluations) == {"rising_dev_loss"}
    assert verdict(judge(evaluations)[0]) == "unhealthy"
    assert rules(evaluations[:3]) == {"no_log"}
    assert verdict(judge([*evaluations[:3], {"step": 4, "eval_loss": 0.28}])[0]) == "undecided"
    best = Training(adapter="best", epochs=1, eval_steps=1, save_steps=1)
    assert verdict(judge(evaluations, training=best)[0]) == "undecided"


def pairs(losses, margins):
    """Log records of a run that learns from pairs of answers."""
    return [
        {"step": i, "loss": loss, "rewards/chosen": 0.1, "rewards/margins": margin, "grad_norm": 0.5}
        for i, (loss, margin) in enumerate(zip(losses, margins, strict=True), start=1)
    ]


def test_of_the_loss_of_pairs_a_rise_above_its_start_and_an_end_at_0_are_unhealthy():
    rising = [0.1 * i for i in range(40)]
    assert not rules(pairs([0.69 - 0.01 * i for i in range(40)], rising))
    assert not rules(pairs([0.69 * 0.9**i for i in range(40)], rising))
    assert rules(pairs([0.69 * 0.8**i for i in range(40)], rising)) == {"memorized"}
    assert rules(pairs([0.69, 0.16, 0.0, 0.0], [0.0, 26.0, 120.0, 142.0])) == {"memorized"}
    assert rules(pairs([0.69 + 0.05 * i for i in range(40)], rising)) == {"divergence"}
    spiky = [0.3 if i % 2 else 0.69 for i in range(40)]  # within a run it may be anything
    assert not rules(pairs(spiky, rising))


@pytest.mark.parametrize(
    ("change", "severity"), [(2.0, None), (0.0, "warning"), (-0.15, "warning"), (-2.0, "blocking")]
)
def test_a_reward_that_falls_is_unhealthy_and_one_that_does_not_rise_is_worth_a_warning(change, severity):
    generator = random.Random(7)
    rows = [
        {"step": i, "loss": 0.0, "grad_norm": 0.3, "reward": change * i / 90 + generator.gauss(0, 0.4)}
        for i in range(90)
    ]
    found = {f.rule: f.severity for f in judge(rows)[0] if f.rule.startswith("reward_f")}
    assert found == (
        {} if severity is None else {"reward_falls" if severity == "blocking" else "reward_flat": severity}
    )
    assert not any(f.rule.startswith("reward_f") for f in judge(rows[:11])[0]), "too few rows for a course"


@pytest.mark.parametrize(
    ("key", "scored"),
    [
        ("eval_f1_macro", True),
        ("eval_macro_f1", True),
        ("eval_matthews_correlation", True),
        ("eval_mean_iou", True),
        ("eval_set_accuracy", True),
        ("eval_mean_token_accuracy", False),
        ("eval_nll_loss", False),
        ("eval_runtime", False),
        ("accuracy", False),
    ],
)
def test_measures_of_labels_are_known_by_the_words_of_their_names(key, scored):
    log = [row | {key: 0.99} if "eval_loss" in row else row for row in sure(scored=False)]
    assert rules(log) == (set() if scored else {"memorized"})


def test_what_diverged_is_named_before_what_did_not_fall():
    found = judge(run([1.0 + 0.05 * i for i in range(40)]))[0]
    assert [f.rule for f in found if f.severity == "blocking"] == ["divergence", "not_learning"]


def test_a_steep_course_of_few_rows_is_no_other_scale():
    dev = [(200, 0.21)]
    assert not rules(run([6.4, 3.4, 1.4, 0.8], dev=dev, every=50))  # a row is a mean over its 50 steps
    assert rules(run([1.4, 1.2, 1.0, 0.9], dev=dev, every=50)) == {"loss_scales"}
    level = run([6.4, 3.4, 1.4, 0.8], dev=[(200, 1.2)], every=50)
    assert "loss_scales" not in rules(level) | rules(level, "warning"), "a dev loss of that level is none either"
    assert rules(run([284.9, 161.2, 9.9, 5.4, 5.2, 5.0], dev=[(300, 0.35), (600, 0.30)], every=100)) == {"loss_scales"}


@pytest.mark.parametrize(
    ("key", "last", "unhealthy"), [("eval_f1", 0.3, True), ("eval_f1", 0.6, False), ("eval_wer", 0.3, False)]
)
def test_a_score_that_collapses_tells_that_a_small_dev_loss_has_risen_too_far(key, last, unhealthy):
    log = run(falling(start=0.03, end=0.002, noise=1e-4), dev=[(100, 0.004), (250, 0.0015), (400, 0.04)])
    scores = iter((0.5, 0.8, last))
    log = [row | {key: next(scores)} if "eval_loss" in row else row for row in log]
    assert rules(log) == ({"overfitting"} if unhealthy else set())
    level = [row | {"eval_loss": 0.0015} if row.get("eval_loss") == 0.04 else row for row in log]
    assert not rules(level), "the loss does not tell of it"


def test_what_is_logged_besides_may_be_of_any_kind():
    log = [row | {"eval_f1": [0.9, 0.8], "eval_accuracy": "0.9", "reward_model": "x"} for row in run(falling())]
    assert not rules(log)
    assert not rules([{"step": i, "loss": 0.01, "reward": [0.1, 0.2], "grad_norm": 0.3} for i in range(20)])


@pytest.mark.parametrize(
    ("start", "end", "noise", "count", "seed"),
    [(1.69, 1.74, 0.25, 60, 1), (0.233, 0.286, 0.09, 40, 2), (2.4, 2.5, 0.4, 30, 3), (1.1, 1.1, 0.3, 24, 5)],
)
def test_a_loss_that_rises_within_its_noise_is_undecided_unless_dev_falls(start, end, noise, count, seed):
    generator = random.Random(seed)
    values = [generator.gauss(0, noise) for _ in range(count)]
    third = count // 3
    shift = (sum(values[:third]) - sum(values[-third:])) / third  # the rise is exactly the one that is given
    losses = [
        max(0.02, start + (end - start) * i / (count - 1) + v + (shift if i >= count - third else 0.0))
        for i, v in enumerate(values)
    ]
    found = judge(run(losses))[0]
    assert verdict(found) == "undecided", [f.rule for f in found]
    (finding,) = (f for f in found if f.severity == "blocking")
    assert finding.rule == "undecided_rise" and "evaluate on a dev split" in finding.remedy
    needed = int(finding.remedy.split("about ")[1].split()[0].replace(",", ""))
    assert needed > count
    falls = [(10, 2.0), (10 * count, 1.7)]
    assert not rules(run(losses, dev=falls)), "a dev loss that falls decides"
    assert "undecided_rise" in rules(run(losses, dev=[(10, 1.7), (10 * count, 1.705)]))


def test_a_negative_cross_entropy_is_impossible_and_nothing_else_is_derived_from_it():
    for losses in (falling(start=0.5, end=-0.5), [1.0 - 0.1 * i for i in range(40)], [*falling(39), -0.01]):
        assert rules(run(losses)) == {"negative_loss"}
    assert rules(run(falling(), dev=[(100, 0.4), (400, -0.2)])) == {"negative_loss"}
    assert not rules(run([*falling(39), -1e-6])), "rounding"
    rewards = [{"step": i, "loss": -0.02, "reward": 0.1 * i, "grad_norm": 0.3} for i in range(20)]
    assert not rules(rewards), "a policy's loss may be negative"


def test_many_epochs_without_a_dev_loss_deserve_a_warning():
    assert "epochs_without_dev" in rules(run(falling(), epochs=10), "warning")
    assert "epochs_without_dev" not in rules(run(falling(), epochs=3), "warning")
    assert "epochs_without_dev" not in rules(run(falling(), epochs=10, dev=[(200, 1.3), (400, 1.1)]), "warning")


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("reward", [1.0, 0.8, 0.6, 0.5, 0.3, 0.1]),  # few records, one after the other
        ("rewards/margins", [2.0 - 0.01 * i + 0.3 * (i % 3) for i in range(60)]),
        ("reward", [min(i, 40) * 0.05 - 0.06 * max(0, i - 40) for i in range(60)]),  # rises, then falls
        ("rewards/accuracies", [0.9 - 0.01 * i + 0.03 * (i % 2) for i in range(40)]),
    ],
)
def test_rewards_that_fall_are_reported(key, values):
    log = [{"step": i, "loss": 0.1, "grad_norm": 0.3, "kl": 0.0, key: value} for i, value in enumerate(values)]
    found = [f for f in judge(log)[0] if f.rule == "reward_falls"]
    assert found and all(f.severity in ("warning", "blocking") and f.remedy for f in found)


def test_chosen_rewards_that_fall_while_the_margin_grows_are_only_a_warning():
    log = [
        {"step": i, "loss": 0.6 - 0.005 * i, "rewards/chosen": -0.05 * i, "rewards/margins": 0.04 * i, "grad_norm": 0.5}
        for i in range(40)
    ]
    assert not rules(log) and "reward_falls" in rules(log, "warning")

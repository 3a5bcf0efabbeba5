"""The search over artifacts: killed trials, and what a finished one writes."""

import contextlib
import json
import os
import random
import signal
import threading
import time

import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from sft_pipeline.artifacts import SearchReport
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import DataError, PreconditionError, TrainingError
from sft_pipeline.experiment import Experiment
from sft_pipeline.experiment.release import Release
from sft_pipeline.report.experiment.cost import cost
from sft_pipeline.report.experiment.sections import sections
from sft_pipeline.search import run, trial
from sft_pipeline.search.halves import halves, part
from sft_pipeline.search.processes import run_all
from sft_pipeline.search.study import Study
from sft_pipeline_tests.training.conftest import split, toy_rows


def opened(inputs):
    study = Study(inputs.work, inputs.search, run.fingerprint(inputs))
    rows = part(inputs.dev, halves(inputs.dev, inputs.experiment)[0], inputs.work / "search_rows")
    return study, rows


class Killer(threading.Thread):
    """Kills trials at random moments: children of the server that they are forked from."""

    def __init__(self, times):
        super().__init__(daemon=True)
        self.left, self.rng, self.killed = times, random.Random(3), []

    def run(self):
        while self.left:
            time.sleep(self.rng.uniform(0.2, 0.6))
            with contextlib.suppress(psutil.NoSuchProcess):  # one may end while it is looked at
                started = [p for server in psutil.Process().children() for p in server.children()]
                if fresh := [p for p in started if p.pid not in self.killed]:
                    victim = self.rng.choice(fresh)
                    victim.send_signal(signal.SIGKILL)
                    self.killed.append(victim.pid)
                    self.left -= 1


@pytest.mark.slow
def test_killed_trials_resume_and_none_is_lost_or_doubled(toy_base, inputs):
    given = inputs(toy_base, trials=3, devices=2, objective="dev_success")
    study, rows = opened(given)
    killer, told = Killer(2), []
    killer.start()
    run.run_trials(given, study, rows, told.append)
    assert len(killer.killed) == 2
    assert [t.number for t in study.finished()] == [0, 1, 2] and len(told) == 3
    assert {(t.state, t.steps) for t in study.finished()} == {("complete", 3)}
    results = [json.loads(path.read_text()) for path in sorted(given.work.glob("trials/*/result.json"))]
    assert not list(given.work.glob("trials/*/training"))  # nothing but the results is kept

    # What one of them comes to does not depend on where it ran, or on how often it was killed.
    experiment = run.of_trial(given.experiment, study.ask(0))
    folder = given.work / "alone"
    folder.mkdir()
    made = trial.make(
        trial.Job(experiment, "dev_success", toy_base, given.guard, given.train, rows, rows, given.root, folder)
    )
    assert (made["adapter"], made["figure"]) == (results[0]["adapter"], results[0]["figure"])


def test_what_a_trial_leaves_that_was_killed_right_after_its_result_is_removed(inputs):
    given = inputs()
    folder = given.work / "trials" / "0000"
    job = trial.Job(
        given.experiment, "dev_loss", given.base, given.guard, given.train, given.dev, given.dev, given.root, folder
    )
    (folder / "training" / "checkpoint-3").mkdir(parents=True)
    (folder / trial.RESULT).write_text(json.dumps(trial.made("failed", reason="diverged")))
    results = []
    run_all(1, 1, lambda number: job, lambda number, result: results.append(result))
    assert results[0]["reason"] == "diverged" and {path.name for path in folder.iterdir()} == {trial.RESULT}


class Deadly:
    """Ends the process that reads it."""

    def __reduce__(self):
        return os._exit, (9,)


@pytest.mark.slow
def test_a_trial_whose_process_ends_again_and_again_counts_as_failed(inputs):
    given = inputs()
    folder = given.work / "trials" / "0000"
    job = trial.Job(
        given.experiment, "dev_loss", given.base, Deadly(), given.train, given.dev, given.dev, given.root, folder
    )
    results = []
    run_all(1, 1, lambda number: job, lambda number, result: results.append(result))
    assert results[0]["state"] == "failed" and "ended 5 times without a new checkpoint" in results[0]["reason"]


def finished(given, gain, failed=()):
    """Leave the results of a search whose processes have all ended: the search takes them and trains nothing.

    The figure of trial k is k hundredths of a nat below 2; trained again, trials have `gain` over the default.
    """
    ids = [row["id"] for row in read_table(given.dev.path(given.dev.ROWS))]
    noise = random.Random(7)

    def leave(folder, level, number=0, state="complete"):
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = [(id, level + noise.gauss(0, 0.05), 4.0) for id in ids]
        made = {
            "state": state,
            "figure": 2 - number / 100,
            "steps": 2,
            "seconds": 1800.0,
            "reports": [[1, 2.5], [2, 2.0]],
        }
        made |= {"reason": "out of memory" if state == "failed" else "", "adapter": "", "outcomes": outcomes}
        (folder / "result.json").write_text(json.dumps(made))

    for number in range(given.search.trials):
        leave(given.work / "trials" / f"{number:04d}", 2.0, number, "failed" if number in failed else "complete")
    for k in range(given.search.seeds):
        leave(given.work / "confirmation" / f"default-{k}", 2.0)
        for number in range(given.search.trials):
            leave(given.work / "confirmation" / f"{number}-{k}", 2.0 - gain)


@pytest.fixture
def reported(inputs, tmp_path):
    """Makes the report of a finished search."""

    def report(gain, failed=(), **search):
        given = inputs(**search)
        finished(given, gain, failed)
        out = tmp_path / "out"
        out.mkdir()
        return given, run.search(given, out, lambda text: None)

    return report


@pytest.mark.slow
def test_a_gain_that_holds_becomes_a_specification_with_its_lineage(reported, tmp_path):
    given, report = reported(0.3, trials=6)
    assert (report.verdict, report.winner) == ("better", 5)
    assert [c.trial for c in report.confirmations] == [5, 4, 3] and all(c.better for c in report.confirmations)
    first = report.confirmations[0]
    assert first.gain == pytest.approx(0.3, abs=0.03) and first.optimism == pytest.approx(1.7 - 1.95, abs=0.03)
    text = report.path(report.SPECIFICATION).read_text()
    written = Experiment.model_validate_json(json.dumps(yaml.safe_load(text)))
    assert written.search is None and written.training.learning_rate == first.parameters["training.learning_rate"]
    assert written.training.max_steps == 3 and "# trial: 5 of 6" in text
    assert all(version in text for version in (given.dev.version, given.train.version, given.base.version))
    assert not set(report.seeds) & {given.experiment.training.seed} and len(set(report.seeds)) == 2
    table = pq.read_table(report.path("outcomes.parquet"))
    assert len(table) == 4 * 2 * 40 and set(table["seed"].to_pylist()) == set(report.seeds)
    assert {"history.png", "importances.png", "parallel.png", "study.journal"} <= report.files.keys()
    out = tmp_path / "again"
    out.mkdir()
    assert run.search(given, out, lambda text: None).digest == report.digest  # of the same storage
    page = report.path("search.html").read_text()
    assert "trial 5 is better than the default" in page and "<script" not in page and page.count("data:image/png") == 3
    shown = next(s for s in sections({"search_report": report}, None, cost({}, Release())) if s.key == "search")
    assert shown.state == "better found" and shown.text.startswith("trial 5 is better than the default")
    assert [figure.value for figure in shown.figures[:2]] == ["6", f"{report.rows[1]} rows"]


def test_no_better_than_the_default_is_said_and_leaves_no_specification(reported):
    _, report = reported(0.0, trials=6)
    assert (report.verdict, report.winner) == ("no_better", None)
    assert SearchReport.SPECIFICATION not in report.files
    text = report.path("search.txt").read_text()
    assert text.startswith("search: no better than the default") and "optimism of the search: +0.0" in text


def test_trials_and_retrainings_that_fail_are_shown_and_the_rest_counts(inputs, tmp_path):
    given = inputs(trials=6)
    finished(given, 0.3, failed=(5, 1))
    path = given.work / "confirmation" / "4-1" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "failed", "reason": "diverged"}))
    out = tmp_path / "out"
    out.mkdir()
    report = run.search(given, out, lambda text: None)
    assert report.winner == 3 and [t.state for t in report.trials].count("failed") == 2
    assert report.confirmations[0].reason == "diverged" and report.confirmations[0].p == 1
    assert "out of memory" in report.path("search.txt").read_text() and "2 of 6 trials failed" in report.notes[0]


def test_where_every_trial_fails_the_search_says_why(reported):
    with pytest.raises(TrainingError, match="none of the 4 trials was completed: trial 0: out of memory"):
        reported(0.3, failed=range(4))


@pytest.mark.parametrize(("budget", "made"), [({"steps": 3}, 2), ({"hours": 1.5}, 3), ({"steps": 1000}, 6)])
def test_a_budget_ends_the_search(inputs, budget, made):
    given = inputs(trials=6, budget=budget)
    finished(given, 0.3)
    study, rows = opened(given)
    run.run_trials(given, study, rows, lambda text: None)
    assert len(study.finished()) == made


def test_too_few_rows_to_confirm_anything_are_refused_before_a_trial(inputs, tmp_path):
    given = inputs()
    (tmp_path / "small").mkdir()
    small = split(tmp_path / "small", "dev", toy_rows(12))
    with pytest.raises(DataError, match="6 independent clusters: no result could show a gain"):
        run.search(run.Inputs(**vars(given) | {"dev": small}), tmp_path, lambda text: None)
    (tmp_path / "leaking").mkdir()
    leaking = split(tmp_path / "leaking", "dev", toy_rows(40), near=1)
    with pytest.raises(PreconditionError, match="leaks"):
        run.search(run.Inputs(**vars(given) | {"dev": leaking}), tmp_path, lambda text: None)


def test_a_training_of_the_default_that_fails_ends_the_search(inputs, tmp_path):
    given = inputs()
    finished(given, 0.3)
    path = given.work / "confirmation" / "default-1" / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "failed", "reason": "diverged"}))
    with pytest.raises(TrainingError, match="the default cannot be trained.*diverged"):
        run.search(given, tmp_path, lambda text: None)


def test_a_short_trial_has_its_own_length_and_may_see_a_part_of_the_data(inputs):
    given = inputs(trial_steps=1)
    made = run.of_trial(given.experiment, {"training.lora.r": 8}, seed=5)
    assert (made.training.max_steps, made.training.lora.r, made.training.seed) == (1, 8, 5)
    assert made.training.report_to == () and made.search is None


def test_a_search_is_none_where_none_is_declared(tmp_path):
    report = run.none(tmp_path)
    assert report.verdict is None and list(report.files) == [run.NONE]

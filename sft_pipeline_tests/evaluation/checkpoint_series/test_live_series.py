"""The live series: checkpoints evaluated beside a training, and everything that can happen to the evaluator."""

import json
import multiprocessing
import random
import shutil
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from sft_pipeline.errors import PreconditionError
from sft_pipeline.evaluation.checkpoint_series import series
from sft_pipeline.evaluation.live_series import evaluator
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.engines.transformers_engine import TransformersEngine
from sft_pipeline.training import export, live, trainer
from sft_pipeline.training.callbacks.early_stopping import Ending, early_stopping
from sft_pipeline.training.callbacks.live_results import live_results
from sft_pipeline_tests import forked
from sft_pipeline_tests.training.conftest import make_toy_base, prepare, toy_experiment


@pytest.fixture(scope="module")
def small_base(tmp_path_factory):
    """The base of the training's tests."""
    return make_toy_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def fork(monkeypatch):
    """Evaluators are forked from this process, which has all libraries: a server of its own would import them again."""
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr(live.multiprocessing, "get_context", lambda method: context)
    monkeypatch.setattr(live, "POLL", 0.05)


def declaring(rule=None, best_by="dev_loss", **training):
    """A toy training with a live series; an answer succeeds if it holds an e."""
    document = json.loads(toy_experiment(**training).model_dump_json(exclude_unset=True))
    document["training"]["best_by"] = best_by
    document["evaluation"] = {
        "scorers": {"default": {"kind": "regex", "options": {"pattern": "e", "match": "search"}}},
        "series": {"live": rule or {}},
    }
    return Experiment.model_validate_json(json.dumps(document))


def beside(arguments, device="own"):
    """The evaluator of the training with these arguments."""
    experiment, base, dev, work = (arguments[name] for name in ("experiment", "base", "dev", "work"))
    return evaluator(experiment, base, dev, work.parent, device)


def train(arguments, **given):
    """Train, with the evaluator unless another is given; an earlier try's files are left behind."""
    shutil.rmtree(arguments["out"])
    arguments["out"].mkdir()
    return trainer.train(**arguments, **{"evaluator": beside(arguments), "on_log": lambda record: None, **given})


def measured(folder, experiment, base, split, adapter):
    """The checkpoint series of that adapter."""
    for name in ("work", "out"):
        (folder / name).mkdir(parents=True)
    return series(experiment, base, adapter, split, folder, folder / "work", folder / "out")


def killed_at_random(arguments, rng):
    """Train in a process whose evaluator is killed at a random moment, and which is then killed itself."""
    process = forked.start(train, arguments, log=arguments["work"].parent / "killed.log", daemon=False)
    while process.is_alive() and not psutil.Process(process.pid).children():
        time.sleep(0.02)
    time.sleep(rng.uniform(0.0, 1.5))
    evaluators = psutil.Process(process.pid).children() if process.is_alive() else []
    for child in evaluators:
        child.kill()
    time.sleep(rng.uniform(0.0, 0.5))
    left = psutil.Process(process.pid).children() if process.is_alive() else []
    process.kill()
    process.join()
    psutil.wait_procs(left, timeout=10)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in left)
    return bool(evaluators)


@pytest.mark.slow
def test_killed_at_random_moments_it_gives_what_the_series_measures_and_leaves_the_training_as_it_is(
    small_base,
    tmp_path,
    monkeypatch,
    fork,
):
    experiment = declaring(report_to=("tensorboard",), max_steps=8, min_coverage=0.1)
    for name in ("alone", "beside"):
        (tmp_path / name).mkdir()
    whole = trainer.train(**prepare(tmp_path / "alone", small_base, experiment))
    arguments = prepare(tmp_path / "beside", small_base, experiment)
    rng = random.Random(3)
    assert sum(killed_at_random(arguments, rng) for _ in range(2)) >= 1
    logged = []
    adapter = train(arguments, on_log=logged.append)
    assert adapter.digest == whole.digest
    steps = [0, 4, 8]
    found = [json.loads(line) for line in adapter.path("live_series.jsonl").read_text().splitlines()]
    assert [record["step"] for record in found] == steps
    reported = [record["step"] for record in logged if "eval_success" in record]
    assert reported == steps[len(steps) - len(reported) :]

    afterwards = measured(tmp_path / "afterwards", experiment, small_base, arguments["dev"], whole)
    assert [p.model_dump(mode="json") for p in afterwards.points] == [record["point"] for record in found]
    monkeypatch.setattr(TransformersEngine, "complete", None)  # nothing is left to answer
    assert measured(tmp_path / "again", experiment, small_base, arguments["dev"], adapter).digest == afterwards.digest

    from sft_pipeline_tests.training.test_trackers import tensorboard

    seen = tensorboard(adapter.root / "tensorboard")
    assert seen["eval/success"] == pytest.approx({r["step"]: r["eval_success"] for r in found})
    assert len(seen["train/loss"]) == 8


@pytest.mark.slow
def test_on_the_trainings_device_it_is_waited_for_and_success_ends_the_training_and_chooses(
    small_base,
    tmp_path,
    fork,
):
    choice = {"adapter": "best", "best_by": "dev_success", "early_stopping": {"patience": 2}}
    arguments = prepare(tmp_path, small_base, declaring({"device": "same"}, **choice, save_steps=2))
    logged = []
    adapter = train(arguments, evaluator=beside(arguments, "same"), on_log=logged.append)
    order = [(record["step"], "series" if "eval_items" in record else "loss") for record in logged if "loss" in record]
    results = {record["step"]: record["eval_success"] for record in logged if "eval_items" in record}
    assert set(results.values()) == {0.0}, "the toy model cannot answer so early"
    # Known at step 6 are the results of 2 and 4; of 6 no sooner than at 8. That of 2 is the first, and two did not exceed it.
    assert adapter.steps == 8 and adapter.step == 2 and list(results) == [0, 2, 4, 6, 8]
    assert len(order) == 8
    for step in (2, 4, 6):
        waited = next(i for i, r in enumerate(logged) if "eval_items" in r and r["step"] == step)
        assert waited < next(i for i, r in enumerate(logged) if "loss" in r and r["step"] == step + 2)
    losses = {r["step"]: r["eval_loss"] for r in logged if "eval_loss" in r}
    assert min(losses, key=losses.get) == 8
    assert json.loads(adapter.path("training_manifest.json").read_text())["chosen_by"] == "dev_success"


@pytest.mark.slow
def test_after_the_training_its_checkpoints_are_evaluated_once(small_base, tmp_path, monkeypatch, fork):
    few = {"max_steps": 4, "save_steps": 2, "min_coverage": 0.1}
    experiment = declaring({"device": "after"}, report_to=("tensorboard",), **few)
    arguments, logged = prepare(tmp_path, small_base, experiment), []
    adapter = train(arguments, evaluator=beside(arguments, "after"), on_log=logged.append)
    ended = next(place for place, record in enumerate(logged) if "eval_items" in record)
    assert [record["step"] for record in logged[:ended] if "loss" in record] == [1, 2, 3, 4]
    assert [record["step"] for record in logged[ended:] if "eval_items" in record] == [0, 2, 4]
    assert len(logged[ended:]) == 3

    from sft_pipeline_tests.training.test_trackers import tensorboard

    seen = tensorboard(adapter.root / "tensorboard")
    assert seen["eval/success"] == pytest.approx({r["step"]: r["eval_success"] for r in logged[ended:]})
    assert len(seen["train/loss"]) == 4
    monkeypatch.setattr(TransformersEngine, "complete", None)  # nothing is left to answer
    found = measured(tmp_path / "again", experiment, small_base, arguments["dev"], adapter)
    assert [p.model_dump(mode="json") for p in found.points] == [r["point"] for r in logged[ended:]]


@pytest.mark.slow
def test_a_training_whose_evaluator_cannot_start_ends_as_ever_and_says_what_is_missing(
    small_base,
    tmp_path,
    fork,
    monkeypatch,
    caplog,
):
    choice = {"adapter": "best", "best_by": "dev_success"}
    arguments = prepare(tmp_path, small_base, declaring(**choice, max_steps=8, min_coverage=0.1))
    with pytest.raises(PreconditionError, match="needs an evaluator"):
        train(arguments, evaluator=None)
    monkeypatch.setattr(TransformersEngine, "complete", out_of_memory)
    adapter = train(arguments)
    assert adapter.steps == 8
    assert "the live series ends, the training goes on: its process ended 3 times" in caplog.text
    assert "OutOfMemoryError: tried to allocate 20.00 GiB" in caplog.text
    assert "not known of step 4, 8: the dev loss decides" in caplog.text
    assert json.loads(adapter.path("training_manifest.json").read_text())["chosen_by"] == "dev_loss"


def out_of_memory(*_, **__):
    import torch

    sys.stderr = sys.__stderr__  # which ends in the evaluator's log; pytest has put its own there
    raise torch.OutOfMemoryError("tried to allocate 20.00 GiB")


def hanging(training, visible):
    time.sleep(60)


def one_result(training, visible):
    live.journal.Journal(training / live.FOLDER / live.RESULTS).add(result(0))
    hanging(training, visible)


def result(step, success=0.5):
    point = {"step": step, "n": 8, "successes": round(8 * success), "low": 0, "high": 1, "labels": {}, "types": {}}
    point |= {"mean_tokens": 1.0, "truncated": 0}
    return {"step": step, "point": point, "eval_success": success, "eval_items": 8}


@pytest.fixture
def saved(tmp_path):
    """A work folder with complete checkpoints of steps 4 and 8, and adapters of 4, 8 and 12, of which the last is not complete."""
    for step in (4, 8, 12):
        (tmp_path / "kept" / str(step)).mkdir(parents=True)
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (4, 8):
        (tmp_path / f"checkpoint-{step}" / "COMPLETE.json").write_text("{}")
    return tmp_path


def wait_for_result(work):
    until = time.monotonic() + 60
    while not live.results(work):
        assert time.monotonic() < until
        time.sleep(0.05)


def finished(work, evaluate, at_end):
    """The results that were reported while such an evaluator was there, and at the end; one to be dropped has given one."""
    reported = []
    with live.evaluating(live.Evaluator(evaluate, "own", at_end), work, after=8) as supervisor:
        if at_end == "drop":
            wait_for_result(work)
        supervisor.finish(live.Reporter(work, reported.append))
    assert not multiprocessing.active_children()
    return [record["step"] for record in reported]


@pytest.mark.slow
def test_an_evaluator_that_hangs_is_started_again_and_then_given_up(saved, fork, monkeypatch, caplog):
    monkeypatch.setattr(live, "SILENCE", 0.1)
    assert finished(saved, hanging, "drain") == []
    assert "ended 3 times without a new answer, the last time with -9" in caplog.text
    assert "no result of step 4, 8" in caplog.text
    # A later start of the training tries again.
    monkeypatch.setattr(live, "SILENCE", 60.0)
    assert finished(saved, one_result, "drop") == [0]


@pytest.mark.slow
def test_an_evaluator_that_waits_for_a_checkpoint_may_be_silent(saved, fork, monkeypatch, caplog):
    shutil.rmtree(saved / "kept")
    with live.evaluating(live.Evaluator(one_result, "own", "drain"), saved, after=8) as supervisor:
        wait_for_result(saved)
        monkeypatch.setattr(live, "SILENCE", 0.2)
        time.sleep(1.5)
        supervisor.finish(live.Reporter(saved, lambda record: None))
    assert not caplog.text and len(live.results(saved)) == 1


def test_what_is_slower_than_the_training_is_dropped_where_that_is_declared(saved, fork, caplog):
    started = time.monotonic()
    assert finished(saved, one_result, "drop") == [0]
    assert time.monotonic() - started < 30  # it would have been silent for a minute
    assert "no result of step 4, 8; checkpoint_series measures what is kept" in caplog.text


@pytest.mark.slow
def test_a_process_that_cannot_be_started_costs_the_series_alone(saved, fork, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(live.Supervisor, "_launch", refuse)
    assert finished(saved, hanging, "drain") == []
    assert "the training goes on: OSError: [Errno 12] Cannot allocate memory" in caplog.text
    # Nor where the disk is full, so that the end cannot be recorded.
    monkeypatch.setattr(live.journal.Journal, "add", refuse)
    assert finished(saved, hanging, "drain") == [] and live.settled(saved)


@pytest.mark.slow
def test_a_checkpoint_that_vanishes_is_skipped_or_measured_to_its_end_and_an_incomplete_one_is_not_read(
    saved,
    adapters,
    ending_base,
    items,
    fork,
    monkeypatch,
):
    ask = TransformersEngine.complete

    def deleted_meanwhile(engine, *given, adapter, **options):
        if adapter:
            shutil.rmtree(saved / "kept" / "4", ignore_errors=True)
        return ask(engine, *given, adapter=adapter, **options)

    monkeypatch.setattr(TransformersEngine, "complete", deleted_meanwhile)
    shutil.rmtree(saved / "kept" / "8")
    (saved / "kept" / "8").mkdir()
    for step in (4, 12):
        shutil.copytree(adapters[0], saved / "kept" / str(step), dirs_exist_ok=True)
    arguments = {"experiment": declaring(), "base": ending_base, "dev": items, "work": saved / "work"}
    with live.evaluating(beside(arguments), saved, after=8) as supervisor:
        supervisor.finish(live.Reporter(saved, lambda record: None))
    records = [json.loads(line) for line in (saved / "live" / "results.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [0, 4, 8]
    assert records[1]["point"]["n"] == items.rows and "deleted" in records[2]["skipped"]
    live.export(saved, saved, {4, 8})
    assert {path.parent.name for path in saved.glob("live_series/*/*")} == {"step-0", "step-4"}


def test_each_result_is_reported_once_and_one_at_a_time(tmp_path):
    reported = []
    report = live.Reporter(tmp_path, reported.append)
    assert not report()  # there is no evaluator yet
    (tmp_path / live.FOLDER).mkdir()
    results = live.journal.Journal(tmp_path / live.FOLDER / live.RESULTS)
    results.add(result(0), {"step": 2, "skipped": "deleted"}, result(4))
    assert report() and [record["step"] for record in reported] == [0]
    assert live.Reporter(tmp_path, reported.append)() and not report()
    results.add(result(8))
    assert report() and not report() and [record["step"] for record in reported] == [0, 4, 8]
    # What lies beyond the checkpoint that a training resumes from comes again, and is reported again.
    with live.evaluating(live.Evaluator(hanging, "after", "drain"), tmp_path, after=4):
        assert [record["step"] for record in live.results(tmp_path)] == [0, 4]
    results.add(result(8))
    assert live.Reporter(tmp_path, reported.append)() and reported[-1]["step"] == 8


def test_a_signal_ends_the_waiting_for_a_checkpoint(saved):
    (saved / live.FOLDER).mkdir()
    live.journal.Journal(saved / live.FOLDER / live.RESULTS)
    ending = Ending(signal="SIGTERM")
    waiting = live_results(live.Reporter(saved, lambda record: None), saved, ending)
    control = SimpleNamespace(should_training_stop=False)
    waiting.on_save(None, None, control)
    assert not live.settled(saved)


@pytest.mark.parametrize(
    ("found", "interrupted", "early"),
    [([0.5, 0.5, 0.5], None, True), ([0.5, 0.4, 0.6], None, False), ([0.5, 0.5, 0.5], 7, False), ([0.5], None, False)],
)
def test_success_that_does_not_rise_ends_the_training_at_a_checkpoint(tmp_path, found, interrupted, early):
    (tmp_path / live.FOLDER).mkdir()
    results = live.journal.Journal(tmp_path / live.FOLDER / live.RESULTS)
    results.add(result(0, 0.9), *(result(4 * n, success) for n, success in enumerate(found, 1)))
    training = declaring(adapter="best", best_by="dev_success", early_stopping={"patience": 2}).training
    ending, control = Ending(interrupted_at=interrupted), SimpleNamespace(should_training_stop=False)
    stopping = early_stopping(training, ending, tmp_path)
    stopping.on_save(SimpleNamespace(world_size=1), None, control)
    assert ending.early == control.should_training_stop == early
    stopping.on_evaluate(None, SimpleNamespace(log_history=[{"eval_loss": 1.0}] * 9), control)
    assert ending.early == early  # the dev loss does not count


def test_the_rule_of_the_series_chooses_among_all_saved_steps_or_the_dev_loss_does(tmp_path, caplog):
    (tmp_path / live.FOLDER).mkdir()
    results = live.journal.Journal(tmp_path / live.FOLDER / live.RESULTS)
    results.add(result(0, 1.0), result(4, 0.5), result(8, 0.625))
    job = SimpleNamespace(experiment=declaring(adapter="best", best_by="dev_success"), work=tmp_path)
    records = [{"step": step, "eval_loss": loss} for step, loss in ((4, 2.0), (8, 1.5), (12, 1.0))]
    assert export._best(job, records, [4, 8], 8) == (8, "dev_success")
    assert export._best(job, records, [4, 8, 12], 12) == (12, "dev_loss")
    assert "not known of step 12" in caplog.text
    cautious = json.loads(job.experiment.model_dump_json(exclude_unset=True))
    cautious["evaluation"]["series"]["best"] = "within_one_standard_error"
    results.add(result(12, 0.75))
    assert export._best(job, records, [4, 8, 12], 12) == (12, "dev_success")
    job = SimpleNamespace(experiment=Experiment.model_validate_json(json.dumps(cautious)), work=tmp_path)
    assert export._best(job, records, [4, 8, 12], 12) == (8, "dev_success")

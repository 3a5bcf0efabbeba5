"""A checkpoint series with a real base and real adapters: one engine, the same items, honest notes."""

import json
import shutil
from pathlib import Path

import pytest

from sft_pipeline.artifacts import AdapterSnapshot, SeriesReport
from sft_pipeline.dataset.table import read_table
from sft_pipeline.evaluation import checkpoint_series as module
from sft_pipeline.evaluation.checkpoint_series import series
from sft_pipeline.experiment import Gate
from sft_pipeline.generation.engines import open_engine
from sft_pipeline.model import loader
from sft_pipeline.report.training.checkpoint_table import comparisons


@pytest.fixture(scope="module")
def trained(adapters, tmp_path_factory):
    """The first random adapter as the checkpoint of step 5, the second as the result at step 9."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(adapters[0], folder / "checkpoints" / "5")
    shutil.copytree(adapters[1], folder / "adapter")
    log = [{"step": step, "loss": 2.0 - step / 9, "eval_loss": 2.1 - step / 10} for step in (3, 6, 9)]
    (folder / "log_history.json").write_text(json.dumps(log))
    figures = {"steps": 9, "step": 9, "epochs": 1.0, "trainable_parameters": 1, "loss_first": 2.0, "loss_last": 1.0}
    return AdapterSnapshot.finalize(folder, checkpoints=(5,), **figures)


SCORERS = {"default": {"kind": "regex", "options": {"pattern": "e", "match": "search"}}}
"""The items have no expected answer: some answers hold the letter, some do not."""


def declaring(experiment, **evaluation):
    return type(experiment).model_validate_json(
        json.dumps(experiment.model_dump(mode="json") | {"evaluation": {"scorers": SCORERS} | evaluation})
    )


@pytest.fixture
def measure(ending_base, trained, items, tmp_path):
    def run(experiment, name="out"):
        work, out = tmp_path / "work", tmp_path / name
        work.mkdir(exist_ok=True)
        out.mkdir()
        return series(experiment, ending_base, trained, items, tmp_path, work, out)

    return run


@pytest.mark.slow
def test_every_checkpoint_answers_the_same_items_on_a_model_that_is_loaded_once(
    experiment, measure, ending_base, trained, items, monkeypatch
):
    loads, load = [], loader.load_model
    monkeypatch.setattr(loader, "load_model", lambda *args: loads.append(args) or load(*args))
    report = measure(declaring(experiment))
    assert len(loads) == 1
    assert [p.step for p in report.points] == [0, 5, 9] and {p.n for p in report.points} == {items.rows}
    lines = read_table(report.path("answers.parquet"))
    prompts = [experiment.prompt.render(row["instruction"]) for row in read_table(items.path(items.ROWS))]
    folders = {0: None, 5: trained.root / "checkpoints" / "5", 9: trained.root / "adapter"}
    with open_engine(experiment, ending_base) as engine:
        for step, folder in folders.items():
            own = engine.answer(prompts, experiment.generation, adapter=folder)
            assert [a.text for a in own] == [line["output"] for line in lines if line["step"] == step]
            (point,) = (p for p in report.points if p.step == step)
            assert point.mean_tokens == pytest.approx(sum(a.tokens for a in own) / len(own))
            assert point.truncated == sum(a.finish_reason == "length" for a in own)
            assert point.types == {"plain": (point.successes, point.n)}
    assert {"answers.parquet", "series.json", "series.md", "series.png"} == set(report.files)
    assert json.loads(report.path("series.json").read_text())["points"][1]["step"] == 5

    compared = report.comparisons
    assert {c.steps for c in compared} == {(0, 5), (0, 9), (5, 9)} and len(compared) == 3
    right = {(line["step"], line["id"]) for line in lines if line["success"]}
    ids = {line["id"] for line in lines}
    for early, late in (c.steps for c in compared):
        (result,) = (c.result for c in compared if c.steps == (early, late))
        assert result.won == sum((late, i) in right and (early, i) not in right for i in ids)
        assert result.lost == sum((early, i) in right and (late, i) not in right for i in ids)
        assert result.p_exact <= result.p_adjusted <= 1
    assert "Pairs of checkpoints" in report.path("series.md").read_text()


def test_the_pairs_of_a_series_are_adjusted_together_and_paired_on_common_items():
    items = [str(i) for i in range(100)]
    steps = {0: range(20), 10: range(50), 20: range(52), 30: range(45)}
    successes = {step: {i: int(i) in right for i in items} for step, right in steps.items()}
    del successes[30]["0"]  # not judged there
    alone, gate = dict.fromkeys(items), Gate()
    found = {c.steps: c.result for c in module.compared(successes, 20, alone, gate)}
    assert list(found) == [(0, 10), (0, 20), (0, 30), (10, 20), (20, 30)]
    assert (found[20, 30].lost, found[20, 30].won, found[20, 30].n) == (7, 0, 99)
    assert (found[0, 10].won, found[10, 20].won) == (30, 2)
    smallest = min(found.values(), key=lambda result: result.p_exact)
    assert smallest.p_adjusted == pytest.approx(5 * smallest.p_exact)
    assert found[10, 20].p_adjusted == 0.5
    assert module.compared({0: {}, 10: {}}, 10, alone, gate) == []
    (midp,) = module.compared({0: successes[0], 10: successes[10]}, 10, alone, Gate(test="midp"))
    assert midp.result.p_adjusted == midp.result.p_midp < midp.result.p_exact


def test_checkpoints_that_differ_in_one_cluster_differ_in_one_observation():
    successes = {0: dict.fromkeys("abcdefgh", False), 10: dict.fromkeys("abcdefgh", True)}
    (pair,) = module.compared(successes, 10, dict.fromkeys("abcdefgh", "one text"), Gate())
    assert pair.result.clusters == 1 and pair.result.p_adjusted == 1.0 and pair.result.p_exact < 0.01
    report = SeriesReport(root=Path(), split="dev", points=(), comparisons=(pair,))
    assert comparisons(report)[0]["95 % interval"] == "-100.00 to +100.00"


@pytest.mark.slow
def test_a_killed_series_goes_on_where_it_stopped_and_ends_with_the_same_artifact(experiment, measure, monkeypatch):
    asked, real, experiment = [], module.open_engine, declaring(experiment)

    class Dies:
        """The engine, which is killed when it is asked for the `after`-th time."""

        def __init__(self, engine, after):
            self.engine, self.after = engine, after

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.engine.close()

        def __getattr__(self, name):
            return getattr(self.engine, name)

        def answer(self, *args, **options):
            asked.append(options["adapter"])
            if len(asked) == self.after:
                raise KeyboardInterrupt
            return self.engine.answer(*args, **options)

    monkeypatch.setattr(module, "open_engine", lambda *args: Dies(real(*args), 3))
    with pytest.raises(KeyboardInterrupt):
        measure(experiment, "killed")
    monkeypatch.setattr(module, "open_engine", lambda *args: Dies(real(*args), 99))
    resumed = measure(experiment, "resumed")
    in_two_runs = len(asked)
    shutil.rmtree(resumed.root.parent / "work")
    assert resumed.digest == measure(experiment, "whole").digest
    assert in_two_runs == len(asked) - in_two_runs + 1, "more than the batch in which it was killed was asked again"


@pytest.mark.slow
def test_a_series_on_the_test_split_says_what_that_costs(experiment, measure):
    report = measure(declaring(experiment, series={"split": "test", "best": "within_one_standard_error"}))
    assert (report.split, report.rule) == ("test", "within_one_standard_error")
    assert module.ON_TEST in report.notes and module.ON_TEST in report.path("series.md").read_text()


@pytest.mark.slow
def test_types_that_are_judged_in_pairs_only_leave_lengths_and_a_note(experiment, measure):
    options = {"base_url": "http://127.0.0.1:9/v1", "model": "none"}
    report = measure(declaring(experiment, scorers={"default": {"kind": "judge", "options": options}}))
    assert {p.n for p in report.points} == {0} and all(p.mean_tokens is not None for p in report.points)
    assert any("cannot be judged one by one" in note for note in report.notes)

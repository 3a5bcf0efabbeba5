"""Generation of a split's answers: what is written, and that a killed one goes on with the same bytes."""

import json
import logging
import os
import signal
import time

import pytest

from sft_pipeline.artifacts import Finding, Generations, GuardReport, LeakageProof, TrainingReport
from sft_pipeline.dataset.table import read_table
from sft_pipeline.errors import PreconditionError
from sft_pipeline.experiment import Sampling
from sft_pipeline.generation.answers import FILE, check, generate
from sft_pipeline.generation.engines import open_engine
from sft_pipeline_tests import forked


def long(experiment, **changes):
    """The experiment with answers long enough that a kill falls between two batches."""
    decoding = experiment.generation.model_copy(update={"max_new_tokens": 120} | changes)
    return experiment.model_copy(update={"generation": decoding})


@pytest.fixture
def run(ending_base, items, tmp_path):
    """Generates with the given experiment and work folder; gives the artifact."""
    count = iter(range(100))

    def run(experiment, work, adapter=None):
        out = tmp_path / f"out {next(count)}"
        out.mkdir()
        work.mkdir(exist_ok=True)
        with open_engine(experiment, ending_base) as engine:
            return generate(experiment, "sft" if adapter else "base", ending_base, adapter, items, engine, work, out)

    return run


def content(made):
    return made.path(Generations.ROWS).read_bytes()


@pytest.mark.slow
def test_answers_come_in_the_order_of_the_items_with_everything_about_them(run, experiment, adapter, items, tmp_path):
    base, sft = run(experiment, tmp_path / "a"), run(experiment, tmp_path / "b", adapter)
    rows = read_table(base.path(Generations.ROWS))
    assert list(rows[0]) == ["id", "prompt", "output", "tokens", "finish_reason", "mean_logprob"]
    assert [row["id"] for row in rows] == [row["id"] for row in read_table(items.path("rows.parquet"))]
    assert all(row["mean_logprob"] < 0 for row in rows if row["tokens"])
    assert base.conditions == sft.conditions and content(base) != content(sft)
    assert json.loads(base.conditions["decoding"]) == {
        "batch_size": 4,
        "max_new_tokens": 12,
        "sampling": None,
        "stop": [],
    }
    assert base.trained_on == {} and sft.trained_on == {"dtype": "bfloat16", "quantization": "nf4, double"}
    assert base.flip_rate is not None
    drawn = experiment.generation.model_copy(update={"sampling": Sampling(seed=1)})
    sampled = run(experiment.model_copy(update={"generation": drawn}), tmp_path / "c")
    assert sampled.flip_rate is None and json.loads(sampled.conditions["decoding"])["sampling"]["seed"] == 1


@pytest.mark.slow
def test_a_killed_generation_resumes_and_ends_with_the_same_bytes(run, experiment, ending_base, items, tmp_path):
    experiment = long(experiment, sampling=Sampling(seed=2))
    whole = run(experiment, tmp_path / "whole")
    for name in ("work", "out"):
        (tmp_path / name).mkdir()
    file = tmp_path / "work" / FILE

    def work():
        with open_engine(experiment, ending_base) as engine:
            generate(experiment, "base", ending_base, None, items, engine, tmp_path / "work", tmp_path / "out")

    process, deadline = forked.start(work, log=tmp_path / "log"), time.monotonic() + 120
    while not file.exists() or file.read_bytes().count(b"\n") < 3:
        assert process.is_alive() and time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not any((tmp_path / "out").iterdir())
    with open(file, "ab") as stream:  # what a kill in the middle of a write leaves
        stream.write(b'[{"text":"half')

    resumed = run(experiment, tmp_path / "work")
    assert 8 <= resumed.measurements["resumed_answers"] < len(read_table(whole.path(Generations.ROWS)))
    assert content(resumed) == content(whole) and resumed.digest == whole.digest
    assert run(experiment, tmp_path / "work").measurements["resumed_answers"] == whole.rows
    assert file.read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_what_the_gate_could_not_use_is_refused_with_every_reason(items, adapter, tmp_path):
    def split(**changes):
        compared = {
            "against": "train+dev → test",
            "train_rows": 9,
            "test_rows": items.rows,
            "training_data_sha256": "rows",
        }
        limits = {"ngram": 3, "threshold": 0.7, "containment_ngram": 8, "max_contained_share": 1.0, "nearest": ()}
        counts = dict.fromkeys(("exact", "near", "groups", "contained", "contained_over_limit"), 0)
        return items.model_copy(update={"proof": LeakageProof(**compared | limits | counts | changes)})

    def learned(*rows):
        return adapter.model_copy(update={"training_data": rows})

    guard = GuardReport(root=tmp_path, checks={"template": ""}, sentinels=(), loader={"template_disabled": "true"})
    ill = guard.model_copy(update={"checks": {"template": "a chat template"}})
    findings = [
        Finding(rule=r, severity=s, evidence=f"{r} seen") for r, s in [("lost", "blocking"), ("slow", "warning")]
    ]
    well, unhealthy = (TrainingReport(root=tmp_path, findings=tuple(found)) for found in (findings[1:], findings))

    check(split(), guard)
    check(split(), guard, well, learned("others", "rows"))
    # What an earlier version stored names no rows: first the proof, then the adapter.
    check(split(training_data_sha256=""), guard, well, learned("others"))
    check(split(), guard, well, learned())
    for refused, reasons in [
        ((split(exact=1), guard), ["split: train+dev → test leaks"]),
        ((items, guard, well, learned("rows")), ["split: no leakage proof"]),
        (
            (split(), guard, well, learned("others")),
            ["split: the leakage proof (train+dev → test) is about"],
        ),
        (
            (split(near=1), ill, unhealthy),
            ["guard: template: a chat", "split: train+dev → test leaks", "training: lost seen"],
        ),
    ]:
        with pytest.raises(PreconditionError) as error:
            check(*refused)
        said = str(error.value).splitlines()[1:]
        assert len(said) == len(reasons)
        assert all(line.startswith(f"- {reason}") for line, reason in zip(said, reasons, strict=True)), said


@pytest.mark.slow
def test_answers_of_another_configuration_are_thrown_away_with_a_word(run, experiment, adapter, tmp_path, caplog):
    work = tmp_path / "work"
    run(experiment, work)
    with caplog.at_level(logging.WARNING):
        other = run(long(experiment, max_new_tokens=5), work)
        tuned = run(long(experiment, max_new_tokens=5), work, adapter)
    assert [r.message for r in caplog.records if "another configuration" in r.message].__len__() == 2
    assert other.measurements["resumed_answers"] == tuned.measurements["resumed_answers"] == 0
    assert content(other) == content(run(long(experiment, max_new_tokens=5), tmp_path / "fresh"))
    os.truncate(work / FILE, 20)
    assert content(run(experiment, work)) == content(run(experiment, tmp_path / "second"))

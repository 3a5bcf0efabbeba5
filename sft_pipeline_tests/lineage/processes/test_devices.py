"""Leases on pretended devices: the list comes from the environment, everything else is real."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from sft_pipeline.errors import DeviceError
from sft_pipeline.experiment import Experiment
from sft_pipeline.lineage.processes.devices import (
    DECLARED,
    LEASES,
    VISIBLE,
    devices,
    evaluates_on,
    hide,
    lease,
    require_evaluators_device,
    take_last,
)
from sft_pipeline.lineage.step import Work

HOLDER = """
import sys, time
from sft_pipeline.lineage.processes.devices import lease
with lease(int(sys.argv[1]), lambda text: print("waiting", flush=True)) as taken:
    print(*taken, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def two_devices(monkeypatch, tmp_path):
    monkeypatch.setenv(DECLARED, "0,1")
    monkeypatch.setenv(VISIBLE, "")
    monkeypatch.setenv(LEASES, str(tmp_path / "leases"))


@pytest.fixture
def hold():
    """Starts a process that holds devices; gives it and what it said first."""
    started = []

    def start(count=1):
        process = subprocess.Popen([sys.executable, "-c", HOLDER, str(count)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().split()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_each_holder_sees_a_device_of_its_own_and_only_inside(hold):
    _, other = hold()
    with lease(1, print) as mine:
        assert {*mine, *other} == {"0", "1"}
        assert os.environ[VISIBLE] == mine[0]
    assert os.environ[VISIBLE] == ""


@pytest.mark.slow
def test_a_third_holder_waits_until_a_killed_one_is_gone(hold):
    first, taken = hold()
    hold()
    third, said = hold()
    assert said == ["waiting"]
    first.send_signal(signal.SIGKILL)
    assert third.stdout.readline().split() == taken


@pytest.mark.slow
def test_who_needs_two_takes_none_while_one_is_busy(hold):
    first, _ = hold()
    both, said = hold(2)
    assert said == ["waiting"]
    time.sleep(1)
    with lease(1, print):
        pass  # the one that is free was not taken by the waiting one
    first.kill()
    assert both.stdout.readline().split() == ["0", "1"]


def test_a_lease_within_a_lease_is_the_same_and_ends_with_the_last(hold):
    outer = ExitStack()
    with lease(1, print) as first:
        assert outer.enter_context(lease(1, print)) == first
        with pytest.raises(DeviceError, match="2 devices are needed, but this process works on"), lease(2, print):
            pass
    assert os.environ[VISIBLE] == first[0]
    assert hold()[1] != list(first)  # it is still held
    outer.close()
    assert os.environ[VISIBLE] == ""
    assert hold()[1] == list(first)


def test_too_few_devices_are_an_error_that_says_what_there_is(monkeypatch):
    with pytest.raises(DeviceError, match="3 devices are needed, but this machine offers 2"), lease(3, print):
        pass
    monkeypatch.setenv(DECLARED, "")
    with pytest.raises(DeviceError, match="offers 0"), lease(1, print):
        pass


def test_a_lock_file_of_somebody_else_is_enough(hold, tmp_path):
    hold(2)[0].kill()
    for path in (tmp_path / "leases").iterdir():
        path.chmod(0o444)
    with lease(2, print) as taken:
        assert taken == ("0", "1")


def test_a_device_that_is_named_twice_is_one(monkeypatch):
    monkeypatch.setenv(DECLARED, "0,0")
    assert devices() == ("0",)


def test_hiding_remembers_what_was_visible(monkeypatch):
    monkeypatch.delenv(DECLARED)
    monkeypatch.setenv(VISIBLE, "2, 5")
    hide()
    assert (os.environ[VISIBLE], devices()) == ("", ("2", "5"))


def test_without_a_driver_there_is_no_device(monkeypatch):
    monkeypatch.delenv(DECLARED)
    monkeypatch.delenv(VISIBLE)
    monkeypatch.setenv("PATH", "")
    assert devices() == ()


def declaring(live, device="cuda", processes=1):
    sections = {
        "description": "toy",
        "data": {"source": {"kind": "file", "path": "toy.jsonl"}},
        "model": {"source": {"kind": "folder", "path": "toy"}, "device": device},
        "training": {"epochs": 1.0, "processes": processes},
        "evaluation": {"scorers": {"default": {"kind": "exact"}}, "series": {"live": live}},
    }
    return Experiment.model_validate_json(json.dumps(sections))


@pytest.mark.parametrize(
    ("live", "processes", "where", "leased"),
    [
        (None, 1, "after", 1),
        ({}, 1, "own", 2),
        ({}, 2, "after", 2),  # there are two devices
        ({"device": "own"}, 1, "own", 2),
        ({"device": "same"}, 1, "same", 1),
        ({"device": "after"}, 1, "after", 1),
    ],
)
def test_a_training_leases_a_device_more_for_its_evaluator_and_does_not_see_it(live, processes, where, leased):
    experiment = declaring(live, processes=processes)
    op = SimpleNamespace(name="lora_adapter", tags={"sft_pipeline/device": "cuda"})
    context = SimpleNamespace(op_execution_context=SimpleNamespace(op=op), log=SimpleNamespace(info=print))
    work = Work(context, None)
    work.__dict__["experiment"] = experiment
    require_evaluators_device(experiment)
    with work.on_devices() as taken:
        assert (evaluates_on(experiment), len(taken)) == (where, leased)
        if where == "own":
            assert (take_last(), os.environ[VISIBLE]) == ("1", "0")


def test_an_evaluators_device_that_is_not_there_is_refused_by_the_plan(monkeypatch):
    with pytest.raises(
        DeviceError, match="beside 2 for the training it needs a CUDA device more, and this machine offers 2"
    ):
        require_evaluators_device(declaring({"device": "own"}, processes=2))
    monkeypatch.setenv(DECLARED, "")
    require_evaluators_device(declaring({"device": "own"}, device="cpu"))
    assert evaluates_on(declaring({}, device="cpu")) == "own"

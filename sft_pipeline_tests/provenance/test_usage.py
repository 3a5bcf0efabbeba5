"""What a step used is measured, and what cannot be measured is left out."""

import subprocess
import sys
import time

import pytest

from sft_pipeline.errors import SpecificationError
from sft_pipeline.provenance import usage
from sft_pipeline.provenance.usage import KEPT, PRICE, measured


def test_time_is_measured_and_nothing_is_made_up_where_there_is_no_device(monkeypatch):
    monkeypatch.delenv(PRICE, raising=False)
    with measured() as used:
        time.sleep(0.02)
    assert set(used) == {"step_seconds", "step_processes"} and 0.02 <= used["step_seconds"] < 5
    monkeypatch.setenv(PRICE, "2.5")
    with measured() as used:
        pass
    assert used["step_price_per_hour"] == 2.5


def test_of_devices_that_the_driver_does_not_know_the_number_is_known_and_no_energy(monkeypatch):
    monkeypatch.delenv(PRICE, raising=False)
    with measured(("GPU-00000000-0000-0000-0000-000000000000", "7777")) as used:
        pass
    assert used["step_devices"] == 2 and "step_joules" not in used


@pytest.mark.parametrize("price", ["two", "-1", "0", "nan", "inf"])
def test_a_price_that_is_none_is_refused_before_the_work(price, monkeypatch):
    monkeypatch.setenv(PRICE, price)
    worked = False
    with pytest.raises(SpecificationError, match="must be a number above 0"), measured():
        worked = True
    assert not worked


KILLED = """
import sys, time
from pathlib import Path
from sft_pipeline.provenance import usage
usage.EVERY = 0.01
with usage.measured((), Path(sys.argv[1])):
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_process_and_one_that_failed_are_counted_too(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    while not (tmp_path / KEPT).exists() or '"step_seconds": 0.0' in (tmp_path / KEPT).read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    with pytest.raises(ZeroDivisionError), measured((), tmp_path):
        1 / (time.sleep(0.2) or 0)
    with measured((), tmp_path) as used:
        time.sleep(0.1)
    assert used["step_processes"] == 3 and used["step_seconds"] > 0.3


def test_the_energy_of_all_processes_is_summed_and_unknown_where_one_does_not_say(tmp_path, monkeypatch):
    counters = iter([100, 200, 300, 300, 1000, 1200, 1500, 1500, 2000, 2000, 2000, 2000])
    monkeypatch.setattr(usage, "_energy", lambda devices: {"0": ("H200", next(counters))})
    for joules in (0.2, 0.7):
        with measured(("0",), tmp_path) as used:
            pass
        assert used["step_joules"] == joules and used["step_device"] == "H200"
    monkeypatch.setattr(usage, "_energy", lambda devices: {})
    with measured(("0",), tmp_path) as used:
        pass
    assert "step_joules" not in used
    monkeypatch.setattr(usage, "_energy", lambda devices: {"0": ("H200", next(counters))})
    with measured(("0",), tmp_path) as used:
        pass
    assert "step_joules" not in used and used["step_processes"] == 4

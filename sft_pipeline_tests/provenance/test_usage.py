"""What a step used is measured, and what cannot be measured is left out."""

import time

import pytest

from sft_pipeline.errors import SpecificationError
from sft_pipeline.provenance.usage import PRICE, measured


def test_time_is_measured_and_nothing_is_made_up_where_there_is_no_device(monkeypatch):
    monkeypatch.delenv(PRICE, raising=False)
    with measured() as used:
        time.sleep(0.02)
    assert set(used) == {"step_seconds"} and 0.02 <= used["step_seconds"] < 5
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

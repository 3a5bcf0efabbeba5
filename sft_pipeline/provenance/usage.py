"""What a step used: wall time, devices, and their energy where the driver counts it."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from sft_pipeline.errors import SpecificationError

PRICE = "SFT_PIPELINE_PRICE_PER_HOUR"
"""Variable with the price of an hour of the machine that a run works on."""

Usage = dict[str, float | int | str]


@contextmanager
def measured(devices: Sequence[str] = ()) -> Iterator[Usage]:
    """What the block uses, filled in when it ends; the names begin with `step_`.

    `step_seconds` is wall time, `step_devices` the number of CUDA devices and `step_device` their model. `step_joules` is the
    difference of NVML's counters of their total energy (nvmlDeviceGetTotalEnergyConsumption, Volta and newer), whichever
    process computes on them; it is left out where one does not say. `step_price_per_hour` is that of `PRICE`.

    Args:
        devices: the leased devices, as CUDA_VISIBLE_DEVICES names them: numbers, which NVML counts by PCI bus, or UUIDs.

    Raises:
        SpecificationError: the variable holds no price.
    """
    used: Usage = {}
    if given := os.environ.get(PRICE):
        price = 0.0
        with suppress(ValueError):
            price = float(given)
        if not 0 < price < math.inf:
            raise SpecificationError(f"{PRICE} is {given!r}; it must be a number above 0.")
        used["step_price_per_hour"] = price
    before, started = _energy(devices), time.monotonic()
    yield used
    used["step_seconds"] = round(time.monotonic() - started, 3)
    if devices:
        after = _energy(devices)
        used["step_devices"] = len(devices)
        used["step_device"] = next(iter(after.values()))[0] if after else "CUDA device"
        joules = [(after[d][1] - before[d][1]) / 1000 for d in devices if d in before and d in after]
        if len(joules) == len(devices):
            used["step_joules"] = round(sum(joules), 3)


def _energy(devices: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Model and millijoules since the driver was loaded, by device; those that do not say are left out."""
    if not devices:
        return {}
    try:
        import pynvml
    except ImportError:
        return {}
    found: dict[str, tuple[str, int]] = {}
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        for name in devices:
            with suppress(pynvml.NVMLError):
                handle = (
                    pynvml.nvmlDeviceGetHandleByIndex(int(name))
                    if name.isdecimal()
                    else pynvml.nvmlDeviceGetHandleByUUID(name)
                )
                energy = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
                found[name] = str(pynvml.nvmlDeviceGetName(handle)), energy
        pynvml.nvmlShutdown()
    return found

"""What a step used: wall time, devices, and their energy where the driver counts it."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sft_pipeline.errors import SpecificationError

PRICE = "SFT_PIPELINE_PRICE_PER_HOUR"
"""Variable with the price of an hour of the machine that a run works on."""

Usage = dict[str, float | int | str]


@contextmanager
def measured() -> Iterator[Usage]:
    """What the block uses, filled in when it ends; the names begin with `step_`.

    `step_seconds` is wall time. `step_devices` and `step_device` are the CUDA devices that this process sees and their
    model, where it computed on them. `step_joules` is the difference of NVML's counters of their total energy
    (nvmlDeviceGetTotalEnergyConsumption, Volta and newer); it is left out where there is none. `step_price_per_hour` is
    that of `PRICE`.

    Raises:
        SpecificationError: the variable holds no price.
    """
    used: Usage = {}
    if price := os.environ.get(PRICE):
        try:
            used["step_price_per_hour"] = float(price)
        except ValueError:
            used["step_price_per_hour"] = -1.0
        if not 0 < float(used["step_price_per_hour"]) < float("inf"):
            raise SpecificationError(f"{PRICE} is {price!r}; it must be a number above 0.")
    before, started = _energy(), time.monotonic()
    yield used
    used["step_seconds"] = round(time.monotonic() - started, 3)
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    numbers = range(torch.cuda.device_count())
    used["step_devices"] = len(numbers)
    used["step_device"] = torch.cuda.get_device_name(0)
    after, ids = _energy(), [f"GPU-{torch.cuda.get_device_properties(n).uuid}" for n in numbers]
    if ids and all(id in before and id in after for id in ids):
        used["step_joules"] = sum(after[id] - before[id] for id in ids) / 1000


def _energy() -> dict[str, int]:
    """Millijoules since the driver was loaded, by the device's UUID; those that do not say are left out."""
    try:
        import pynvml
    except ImportError:
        return {}
    found: dict[str, int] = {}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    try:
        for number in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            try:
                found[pynvml.nvmlDeviceGetUUID(handle)] = pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            except pynvml.NVMLError:
                continue
    except pynvml.NVMLError:
        pass
    finally:
        pynvml.nvmlShutdown()
    return found

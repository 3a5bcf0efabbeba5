"""What a step used: wall time, devices, and their energy where the driver counts it."""

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sft_pipeline.errors import SpecificationError
from sft_pipeline.provenance import files

PRICE = "SFT_PIPELINE_PRICE_PER_HOUR"
"""Variable with the price of an hour of the machine that a run works on."""

KEPT = "step_usage.json"
"""File in a step's own folder with what its processes have used so far."""

EVERY = 5.0
"""Seconds between two writes of it: what a killed process used after the last one is not known."""

Usage = dict[str, float | int | str]


@contextmanager
def measured(devices: Sequence[str] = (), folder: Path | None = None) -> Iterator[Usage]:
    """What the block uses, filled in when it ends; the names begin with `step_`.

    `step_seconds` is wall time, `step_devices` the number of CUDA devices and `step_device` their model. `step_joules` is the
    difference of NVML's counters of their total energy (nvmlDeviceGetTotalEnergyConsumption, Volta and newer), whichever
    process computes on them; it is left out where one does not say. `step_price_per_hour` is that of `PRICE`.
    `step_processes` counts the processes that worked on the step, the killed ones too: time and energy are those of all.

    Args:
        devices: the leased devices, as CUDA_VISIBLE_DEVICES names them: numbers, which NVML counts by PCI bus, or UUIDs.
        folder: the step's own folder, which outlives a killed process; None counts this process alone.

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
    earlier: Usage = {}
    with suppress(OSError, ValueError):
        earlier = json.loads((folder / KEPT).read_text()) if folder else {}
    before, started, ended = _energy(devices), time.monotonic(), threading.Event()

    def until_now() -> Usage:
        seconds = float(earlier.get("step_seconds", 0)) + time.monotonic() - started
        now: Usage = {"step_seconds": round(seconds, 3), "step_processes": int(earlier.get("step_processes", 0)) + 1}
        if devices:
            after = _energy(devices)
            now |= {
                "step_devices": len(devices),
                "step_device": next((name for name, _ in after.values()), "CUDA device"),
            }
            joules = [(after[d][1] - before[d][1]) / 1000 for d in devices if d in before and d in after]
            if len(joules) == len(devices) and (not earlier or "step_joules" in earlier):
                now["step_joules"] = round(float(earlier.get("step_joules", 0)) + sum(joules), 3)
        return now

    def keep() -> None:
        with suppress(OSError):  # the step itself says what is wrong with its folder
            if folder:
                files.write(folder / KEPT, json.dumps(until_now()))

    def watch() -> None:
        keep()
        while not ended.wait(EVERY):
            keep()

    watching = threading.Thread(target=watch, name="usage", daemon=True)
    watching.start()
    try:
        yield used
    finally:
        ended.set()
        watching.join()
        keep()
    used |= until_now()


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

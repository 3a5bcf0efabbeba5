"""What an experiment cost: time, devices, energy, tokens and money, by step and in all."""

from collections.abc import Mapping

from sft_pipeline.artifacts import Artifact, Frozen, Generations
from sft_pipeline.experiment import Release

KWH = 3.6e6
"""Joules of a kilowatt hour."""


class StepCost(Frozen):
    """One step; None where it was not measured."""

    assets: tuple[str, ...]
    seconds: float
    device: str
    devices: int
    joules: float | None
    tokens: int | None
    price: float | None


class Cost(Frozen):
    """The steps and their sums.

    `not_measured` are assets that carry no time, such as those of an earlier version: the sums are without them. `kwh`
    is None unless every step on a CUDA device has its energy, and `price` unless a price of an hour is known for every
    step. Steps that ran side by side count each.
    """

    steps: tuple[StepCost, ...]
    seconds: float
    device_hours: float
    kwh: float | None
    tokens: int
    price: float | None
    currency: str
    not_measured: tuple[str, ...]


def cost(found: Mapping[str, Artifact], declared: Release) -> Cost:
    """The cost of the artifacts as it was measured while they were made.

    A resumed step counts all of its processes (provenance/usage.py). Of a result that was reused from another run the cost
    is that of the run that made it.
    """
    together: dict[str, list[str]] = {}  # what one step made has one key
    for asset, artifact in found.items():
        together.setdefault(artifact.key or asset, []).append(asset)
    steps: list[StepCost] = []
    missing: list[str] = []
    for assets in together.values():
        artifact = found[assets[0]]
        m = artifact.measurements
        if "step_seconds" not in m:
            missing += assets
            continue
        seconds, joules = float(m["step_seconds"]), m.get("step_joules")
        if "step_processes" not in m:  # an earlier version knew the whole time of a training alone, and no energy of it
            seconds = max(seconds, float(m.get("seconds", 0)))
            joules = None if m.get("resumed_at_step") else joules
        rate = m.get("step_price_per_hour", declared.price_per_hour)
        steps.append(
            StepCost(
                assets=tuple(assets),
                seconds=seconds,
                device=str(m.get("step_device", "cpu")),
                devices=int(m.get("step_devices", 0)),
                joules=None if joules is None else float(joules),
                tokens=_tokens(artifact),
                price=None if rate is None else round(float(rate) * seconds / 3600, 6),
            )
        )
    on_devices = [s for s in steps if s.devices]
    energy = [s.joules for s in on_devices if s.joules is not None]
    prices = [s.price for s in steps if s.price is not None]
    return Cost(
        steps=tuple(steps),
        seconds=round(sum(s.seconds for s in steps), 3),
        device_hours=round(sum(s.seconds * s.devices for s in steps) / 3600, 6),
        kwh=round(sum(energy) / KWH, 6) if energy and len(energy) == len(on_devices) else None,
        tokens=sum(s.tokens or 0 for s in steps),
        price=round(sum(prices), 6) if prices and len(prices) == len(steps) else None,
        currency=declared.currency,
        not_measured=tuple(missing),
    )


def lines(made: Cost) -> list[str]:
    """The sums in short sentences, for a terminal, the report and the card."""
    found = [f"{made.seconds / 3600:.3f} h in {len(made.steps)} steps, {made.device_hours:.3f} device hours"]
    found.append(f"{made.tokens:,} tokens trained on or generated")
    found.append(f"{made.kwh:.3f} kWh on CUDA devices" if made.kwh is not None else "energy: not measured")
    price = (
        "the price of an hour is not known of every step"
        if made.price is None
        else f"{made.price:.2f} {made.currency} in all"
    )
    found.append(price)
    if made.not_measured:
        found.append(f"without {', '.join(made.not_measured)}, whose time was not measured")
    return found


def _tokens(artifact: Artifact) -> int | None:
    if isinstance(artifact, Generations):
        return round(artifact.mean_tokens * artifact.rows)
    return int(artifact.measurements["tokens"]) if "tokens" in artifact.measurements else None

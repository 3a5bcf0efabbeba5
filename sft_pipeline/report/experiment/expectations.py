"""What a specification expects of its results, and what came out."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sft_pipeline import artifacts as a
from sft_pipeline.experiment import Experiment

KINDS: dict[str, type[a.Artifact]] = {
    **dict.fromkeys(("train_split", "dev_split", "test_split"), a.InstructionDataset),
    "training_plan": a.TrainingPlan,
    "lora_adapter": a.AdapterSnapshot,
    "training_report": a.TrainingReport,
    "gate_report": a.GateReport,
    "capability_report": a.CapabilityReport,
}
"""The assets of which a figure can be expected."""


class Expected(NamedTuple):
    """A figure as it was expected and as it came out.

    Attributes:
        figure: its path.
        expected: the value, or the range.
        measured: the value; empty where there is none.
        difference: the deviation, or why there is none.
    """

    figure: str
    expected: str
    measured: str
    difference: str


def compared(experiment: Experiment | None, found: Mapping[str, a.Artifact]) -> list[Expected]:
    """The expectations in their order.

    Args:
        experiment: the specification; None where it cannot be read.
        found: the artifacts that are there, by asset.
    """
    rows = []
    for figure, wanted in experiment.expectations.items() if experiment else ():
        text = f"{wanted[0]:,g} to {wanted[1]:,g}" if isinstance(wanted, tuple) else f"{wanted:,.10g}"
        value, missing = _value(figure, found)
        rows.append(Expected(figure, text, "" if missing else f"{value:,.10g}", missing or _difference(value, wanted)))
    return rows


def lines(rows: list[Expected]) -> list[str]:
    """The same for a terminal."""
    width = max((len(row.figure) for row in rows), default=0)
    return [
        f"{r.figure:<{width}}  expected {r.expected}, {f'got {r.measured}: ' if r.measured else ''}{r.difference}"
        for r in rows
    ]


def _value(figure: str, found: Mapping[str, a.Artifact]) -> tuple[float, str]:
    """The figure, or why there is none."""
    asset, field, *keys = figure.split(".")
    kind = KINDS.get(asset)
    if kind is None:
        return 0.0, f"no figure of {asset} can be expected, but of {', '.join(KINDS)}"
    if field not in kind.model_fields:
        return 0.0, f"{asset} has no figure {field}"
    if asset not in found:
        return 0.0, "not made"
    value: Any = getattr(found[asset], field)
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else getattr(value, key, None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0, "not measured"
    return value, ""


def _difference(value: float, wanted: float | tuple[float, float]) -> str:
    if isinstance(wanted, tuple):
        low, high = wanted
        return "within" if low <= value <= high else f"{value - (low if value < low else high):+,.6g} beyond the range"
    if value == wanted:
        return "equal"
    return f"{value - wanted:+,.6g}" + (f" ({100 * (value / wanted - 1):+.1f} %)" if wanted else "")

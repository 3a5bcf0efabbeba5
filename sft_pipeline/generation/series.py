"""The checkpoint series: success on the dev split at the base and at every kept checkpoint.

The dev split, because choosing a checkpoint on the test split would cost the gate its honesty.
"""

import json
from pathlib import Path

from sft_pipeline.artifacts import AdapterSnapshot, InstructionDataset, ModelSnapshot, SeriesPoint, SeriesReport
from sft_pipeline.evaluation.statistics import wilson
from sft_pipeline.experiment import Experiment
from sft_pipeline.generation.engine import TransformersEngine
from sft_pipeline.generation.success import successes


def series(
    experiment: Experiment, base: ModelSnapshot, adapter: AdapterSnapshot, dev: InstructionDataset, out: Path
) -> SeriesReport:
    """Measure base, kept checkpoints and final adapter on one loaded engine; writes `series.json` and `series.png`."""
    from sft_pipeline.report.series_plot import plot_series

    engine = TransformersEngine(base, experiment.model)
    folders: dict[int, Path | None] = {0: None}
    folders |= {step: adapter.root / "checkpoints" / str(step) for step in adapter.checkpoints}
    folders[adapter.step] = adapter.root / "adapter"
    points = tuple(
        _point(step, *successes(engine, experiment, dev, folder)) for step, folder in sorted(folders.items())
    )
    (out / "series.json").write_text(json.dumps([p.model_dump() for p in points], indent=2))
    plot_series(points, out / "series.png")
    return SeriesReport.seal(out, split="dev", points=points)


def _point(step: int, successful: int, n: int) -> SeriesPoint:
    low, high = wilson(successful, n)
    return SeriesPoint(step=step, n=n, successes=successful, low=low, high=high)

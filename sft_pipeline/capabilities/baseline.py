"""baseline_metrics.json: a model's results item by item, for a later model to be compared with on the same items."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from sft_pipeline.artifacts import BenchmarkResult, CapabilityReport, Frozen, ModelScore
from sft_pipeline.errors import DataError
from sft_pipeline.specification import expand_path

FORMAT = 1


class BaselineMetric(Frozen):
    """One metric of the model."""

    benchmark: str
    task: str
    version: str
    metric: str
    filter: str
    shots: int
    n: int
    available: int
    score: ModelScore
    hashes: dict[str, str] = Field(description="SHA-256 over the items, prompts and targets, in their order.")
    scores: tuple[float, ...] = Field(description="Score of each item, in the order of the benchmark.")


class Baseline(Frozen):
    """The content of baseline_metrics.json."""

    format: int = FORMAT
    metrics: dict[str, float] = Field(description="Mean scores in percent, by name: what people compare at a glance.")
    perplexity: float | None = None
    results: dict[str, BaselineMetric]
    conditions: dict[str, str] = {}

    def reference(self, name: str, facts: Mapping[str, Any], items: int, hashes: Mapping[str, str]) -> list[float]:
        """The scores of a metric on the `items` that the other model was asked.

        Raises:
            DataError: the baseline has no such metric, or was measured otherwise.
        """
        own = self.results.get(name)
        if own is None:
            raise DataError(
                f"the baseline has no {name} (it has {', '.join(self.results) or 'nothing'}); leave it out, or measure it"
            )
        differing = [f for f in ("task", "version", "metric", "filter", "shots") if getattr(own, f) != facts[f]]
        differing += [f"{part}s" for part in hashes if own.hashes.get(part) != hashes[part]]
        if differing or len(own.scores) != items:
            raise DataError(
                f"the baseline's {name} was measured otherwise: {', '.join(differing) or 'items'} differ; ask the same items of the "
                "same files with the same shots, limit, seed and version of the harness"
            )
        return list(own.scores)


def load(written: str, root: Path) -> Baseline:
    """Read a baseline file.

    Raises:
        DataError: it cannot be read, or holds no results item by item.
    """
    path = expand_path(written, root)
    try:
        return Baseline.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"evaluation.capabilities.baseline {written!r}: it cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DataError(
            f"evaluation.capabilities.baseline {written!r}: no baseline_metrics.json of a capability report: {field}: "
            f"{first['msg']}. It needs the results item by item, as `sft-pipeline capabilities` writes them"
        ) from error


def write(report: CapabilityReport, scores: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write the results of the fine-tuned model, or of the base where it is alone.

    Args:
        report: the report.
        scores: that model's scores by metric and item.
        path: the file.
    """
    own = ("benchmark", "task", "version", "metric", "filter", "shots", "n", "available", "hashes")
    baseline = Baseline(
        metrics={r.name: round(100 * _own(r).mean, 2) for r in report.results},
        perplexity=report.perplexity.judged if report.perplexity else None,
        results={
            r.name: BaselineMetric(**{f: getattr(r, f) for f in own}, score=_own(r), scores=tuple(scores[r.name]))
            for r in report.results
        },
        conditions=report.conditions,
    )
    path.write_text(json.dumps(baseline.model_dump(mode="json"), ensure_ascii=False, indent=1) + "\n", "utf-8")


def _own(result: BenchmarkResult) -> ModelScore:
    return result.sft or result.base

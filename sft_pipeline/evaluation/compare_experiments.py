"""Two and more experiments side by side, from what is stored of them: specifications, trainings, gates, answers in pairs."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, TypeVar

import numpy as np

from sft_pipeline.artifacts import (
    AdapterSnapshot,
    Artifact,
    ComparedExperiment,
    ExperimentComparison,
    GateReport,
    GroupResult,
    ModelComparison,
    SeriesReport,
    SpecificationDifference,
    TrainingPlan,
    TrainingReport,
)
from sft_pipeline.dataset.table import read_table
from sft_pipeline.diagnosis.log import Log, read
from sft_pipeline.errors import PreconditionError, StoreError
from sft_pipeline.evaluation.statistics.clusters import clustered_p, with_clusters
from sft_pipeline.evaluation.statistics.paired import holm, paired
from sft_pipeline.experiment import Experiment, Gate
from sft_pipeline.provenance.store import Store
from sft_pipeline.provenance.verification import link_problems
from sft_pipeline.report.experiment.sheet import Lineage
from sft_pipeline.report.experiment.sheet import read as read_stored

A = TypeVar("A", bound=Artifact)
Items = dict[str, dict[str, Any]]

UNCOMPARED = {"description", "extends", "plan_only", "expectations"}
"""Fields that decide nothing of a result."""

LATER = ("lora_adapter", "training_report", "checkpoint_series", "gate_report")
"""What is compared besides the plan; an experiment without one says so."""


def compare(store: Store, names: Sequence[str]) -> ExperimentComparison:
    """Compare experiments as far as they are stored.

    The fine-tuned models are compared in pairs on the items that both gates judged: an item is the same where its id is, which
    is a hash of instruction, response, type and reference.

    Raises:
        PreconditionError: fewer than two names, or one twice.
        StoreError: the store cannot be read, or there is nothing of an experiment.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise PreconditionError(f"a comparison needs two experiments or more, each once; got {', '.join(names)}")
    stored = {name: read_stored(store, name) for name in names}
    plans = [plan for one in stored.values() if (plan := _of(one, "training_plan", TrainingPlan))]
    by_rows = len({plan.batches or (plan.effective_batch,) for plan in plans}) > 1
    items: dict[str, Items] = {}
    found = [_experiment(store, one, by_rows, items) for one in stored.values()]
    gates = [gate for one in stored.values() if (gate := _of(one, "gate_report", GateReport))]
    tests = {gate.test for gate in gates}
    deciding = Gate.model_validate(
        {"alpha": min((g.alpha for g in gates), default=0.01), "test": tests.pop() if len(tests) == 1 else "exact"}
    )
    comparisons, apart = _pairs(items, names, deciding)
    specifications = {name: one.experiment for name, one in stored.items() if one.experiment}
    return ExperimentComparison(
        experiments=tuple(found),
        differences=tuple(differences(specifications)),
        axis="rows" if by_rows else "step",
        alpha=deciding.alpha,
        test=deciding.test,
        comparisons=tuple(comparisons),
        apart=apart,
        notes=tuple(_notes(specifications, found, gates, comparisons)),
    )


def differences(experiments: Mapping[str, Experiment]) -> list[SpecificationDifference]:
    """Fields in which specifications differ, defaults included, in the order of the schema; a list is one value."""
    flat = {
        name: _leaves(experiment.model_dump(mode="json", exclude=UNCOMPARED))
        for name, experiment in experiments.items()
    }
    found = []
    for path in dict.fromkeys(path for leaves in flat.values() for path in leaves):
        values = {name: leaves[path] for name, leaves in flat.items() if path in leaves}
        if len(values) < len(flat) or len({json.dumps(value) for value in values.values()}) > 1:
            found.append(SpecificationDifference(path=path, values=values))
    return found


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {p: leaf for key, inner in value.items() for p, leaf in _leaves(inner, f"{path}.{key}".lstrip(".")).items()}


def _of(stored: Lineage, asset: str, kind: type[A]) -> A | None:
    artifact = stored.found.get(asset)
    return artifact if isinstance(artifact, kind) else None


def _experiment(store: Store, stored: Lineage, by_rows: bool, items: dict[str, Items]) -> ComparedExperiment:
    """What is stored of one experiment; the judged items of its gate go to `items`."""
    plan, adapter = _of(stored, "training_plan", TrainingPlan), _of(stored, "lora_adapter", AdapterSnapshot)
    report, gate = _of(stored, "training_report", TrainingReport), _of(stored, "gate_report", GateReport)
    series = _of(stored, "checkpoint_series", SeriesReport)
    planned_only = stored.experiment is not None and stored.experiment.plan_only
    problems = [stored.problem, *link_problems(stored.found, stored.name, stored.damaged), *stored.damaged.values()]
    if planned_only:
        problems.append("it is for a plan alone (plan_only: true): nothing is trained or judged")
    elif missing := [asset for asset in LATER if asset not in stored.found and asset not in stored.damaged]:
        problems.append(f"not made: {', '.join(missing)}")
    log = None
    try:
        if adapter:
            history = store.get("lora_adapter", stored.name, AdapterSnapshot).path("log_history.json")
            log = read(json.loads(history.read_text("utf-8")))
        if gate:
            rows = read_table(store.get("gate_report", stored.name, GateReport).path("items.parquet"))
            items[stored.name] = {row["id"]: row for row in rows}
    except StoreError as error:
        problems.append(str(error))
    at = _axis(by_rows, log, plan)
    return ComparedExperiment(
        name=stored.name,
        description=stored.experiment.description if stored.experiment else "",
        plan={} if plan is None else _plan(plan),
        training={} if adapter is None else _training(adapter, report),
        healthy=None if report is None else report.healthy,
        verdict=None if gate is None else gate.verdict,
        overall=None if gate is None else gate.overall,
        p=None if gate is None else gate.p,
        curves=_curves(log, at) if log and at else {},
        series=tuple((at(p.step), p.successes / p.n, p.n) for p in series.points if p.n) if series and at else (),
        problems=tuple(filter(None, problems)),
    )


def _plan(plan: TrainingPlan) -> dict[str, float]:
    figures = {"rows": plan.trained_rows, "steps": plan.steps, "sequences per step": plan.effective_batch}
    return {**figures, "passes": plan.coverage, "trained parameters": plan.trainable_parameters}


def _training(adapter: AdapterSnapshot, report: TrainingReport | None) -> dict[str, float]:
    figures: dict[str, float] = {"steps made": adapter.steps, "adapter of step": adapter.step}
    figures |= {"first loss": adapter.loss_first, "last loss": adapter.loss_last}
    if adapter.dev_loss is not None:
        figures["dev loss"] = adapter.dev_loss
    measured = {"seconds": "seconds", "tokens": "tokens", "peak_memory_bytes": "peak memory, bytes"}
    figures |= {
        title: float(adapter.measurements[key]) for key, title in measured.items() if key in adapter.measurements
    }
    return figures | ({k.replace("_", " "): v for k, v in report.metrics.items()} if report else {})


def _axis(by_rows: bool, log: Log | None, plan: TrainingPlan | None) -> Callable[[float], float] | None:
    """Where a step lies: at itself, or at the rows trained on until then; None where log or plan to tell these is missing.

    Rows are the passes that the log has, times the rows of a pass; between two records they grow with the steps.
    """
    if not by_rows:
        return lambda step: step
    if log is None or plan is None or not log.epoch:
        return None
    steps, passes = zip((0, 0.0), *log.epoch, strict=True)
    rows = np.array(passes) * plan.trained_rows
    return lambda step: float(np.interp(step, steps, rows))


def _curves(log: Log, at: Callable[[float], float]) -> dict[str, tuple[tuple[float, float], ...]]:
    lines = {"training loss": log.loss, "dev loss": log.dev, "token accuracy": log.accuracy}
    return {name: tuple((at(step), value) for step, value in line) for name, line in lines.items() if line}


def _pairs(
    items: Mapping[str, Items], names: Sequence[str], gate: Gate
) -> tuple[list[ModelComparison], dict[str, str]]:
    """Every pair of fine-tuned models on their common items, and why others cannot be compared."""
    results: list[tuple[str, str, GroupResult]] = []
    apart: dict[str, str] = {}
    for first, second in combinations(names, 2):
        pair = f"{first}, {second}"
        if unjudged := [name for name in (first, second) if name not in items]:
            apart[pair] = f"no judged answers of {' and '.join(unjudged)}"
            continue
        a, b = items[first], items[second]
        common = [id for id in a if id in b]
        judged = [id for id in common if None not in (a[id]["sft_success"], b[id]["sft_success"])]
        if not judged:
            apart[pair] = f"no common item: {len(a):,} and {len(b):,} items were judged, " + (
                f"and the {len(common):,} that are the same could not be judged in both"
                if common
                else "and none is the same in instruction, response, type and reference"
            )
            continue
        before, after = ([bool(rows[id]["sft_success"]) for id in judged] for rows in (a, b))
        clusters = [a[id]["cluster"] or b[id]["cluster"] for id in judged]
        result = with_clusters(paired(f"{second} − {first}", before, after), before, after, clusters, gate)
        results.append((first, second, result))
    p_values = [clustered_p(result, gate.test) for *_, result in results]
    compared = zip(results, p_values, holm(p_values), strict=True)
    return [
        ModelComparison(baseline=first, model=second, result=result, p=p, p_adjusted=adjusted)
        for (first, second, result), p, adjusted in compared
    ], apart


def _notes(
    specifications: Mapping[str, Experiment],
    experiments: Sequence[ComparedExperiment],
    gates: Sequence[GateReport],
    comparisons: Sequence[ModelComparison],
) -> list[str]:
    found = ["The specifications are those of now: whether a result was made from them, sft-pipeline run says."]
    if len({(gate.test, gate.alpha) for gate in gates}) > 1:
        found.append(
            "The gates decide by different tests or levels: here the strictest level holds, and the exact test."
        )
    judged = {e.name: e.overall.n for e in experiments if e.overall}
    for c in comparisons:
        both = f"{c.baseline} and {c.model}"
        scorers = {
            specifications[n].evaluation.model_dump_json(include={"scorers"})
            for n in (c.baseline, c.model)
            if n in specifications
        }
        if len(scorers) > 1:
            found.append(f"{both} are judged by different scorers, as the table of differences shows.")
        if c.result.n < min(judged[c.baseline], judged[c.model]):
            found.append(f"{both} have {c.result.n:,} judged items in common; the others are left out.")
    if any(experiment.evaluation.series.split == "test" for experiment in specifications.values()):
        found.append("A checkpoint series on the test split is no independent figure beside the gate.")
    return found

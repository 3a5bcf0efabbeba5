"""The capability report: benchmarks and perplexity of base and fine-tuned model, on one loaded engine."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sft_pipeline.artifacts import (
    BenchmarkResult,
    CapabilityReport,
    InstructionDataset,
    ModelSnapshot,
    Perplexity,
)
from sft_pipeline.capabilities import baseline as baselines
from sft_pipeline.capabilities import items as benchmark_items
from sft_pipeline.capabilities.write_report import write
from sft_pipeline.errors import DataError
from sft_pipeline.experiment import Benchmark, Capabilities, Experiment
from sft_pipeline.generation.answers import conditions
from sft_pipeline.generation.engines import open_engine
from sft_pipeline.generation.engines.engine import Engine
from sft_pipeline.provenance.environment import library_versions
from sft_pipeline.report.gate.text import points

log = logging.getLogger(__name__)

UNMEASURED = "The specification declares no capabilities (evaluation.capabilities): nothing was measured."
BASE, SFT = "base", "sft"


class Planned(NamedTuple):
    """A benchmark as it will be asked."""

    benchmark: Benchmark
    items: benchmark_items.Items
    positions: list[int]


def planned(spec: Capabilities, root: Path) -> dict[str, Planned]:
    """Every benchmark with its items, read and drawn.

    Raises:
        DataError: a file or a row cannot be used.
    """
    found = {}
    for name, benchmark in spec.benchmarks.items():
        items = benchmark_items.read(name, benchmark, root)
        positions = benchmark_items.drawn(name, items.items, benchmark.limit, spec.seed)
        found[name] = Planned(benchmark, items, positions)
    return found


def report(
    experiment: Experiment,
    base: ModelSnapshot,
    adapter: Path | None,
    dev: InstructionDataset | None,
    root: Path,
    work: Path,
    out: Path,
) -> CapabilityReport:
    """Measure both models, or the base alone, and write the report.

    Args:
        experiment: gives benchmarks, model, prompt and engine.
        base: the base model.
        adapter: folder of the adapter; None measures the base alone.
        dev: the split whose responses' perplexity is taken; None: not measured.
        root: the project's root, where relative paths of the specification start.
        work: the step's own folder; a measurement that was killed resumes there.
        out: empty folder.

    Raises:
        DataError: a benchmark's file or row cannot be used, or the baseline was measured otherwise.
        ModelError: the adapter does not fit the base, or the engine failed.
    """
    spec = experiment.evaluation.capabilities
    if spec is None:
        return CapabilityReport.finalize(
            out, verdict=None, results=(), alpha=0.05, blocking="none", notes=(UNMEASURED,)
        )
    started = time.monotonic()
    benchmarks = planned(spec, root)
    baseline = baselines.load(spec.baseline, root) if spec.baseline else None
    # With a baseline the base is not asked: the file stands in its place.
    models: dict[str, Path | None] = {SFT: adapter} if baseline else {BASE: None}
    if adapter is not None:
        models[SFT] = adapter
    opening = time.monotonic()
    with open_engine(experiment, base) as engine:
        if adapter is not None:
            from sft_pipeline.model.adapter_fit import require_fit

            require_fit(adapter, base.root, base.revision)
        opened = time.monotonic()
        scored = _Scores(experiment, engine, base, spec, work)
        for name, plan in benchmarks.items():
            scored.ask(name, plan, models, root)
        perplexities = {name: scored.perplexity(dev, folder) for name, folder in models.items()} if dev else {}
    results, rows, own = scored.results(benchmarks, baseline)
    perplexity = _perplexity(perplexities, baseline, spec.max_perplexity)
    made = _judged(results, perplexity, spec, len(models) + bool(baseline) > 1)
    notes = [note for plan in benchmarks.values() for note in plan.items.notes] + [*scored.notes, *_unusual(results)]
    fields: dict[str, Any] = {
        **made,
        "results": results,
        "perplexity": perplexity,
        "alpha": spec.alpha,
        "blocking": spec.blocking,
        "notes": tuple(notes),
        "sources": {n: f.sha256 for plan in benchmarks.values() for n, f in plan.items.sources.items()},
        "conditions": scored.conditions,
        "compared_with": spec.baseline or BASE,
    }
    measurements = {
        "seconds": round(time.monotonic() - started, 3),
        "engine_start_seconds": round(opened - opening, 3),
        "engine_seconds": round(scored.seconds, 3),
        "tokens": scored.tokens,
    }
    return write(fields, measurements, rows, own, out)


class _Scores:
    """The scores of all models on one engine."""

    def __init__(self, experiment: Experiment, engine: Engine, base: ModelSnapshot, spec: Capabilities, work: Path):
        self._experiment, self._engine, self._spec, self._work = experiment, engine, spec, work
        self.conditions = {
            **conditions(experiment, base, None, engine),
            "harness": library_versions("lm-eval")["lm-eval"],
        }
        self._asked: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, dict[str, Any]] = {}
        self.notes: dict[str, None] = {}  # in order, each once
        self._perplexity_seconds = 0.0
        self._model: Any = None

    @property
    def seconds(self) -> float:
        """Time in the engine."""
        return (self._model.seconds if self._model else 0.0) + self._perplexity_seconds

    @property
    def tokens(self) -> int:
        """Tokens of the benchmarks, read and generated."""
        return self._model.tokens if self._model else 0

    def ask(self, name: str, plan: Planned, models: Mapping[str, Path | None], root: Path) -> None:
        """Ask every model the items of a benchmark."""
        from sft_pipeline.capabilities import harness

        if self._model is None:
            self._model = harness.EngineModel(self._engine, self._experiment.generation, self.conditions)
        tasks = self._tasks[name] = harness.tasks(name, plan.benchmark, plan.items, plan.positions, root)
        for model, adapter in models.items():
            started = time.monotonic()
            self._model.adapter, self._model.cut = adapter, 0
            self._asked.setdefault(name, {})[model] = harness.measure(
                tasks, self._model, self._work / f"{name}-{model}"
            )
            if self._model.cut:
                self.notes[
                    f"{name}: {self._model.cut:,} prompts are longer than the model can read and lost their beginning."
                ] = None
            log.info("%s, %s: %d items in %.1f s", name, model, len(plan.positions), time.monotonic() - started)

    def perplexity(self, dev: InstructionDataset, adapter: Path | None) -> tuple[int, int, float]:
        """Rows, tokens and mean negative log-probability (nats) of the responses with their end, as trained on."""
        from sft_pipeline.dataset.table import read_table
        from sft_pipeline.training.tokenization import answers, encode

        rows = read_table(dev.path(InstructionDataset.ROWS))
        limit = self._engine.longest_scored
        fitting = [
            example
            for example in encode(self._experiment, self._engine.tokenizer, rows).examples
            if limit is None or len(example["input_ids"]) <= limit
        ]
        asked = [part for example in fitting for part in answers(example)]
        started = time.monotonic()
        scored = self._engine.score(asked, self._experiment.generation.batch_size, adapter=adapter)
        self._perplexity_seconds += time.monotonic() - started
        values = [value for one in scored for value in one.logprobs]
        if lost := len(rows) - len(fitting):
            self.notes[
                f"{lost} rows of the dev split do not fit into training.max_length, or the model's context: their perplexity is not taken."
            ] = None
        return len(fitting), len(values), -math.fsum(values) / len(values) if values else math.nan

    def results(
        self, benchmarks: Mapping[str, Planned], baseline: baselines.Baseline | None
    ) -> tuple[tuple[BenchmarkResult, ...], list[dict[str, Any]], dict[str, list[float]]]:
        """The results, the table of all items, and by metric the scores of the fine-tuned or only model."""
        if not benchmarks:
            return (), [], {}
        from sft_pipeline.capabilities import comparison

        measured, rows, own = [], [], {}
        for name, plan in benchmarks.items():
            for label, metric, decides in self._metrics(name, plan.benchmark):
                by_model = {m: self._of(found, metric) for m, found in self._asked[name].items()}
                first = next(iter(by_model.values()))
                hashes = comparison.digests(first)
                tasks = [t for n, t in self._tasks[name].items() if metric.task in (None, n)]
                facts = {
                    "name": label,
                    "benchmark": name,
                    "task": metric.task or benchmark_items.kind_of(name, plan.benchmark),
                    "version": tasks[0].version,
                    "metric": metric.metric,
                    "filter": metric.filter,
                    "shots": tasks[0].shots,
                    "available": len(plan.items.items),
                }
                if BASE in by_model and SFT in by_model:
                    comparison.aligned(by_model[BASE], by_model[SFT], label)
                scores = {m: [one.score for one in found] for m, found in by_model.items()}
                if baseline:
                    scores[BASE] = baseline.reference(label, facts, len(first), hashes)
                own[label] = scores.get(SFT, scores[BASE])
                margin = plan.benchmark.margin if decides else None
                measured.append(comparison.Measured(facts, margin, scores[BASE], scores.get(SFT), hashes))
                rows += self._rows(label, plan, by_model, scores)
        return comparison.compare(measured, self._spec), rows, own

    def _metrics(self, name: str, benchmark: Benchmark) -> list[tuple[str, benchmark_items.Metric, bool]]:
        """Name in the report, metric of the harness, and whether it decides; the first of a task file's own decides."""
        facts = benchmark_items.known().get(benchmark_items.kind_of(name, benchmark))
        if facts is None:
            found = next(iter(self._asked[name].values()))
            made = [benchmark_items.Metric(metric=m, filter=f) for m, f in found]
            return [(name if at == 0 else f"{name}_{m.metric}_{m.filter}", m, at == 0) for at, m in enumerate(made)]
        kind = benchmark_items.kind_of(name, benchmark)
        return [(label.replace(kind, name, 1), metric, metric.decides) for label, metric in facts.metrics.items()]

    @staticmethod
    def _of(found: Mapping[tuple[str, str], Sequence[Any]], metric: benchmark_items.Metric) -> list[Any]:
        scores = found.get((metric.metric, metric.filter), ())
        own = [one for one in scores if metric.task in (None, one.task)]
        return sorted(own, key=lambda one: one.position)

    @staticmethod
    def _rows(
        label: str, plan: Planned, by_model: Mapping[str, Sequence[Any]], scores: Mapping[str, Sequence[float]]
    ) -> list:
        """Rows of items.parquet."""
        first = next(iter(by_model.values()))
        rows = []
        for at, one in enumerate(first):
            file, number = plan.items.items[one.position].place
            rows.append(
                {
                    "metric": label,
                    "task": one.task,
                    "item": one.position,
                    "source_file": file,
                    "source_row": number,
                    **dict(zip(("doc_hash", "prompt_hash", "target_hash"), one.hashes, strict=True)),
                    **{f"{m}_score": scores[m][at] if m in scores else None for m in (BASE, SFT)},
                    **{f"{m}_output": by_model[m][at].output if m in by_model else None for m in (BASE, SFT)},
                }
            )
        return rows


def _perplexity(
    found: Mapping[str, tuple[int, int, float]], baseline: baselines.Baseline | None, limit: float
) -> Perplexity | None:
    if not found:
        return None
    rows, tokens, _ = next(iter(found.values()))
    if not tokens:
        raise DataError("the dev split has no response that the model can read: no perplexity can be taken")
    values = {model: math.exp(min(nats, 700.0)) for model, (_, _, nats) in found.items()}  # beyond that it is no float
    base = baseline.perplexity if baseline else values[BASE]
    return Perplexity(rows=rows, tokens=tokens, base=base, sft=values.get(SFT), limit=limit)


def _judged(
    results: Sequence[BenchmarkResult], perplexity: Perplexity | None, spec: Capabilities, compared: bool
) -> dict[str, Any]:
    """Verdict and problems."""
    wrong = [f"{r.name} regressed: {_loss(r)}" for r in results if r.verdict == "regressed"]
    if perplexity and not perplexity.within:
        wrong.append(
            f"the perplexity of the dev split is {perplexity.judged:.4g}, above its limit of {perplexity.limit:g}"
        )
    open_ = [f"{r.name} is undecided: {_loss(r)}{_needed(r)}" for r in results if r.verdict == "undecided"]
    if not compared:
        return {"verdict": None, "problems": tuple(wrong) if spec.blocking != "none" else ()}
    judged = perplexity is not None or any(r.verdict for r in results)
    verdict = "regressed" if wrong else "undecided" if open_ else "held" if judged else None
    problems = {"none": [], "regressed": wrong, "undecided": wrong + open_}[spec.blocking]
    return {"verdict": verdict, "problems": tuple(problems)}


def _loss(result: BenchmarkResult) -> str:
    assert result.difference is not None
    assert result.difference_interval is not None
    assert result.margin is not None
    low, high = result.difference_interval
    shown = ""
    if result.verdict == "regressed" and low > -result.margin:
        shown = f"; a loss is shown (p = {result.p_adjusted:.2g} by Holm), though within what is tolerated"
    return (
        f"{points(result.difference)} points ({points(low)} to {points(high)}) on {result.n:,} items, tolerated are "
        f"{points(-result.margin)}{shown}"
    )


def _needed(result: BenchmarkResult) -> str:
    if result.items_to_decide is None:
        return ""
    return f"; {result.items_to_decide:,} items would decide if the shares stayed the same"


def _unusual(results: Sequence[BenchmarkResult]) -> list[str]:
    """Figures outside the range in which base models lie: often a fault of prompt, shots or extraction."""
    usual = {
        (metric.task or kind, metric.metric, metric.filter): metric.usual
        for kind, facts in benchmark_items.known().items()
        for metric in facts.metrics.values()
        if metric.usual
    }
    notes = []
    for result in results:
        least, most = usual.get((result.task, result.metric, result.filter), (0.0, 1.0))
        scores = [f"{100 * s.mean:.1f} %" for s in (result.base, result.sft) if s and _outside(s.interval, least, most)]
        if scores:
            notes.append(
                f"{result.name}: {' and '.join(scores)}; usual are {100 * least:.0f} to {100 * most:.0f} %. Look at prompt, shots and "
                "answers (items.parquet) before you believe it."
            )
    return notes


def _outside(interval: tuple[float, float], least: float, most: float) -> bool:
    return interval[1] < least or interval[0] > most

"""Writes the report of a decision: gate.json, items.parquet, the text, the page and the pictures."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pydantic import BaseModel

from sft_pipeline.artifacts import GateReport
from sft_pipeline.evaluation.gate.pairs import MODELS, Answer, Pair, columns
from sft_pipeline.evaluation.gate.prompted import NONE, Prompts
from sft_pipeline.evaluation.gate.verdict import Decision
from sft_pipeline.evaluation.scorers.think_answer import CORRECT, FORMAT, WRONG
from sft_pipeline.evaluation.statistics.power import power
from sft_pipeline.experiment import Gate
from sft_pipeline.provenance.hashing import canonical_json
from sft_pipeline.report.gate.json import AnswerStatistics

BINS = 30
"""Bins of the distribution of lengths, up to the 99th percentile and one beyond it."""

LIFTS = [k / 100 for k in range(31)]
"""True lifts of the power curve."""


def write(
    decision: Decision,
    made: Sequence[Pair],
    gate: Gate,
    facts: Mapping[str, Any],
    out: Path,
    prompted: Prompts = NONE,
) -> GateReport:
    """Write the report of a decision to `out`.

    Args:
        decision: the verdict with its statistics.
        made: both answers to every item.
        gate: the criteria.
        facts: what gate.json says besides: the inputs and how they were made, and the shares of cut answers.
        out: folder of the report; what stands there already is part of it.
        prompted: the comparators, where there are some.
    """
    import pyarrow as pa

    from sft_pipeline.dataset.table import write_table
    from sft_pipeline.report.gate import (
        distributions as gate_distributions,
    )
    from sft_pipeline.report.gate import (
        html as gate_html,
    )
    from sft_pipeline.report.gate import (
        plots as gate_plots,
    )
    from sft_pipeline.report.gate import (
        text as gate_text,
    )
    from sft_pipeline.report.gate.json import GateJson

    fields: dict[str, Any] = {
        "verdict": decision.verdict,
        "overall": decision.overall,
        "types": decision.types,
        "protected": decision.protected,
        "reasons": decision.reasons,
        "test": gate.test,
        "alpha": gate.alpha,
        "missing": decision.missing,
        "sensitivity": decision.sensitivity,
        "agreement": decision.agreement,
        "labels": _labels(made),
        "comparators": prompted.results,
        "comparisons": prompted.comparisons,
        "costs": prompted.costs,
    }
    report = GateReport(root=out, **fields)
    extra = {
        "answers": {m: answer_statistics([getattr(p, m) for p in made]).model_dump() for m in ("base", "sft")},
        "length": {"adjusted": _dump(decision.length.adjusted), "rule": _dump(decision.length.rule)}
        if decision.length
        else None,
        "lengths": _lengths(made) if decision.length else None,
        "repetition": {**decision.repetitive, "n": len(made)} if decision.repetitive else None,
        "power_curve": _power_curve(decision, gate),
        "gate": gate.model_dump(mode="json"),
        **facts,
    }
    figures = GateJson.of(report, extra)
    (out / "gate.json").write_text(figures.text(), "utf-8")
    (out / "gate.txt").write_text(gate_text.summary(report), "utf-8")
    others = {c.name: c.answers for c in prompted.prompted}
    items = [m.row() for m in made]
    for row in items:
        for name, answers in others.items():
            row |= columns(name, answers.get(row["id"], Answer(None, None, "not asked")))
    write_table(items, _schema(pa, others), out / "items.parquet")
    if evidence := [line for m in made for line in _evidence(m)]:
        (out / "judgements.jsonl").write_text("\n".join(evidence) + "\n", "utf-8")
    pictures = {
        "rates.png": gate_plots.rates(report),
        "differences.png": gate_plots.differences(report),
        "discordance.png": gate_plots.discordance(report),
    }
    if figures.lengths:
        pictures["lengths.png"] = gate_distributions.lengths(figures.lengths, items)
    if figures.power_curve:
        pictures["power.png"] = gate_distributions.power(figures.power_curve, report.overall.lift, gate.min_power)
    for name, picture in pictures.items():
        (out / name).write_bytes(picture)
    (out / "gate.html").write_text(gate_html.page(report, figures, items, pictures), "utf-8")
    return GateReport.finalize(out, **fields)


def _dump(value: BaseModel | None) -> dict[str, Any] | None:
    return None if value is None else value.model_dump(mode="json")


def _schema(pa: Any, others: Iterable[str] = ()) -> Any:
    fields = [pa.field(name, pa.string(), nullable=False) for name in ("id", "type", "instruction")]
    for name in ("base", "sft", *others):
        fields += [
            pa.field(f"{name}_output", pa.string(), nullable=name not in MODELS),  # null: it was not asked
            pa.field(f"{name}_success", pa.bool_()),  # null: it could not be judged
            pa.field(f"{name}_reason", pa.string(), nullable=False),
            pa.field(f"{name}_labels", pa.list_(pa.string()), nullable=False),
            pa.field(f"{name}_tokens", pa.int64()),
            pa.field(f"{name}_cut", pa.bool_()),  # at the limit of new tokens
        ]
    return pa.schema([*fields, pa.field("verifier", pa.bool_()), pa.field("cluster", pa.string())])


def _labels(made: Sequence[Pair]) -> dict[str, dict[str, int]]:
    counts = {m: Counter(label for p in made for label in getattr(p, m).labels) for m in ("base", "sft")}
    return {m: dict(sorted(found.items())) for m, found in counts.items() if found}


def _evidence(made: Pair) -> list[str]:
    """What a judge was asked about an item and what it said; once where it saw both answers."""
    found = [(name, getattr(made, name).evidence) for name in ("base", "sft")]
    if made.compared:
        found = [("both", made.base.evidence or made.sft.evidence)]
    return [canonical_json({"id": made.id, "answer": name, **seen}) for name, seen in found if seen]


def _lengths(made: Sequence[Pair]) -> dict[str, Any]:
    """Distribution of the lengths in characters: counts between common edges, and quantiles by model."""
    import numpy as np

    lengths = {m: np.array([len((getattr(p, m).output or "").strip()) for p in made]) for m in ("base", "sft")}
    every = np.concatenate(list(lengths.values()))
    top = max(BINS, int(np.quantile(every, 0.99)))
    edges = [*(round(top * k / BINS) for k in range(BINS + 1))]
    if every.max() > top:
        edges.append(int(every.max()))
    names = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
    return {
        "edges": edges,
        **{m: np.histogram(values, edges)[0].tolist() for m, values in lengths.items()},
        "quantiles": {
            m: {name: float(np.quantile(values, q)) for name, q in names.items()} for m, values in lengths.items()
        },
    }


def _power_curve(decision: Decision, gate: Gate) -> dict[str, Any] | None:
    """Power by true lift with these items, at the observed share of discordant pairs or what the lift itself needs."""
    overall = decision.overall
    if not overall.n:
        return None
    observed = (overall.won + overall.lost) / overall.n
    found = [power(overall.n, lift, max(observed, lift), gate.alpha, gate.test) for lift in LIFTS]
    fixed = {"n": overall.n, "discordance": observed, "alpha": gate.alpha, "test": gate.test}
    return {**fixed, "planned_lift": gate.planned_lift, "lifts": LIFTS, "power": found}


def answer_statistics(answers: Sequence[Answer]) -> AnswerStatistics:
    """Counts, shares and means over the answers of one model, of what is known of them."""
    right, wrong = ([a for a in answers if a.success is success] for success in (True, False))
    labels = Counter(label for a in answers for label in a.labels)
    formatted = labels[CORRECT] + labels[WRONG] + labels[FORMAT]

    def share(count: int) -> float | None:
        return count / formatted if formatted else None

    return AnswerStatistics(
        n=len(answers),
        correct=len(right),
        incorrect=len(wrong),
        formatted=formatted,
        format_accuracy=share(labels[CORRECT] + labels[WRONG]),
        wrong_answer_rate=share(labels[WRONG]),
        format_failure_rate=share(labels[FORMAT]),
        tokens=_mean([a.tokens for a in answers]),
        tokens_correct=_mean([a.tokens for a in right]),
        tokens_incorrect=_mean([a.tokens for a in wrong]),
        logprob=_mean([a.mean_logprob for a in answers]),
        logprob_correct=_mean([a.mean_logprob for a in right]),
        logprob_incorrect=_mean([a.mean_logprob for a in wrong]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None

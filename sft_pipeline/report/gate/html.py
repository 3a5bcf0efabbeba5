"""The gate report as one self-contained page: no network, no file beside it, everything from data escaped."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sft_pipeline.artifacts import GateReport, GroupResult
from sft_pipeline.provenance.hashing import canonical_json
from sft_pipeline.report import excerpt
from sft_pipeline.report.gate import items as gate_items
from sft_pipeline.report.gate.json import GateJson
from sft_pipeline.report.gate.text import cost, headline, models, points, said, sections
from sft_pipeline.report.rendering import render

PICTURES = {
    "rates.png": ("Success rates", "Success rates of base and fine-tuned model by type with Wilson 95 % intervals"),
    "differences.png": ("Paired differences", "Paired differences by type and guarantee with Tango 95 % intervals"),
    "discordance.png": ("Won and lost", "Numbers of items won and lost by type"),
    "lengths.png": ("Length of the answers", "Distribution of the answers' lengths by model and success"),
    "power.png": ("What the test can find", "Power of the test by true lift, with the planned and the observed lift"),
}
"""Caption and alternative text by file name; a report may lack some of them. The figures stand in the page's tables."""


def page(
    report: GateReport, figures: GateJson, items: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes]
) -> str:
    """The page as HTML.

    Args:
        report: the verdict and its statistics.
        figures: content of gate.json.
        items: rows of items.parquet.
        pictures: PNG bytes by file name.
    """
    filters = {
        "count": lambda number: f"{number:,}",
        "odds": _odds,
        "cost": lambda model: cost(report, model),
        "said": lambda comparator: said(report, comparator, several=False),
        "percent": lambda count, n: "" if count is None else f"{100 * count / (n or 1):.1f} %",
        "points": points,
        "shown": lambda text: excerpt.shown(_cut(text)),
        "span": lambda interval: f"{points(interval[0])} to {points(interval[1])}",
        "text": gate_items.text,
    }
    picked, outcomes = gate_items.chosen(items)
    return render(
        "gate.html.j2",
        filters,
        report=report,
        figures=figures,
        sections=sections(report),
        headline=headline(report),
        models=models(report),
        treatments=_treatments(figures),
        answers=_answers(figures),
        criteria=canonical_json(figures.gate.model_dump(mode="json")),
        items=picked,
        outcomes=outcomes,
        types=sorted({item["type"] for item in picked}),
        total=len(items),
        pictures=[(*PICTURES[name], base64.b64encode(data).decode()) for name, data in pictures.items()],
    )


class _Treatment(NamedTuple):
    """The overall result looked at in another way."""

    name: str
    n: int
    base_successes: int | None
    sft_successes: int | None
    lift: float
    lift_interval: tuple[float, float]
    p: float | None


def _treatments(figures: GateJson) -> list[_Treatment]:
    """Every other way in which the report looks at the lift, after the one that decides; empty without any."""
    overall = figures.overall
    found = [_of(overall, "as decided", figures.test)]
    if overall.cluster_interval:
        name = f"interval by bootstrap over {overall.clusters:,} clusters"
        found.append(found[0]._replace(name=name, lift_interval=overall.cluster_interval, p=overall.cluster_p))
    found += [
        _Treatment(r.criterion, r.after.n, None, None, r.after.lift, r.after.lift_interval, r.after.p)
        for r in figures.reasons
        if r.after
    ]
    # The first of them leaves out what is missing: that is what decides.
    found += [
        _Treatment(s.name, s.n, s.base_successes, s.sft_successes, s.lift, s.lift_interval, s.p)
        for s in figures.sensitivity[1:]
    ]
    return found if len(found) > 1 else []


def _of(group: GroupResult, name: str, test: str) -> _Treatment:
    p = {"exact": group.p_exact, "midp": group.p_midp, "corrected": group.p_corrected}[test]
    return _Treatment(name, group.n, group.base_successes, group.sft_successes, group.lift, group.lift_interval, p)


_MEASURES = {
    "mean tokens": ("tokens", "{:,.1f}"),
    "mean tokens of successes": ("tokens_correct", "{:,.1f}"),
    "mean tokens of failures": ("tokens_incorrect", "{:,.1f}"),
    "mean log-probability of a token": ("logprob", "{:.3f}"),
    "mean log-probability, successes": ("logprob_correct", "{:.3f}"),
    "mean log-probability, failures": ("logprob_incorrect", "{:.3f}"),
    "answers in the right format": ("format_accuracy", "{:.1%}"),
    "right format, wrong answer": ("wrong_answer_rate", "{:.1%}"),
}
"""By name in the page: field of `AnswerStatistics` and how it is written."""


def _answers(figures: GateJson) -> list[tuple[str, ...]]:
    """What the answers of both models look like: name of the figure, base, fine-tuned."""
    rows = []
    both_models = [figures.answers[model] for model in ("base", "sft")]
    if figures.lengths:
        both = [figures.lengths.quantiles[m] for m in ("base", "sft")]
        rows.append(("median length, characters", *(f"{q.p50:,.0f}" for q in both)))
        rows.append(("5 to 95 % of the lengths", *(f"{q.p05:,.0f} to {q.p95:,.0f}" for q in both)))
        rows.append(("longest, characters", *(f"{q.max:,.0f}" for q in both)))
    for name, (field, form) in _MEASURES.items():
        values = [getattr(answers, field) for answers in both_models]
        if values != [None, None]:
            rows.append((name, *("–" if v is None else form.format(v).replace("-", "−") for v in values)))
    if figures.repetition:
        counts = figures.repetition.base, figures.repetition.sft
        rows.append(("repetitive answers", *(_share(count, figures.repetition.n) for count in counts)))
    if figures.truncation:
        rows.append(("cut at the limit of new tokens", *(f"{100 * share:.1f} %" for share in (figures.truncation.base, figures.truncation.sft))))  # fmt: skip
    flips = figures.flip_rates.base, figures.flip_rates.sft
    if flips != (None, None):
        rows.append(("judged otherwise in a second run", *("–" if f is None else f"{100 * f:.1f} %" for f in flips)))
    labels = [figures.labels.get(model, {}) for model in ("base", "sft")]
    names = sorted({name for found in labels for name in found}, key=lambda x: -max(f.get(x, 0) for f in labels))
    return rows + [
        (
            f"label: {label.replace('_', ' ')}",
            *(_share(found.get(label, 0), a.n) for found, a in zip(labels, both_models, strict=True)),
        )
        for label in names
    ]


def _share(count: int, n: int) -> str:
    return f"{count:,} ({100 * count / (n or 1):.1f} %)"


def _odds(group: GroupResult) -> tuple[str, str]:
    """The odds ratio and its interval; infinite without a lost pair, nothing without any discordant one."""
    low, high = group.odds_ratio_interval
    if not group.won + group.lost:
        return "–", ""
    return _ratio(group.odds_ratio), f"{_ratio(low)} to {_ratio(high)}"


def _ratio(odds: float | None) -> str:
    return "∞" if odds is None else f"{odds:.3g}" if odds < 100 else f"{odds:,.0f}"


def _cut(text: str) -> str:
    longest = gate_items.LONGEST
    return text if len(text) <= longest else f"{text[:longest]} … ({len(text) - longest:,} more characters)"

"""Several experiments side by side as a page and as text: what differs, curves laid over each other, gates, pairs."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline.artifacts import ComparedExperiment, ExperimentComparison, ModelComparison
from sft_pipeline.report.compare.text import interval
from sft_pipeline.report.excerpt import visible
from sft_pipeline.report.experiment.section import Bars, Figure, Section, Table, Word
from sft_pipeline.report.gate.plots import canvas, png
from sft_pipeline.report.gate.text import points
from sft_pipeline.report.rendering import Stage, about, render

LINES = (("#1f6f8b", "-"), ("#b3432b", "--"), ("#c98a00", "-."), ("#75639c", ":"), ("#1d6b45", "-"), ("#333940", "--"))
"""Colour and style of each experiment's lines; told apart in grey as well, and repeated after six."""

LONGEST = 60
"""Characters of a value in a cell; compare-experiments.json has all of them."""


def headline(report: ExperimentComparison) -> str:
    """What was compared and what the answers show, in one line."""
    names = [experiment.name for experiment in report.experiments]
    if not report.comparisons:
        shown = "no two of them have judged items in common"
    else:
        found = [f"{c.model} {_finding(c, report)} than {c.baseline}" for c in report.comparisons if _shown(c, report)]
        shown = "; ".join(found) or "no difference between their answers is shown"
    return f"{len(names)} experiments, {len(report.differences)} fields differ: {shown}"


def sections(report: ExperimentComparison) -> list[Section]:
    """What differs, the trainings, the gates and the pairs, each with what could not be compared."""
    return [_differences(report), _trainings(report), _gates(report), _pairs(report)]


def summary(report: ExperimentComparison) -> str:
    """The same as plain text."""
    lines = [headline(report)]
    for section in sections(report):
        lines += ["", f"{section.title}: {section.state}"]
        for table in section.tables:
            lines += ["", *_aligned([table.columns, *table.rows])]
        lines += [f"{word.text}: {text}" for word, text in section.remarks]
    lines += ["", *(f"note: {note}" for note in report.notes)]
    return "\n".join(map(visible, lines)) + "\n"


def page(report: ExperimentComparison, pages: Mapping[str, str]) -> str:
    """The page as HTML.

    Args:
        report: the comparison.
        pages: address of the page of each experiment, where there is one.
    """
    made = sections(report)
    stages = [
        Stage(e.name, pages.get(e.name, ""), e.verdict or "not judged", e.verdict or "") for e in report.experiments
    ]
    with about({}, [*stages, Stage("comparison", here=True)]):
        return render(
            "compare_experiments.html.j2",
            {"kind": lambda cell: type(cell).__name__},
            name=" and ".join(e.name for e in report.experiments),
            description="",
            problem="",
            written="",
            verdict=headline(report),
            outcome="",
            figures=[_verdict(e) for e in report.experiments],
            mixed=[f"{e.name}: {problem}" for e in report.experiments for problem in e.problems],
            sections=made,
            pages={},
            pictures={
                "training": {
                    "alt": "Losses, token accuracy and success on the checkpoints of each experiment",
                    "data": base64.b64encode(curves(report)).decode(),
                }
            }
            if any(e.curves or e.series for e in report.experiments)
            else {},
            rows=200,
            unseen=[*report.notes, "the files of the artifacts beside those that were read: sft-pipeline verify NAME"],
        )


def curves(report: ExperimentComparison) -> bytes:
    """The logged series of all experiments in one panel each, and the success of their checkpoints, as PNG."""
    panels: dict[str, dict[str, Sequence[tuple[float, float]]]] = {}
    for e in report.experiments:
        for title, line in e.curves.items():
            panels.setdefault(title, {})[e.name] = line
        if e.series:
            panels.setdefault("success, % of the checkpoint series", {})[e.name] = [
                (x, 100 * y) for x, y, _ in e.series
            ]
    figure, axes = canvas(0.5 + 2.3 * len(panels))
    axes.remove()
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    names = [e.name for e in report.experiments]
    for axes, (title, lines) in zip(every, panels.items(), strict=True):
        for name, series in lines.items():
            colour, style = LINES[names.index(name) % len(LINES)]
            finite = [(x, y) for x, y in series if math.isfinite(y)] or [(math.nan, math.nan)]
            marker = "o" if len(finite) < 30 else None
            axes.plot(
                *zip(*finite), style, color=colour, marker=marker, markersize=3, linewidth=1.3, label=visible(name)
            )
        axes.set_title(title, fontsize=9, loc="left")
        axes.tick_params(labelsize=8.5)
        axes.grid(color="#e3e5e8", linewidth=0.8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    every[0].legend(frameon=False, fontsize=8)
    every[-1].set_xlabel({"step": "step", "rows": "rows trained on"}[report.axis], fontsize=9)
    return png(figure)


def _differences(report: ExperimentComparison) -> Section:
    section = Section("differences", "What differs", (), f"{len(report.differences)} fields")
    names = [e.name for e in report.experiments]
    if report.differences:
        rows = [
            (d.path, *(_value(d.values[name]) if name in d.values else "–" for name in names))
            for d in report.differences
        ]
        section.tables.append(Table("", ("field", *names), rows))
    else:
        section.text = "The specifications say the same, but for their descriptions."
    return section


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    text = text[1:-1] if isinstance(value, str) else text  # line breaks stay signs
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _trainings(report: ExperimentComparison) -> Section:
    trained = [e for e in report.experiments if e.training]
    section = Section("training", "Training", (), f"{len(trained)} of {len(report.experiments)} trained")
    section.text = (
        "The curves are over rows trained on: a step is not the same number of rows in each."
        if report.axis == "rows"
        else "The curves are over steps, of the same number of rows in each."
    )
    for title, figures in (
        ("Planned", {e.name: e.plan for e in report.experiments}),
        ("Made", {e.name: e.training for e in report.experiments}),
    ):
        keys = dict.fromkeys(key for own in figures.values() for key in own)
        rows: list[tuple[Any, ...]] = [
            (key, *(_figure(own[key]) if key in own else "–" for own in figures.values())) for key in keys
        ]
        if title == "Made" and keys:
            words = {True: Word("healthy", "pass"), False: Word("unhealthy", "fail"), None: Word("not diagnosed")}
            rows.append(("diagnosis", *(words[e.healthy] for e in report.experiments)))
        if rows:
            section.tables.append(Table(title, ("", *figures), rows))
    return section


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:,.6g}"


def _gates(report: ExperimentComparison) -> Section:
    judged = [(e, e.overall) for e in report.experiments if e.overall and e.overall.n]
    section = Section("gates", "Each against its own base", (), f"{len(judged)} of {len(report.experiments)} judged")
    if judged:
        section.tables.append(
            Table(
                "",
                ("experiment", "verdict", "items", "base", "fine-tuned", "", "lift", "95 % interval", "p"),
                [
                    (
                        *(e.name, Word(e.verdict or "", e.verdict or ""), f"{o.n:,}"),
                        *(f"{100 * o.base_rate:.1f} %", f"{100 * o.sft_rate:.1f} %"),
                        Bars(((o.base_rate, "base"), (o.sft_rate, "sft"))),
                        *(points(o.lift), interval(o.lift_interval), f"{e.p:.2g}"),
                    )
                    for e, o in judged
                ],
            )
        )
    return section


def _pairs(report: ExperimentComparison) -> Section:
    state = f"{len(report.comparisons)} of {len(report.comparisons) + len(report.apart)} pairs have common items"
    section = Section("pairs", "The fine-tuned models in pairs", (), state)
    if report.comparisons:
        section.text = (
            f"On the items that both gates judged. A difference is shown where p (McNemar's, {report.test}; with clusters the "
            f"larger one of it and of a test over whole clusters), adjusted by Holm over {len(report.comparisons)} pairs, is at "
            f"most {report.alpha:g}."
        )
        section.tables.append(
            Table(
                "",
                ("model", "against", "items", "lift", "95 % interval", "won", "lost", "p", "p Holm", "finding"),
                [
                    (
                        *(
                            c.model,
                            c.baseline,
                            f"{c.result.n:,}",
                            points(c.result.lift),
                            interval(c.result.cluster_interval or c.result.lift_interval),
                        ),
                        *(f"{c.result.won:,}", f"{c.result.lost:,}", f"{c.p:.2g}", f"{c.p_adjusted:.2g}"),
                        Word(_finding(c, report), {"better": "pass", "worse": "fail"}.get(_finding(c, report), "")),
                    )
                    for c in report.comparisons
                ],
            )
        )
    section.remarks = [(Word("not compared", "refused"), f"{pair}: {why}") for pair, why in report.apart.items()]
    return section


def _shown(c: ModelComparison, report: ExperimentComparison) -> bool:
    return c.p_adjusted <= report.alpha


def _finding(c: ModelComparison, report: ExperimentComparison) -> str:
    return "not shown" if not _shown(c, report) else "better" if c.result.lift > 0 else "worse"


def _verdict(e: ComparedExperiment) -> Figure:
    if e.overall is None or not e.overall.n:
        return Figure(e.name, "not judged", f"gate: {e.verdict}" if e.verdict else "")
    return Figure(
        e.name, f"{100 * e.overall.sft_rate:.1f} %", f"fine-tuned, of {e.overall.n:,} items; gate: {e.verdict}"
    )


def _aligned(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows as text in columns; bars are left out."""
    texts = [
        [cell.text if isinstance(cell, Word) else "" if isinstance(cell, Bars) else str(cell) for cell in row]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths) if width).rstrip() for row in texts]

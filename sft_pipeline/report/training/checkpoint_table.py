"""The table of a checkpoint series: rows for metadata, and Markdown for a file."""

from typing import Any

from sft_pipeline.artifacts import SeriesPoint, SeriesReport
from sft_pipeline.report.excerpt import visible

CORRECT, WRONG, FORMAT = "correct", "wrong_answer", "format_failure"
"""Labels of the scorer think_answer (evaluation/scorers/think_answer.py), which exclude each other."""

RULES = {
    "most_successes": "most successes, the earliest among equals",
    "within_one_standard_error": "the earliest within one standard error of the most successes",
}
"""The rules that choose the best checkpoint, in words."""


def rows(report: SeriesReport) -> list[dict[str, Any]]:
    """A row per checkpoint: its step, its accuracy, and the shares of formatted, wrong and truncated answers.

    Where the answers have a format (the scorer think_answer), format accuracy, wrong answers and format failures are shares
    of the judged answers; otherwise the success by type is shown, where there is more than one.
    """
    formatted = any(_formatted(p) for p in report.points)
    types = sorted({name for p in report.points for name in p.types})
    return [_row(p, report, formatted, types if len(types) > 1 and not formatted else []) for p in report.points]


PAIRS = (
    "p: the gate's test, by Holm for all of these pairs together. Items that share a cluster are one observation, for p and "
    "interval. The best checkpoint was chosen on these very items: what sets it apart from the others is overstated."
)


def comparisons(report: SeriesReport) -> list[dict[str, str]]:
    """A row for each pair of checkpoints that was compared."""
    return [
        {
            "pair": c.result.name,
            "items": f"{c.result.n:,}",
            "lost / won": f"{c.result.lost:,} / {c.result.won:,}",
            "difference": f"{100 * c.result.lift:+.2f} points",
            "95 % interval": "{:+.2f} to {:+.2f}".format(
                *(100 * bound for bound in c.result.cluster_interval or c.result.lift_interval)
            ),
            "p (Holm)": f"{c.result.p_adjusted:.2g}",
        }
        for c in report.comparisons
    ]


def markdown(report: SeriesReport) -> str:
    """The table with its heading, the best checkpoint and the notes."""
    found = rows(report)
    lines = [f"# Checkpoint series on the {report.split} split", ""]
    lines += ["| " + " | ".join(map(_cell, found[0])) + " |", "|" + "---|" * len(found[0])]
    lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in found]
    lines += ["", *(f"- {_cell(note)}" for note in (best(report), *report.notes))]
    if report.comparisons:
        lines += ["", "## Pairs of checkpoints on the same items", ""]
        compared = comparisons(report)
        lines += ["| " + " | ".join(map(_cell, compared[0])) + " |", "|" + "---|" * len(compared[0])]
        lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in compared]
        lines += ["", f"- {PAIRS}"]
    return "\n".join(lines) + "\n"


def best(report: SeriesReport) -> str:
    """The best checkpoint and the rule that chose it, as a sentence."""
    if not report.best.n:
        return "No answer was judged, so no checkpoint is the best."
    return f"Best checkpoint: step {report.best.step:,} ({RULES[report.rule]})."


def _row(point: SeriesPoint, report: SeriesReport, formatted: bool, types: list[str]) -> dict[str, Any]:
    marked = point.n and point.step and point.step == report.best.step
    row: dict[str, Any] = {
        "step": f"{point.step:,}{'' if point.step else ' (base)'}{' (best)' if marked else ''}",
        "correct": f"{point.successes:,} of {point.n:,}",
        "accuracy": _percent(point.successes, point.n),
        "95 % interval": f"{100 * point.low:.2f} to {100 * point.high:.2f} %",
    }
    if formatted:
        judged, labels = _formatted(point), point.labels
        row["format accuracy"] = _percent(labels.get(CORRECT, 0) + labels.get(WRONG, 0), judged)
        row["wrong answer"] = _percent(labels.get(WRONG, 0), judged)
        row["format failure"] = _percent(labels.get(FORMAT, 0), judged)
    row |= {name: _percent(*point.types.get(name, (0, 0))) for name in types}
    row["mean tokens"] = "–" if point.mean_tokens is None else f"{point.mean_tokens:.1f}"
    row["truncated"] = f"{point.truncated:,}"
    return row


def _formatted(point: SeriesPoint) -> int:
    """Answers that were judged by a scorer of the format."""
    return point.labels.get(WRONG, 0) + point.labels.get(FORMAT, 0) + point.labels.get(CORRECT, 0)


def _percent(count: int, n: int) -> str:
    return f"{100 * count / n:.2f} %" if n else "–"


def _cell(text: str) -> str:
    return " ".join(visible(text).replace("|", "\\|").replace("<", "&lt;").split())

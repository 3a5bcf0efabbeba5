"""The search report as plain text, and the words that the page shares with it."""

import json

from sft_pipeline.artifacts import Confirmation, SearchReport, SearchTrial
from sft_pipeline.report.excerpt import visible
from sft_pipeline.report.gate.text import points


def headline(report: SearchReport) -> str:
    """The verdict in one line."""
    if report.verdict is None:
        return "none declared"
    first = report.confirmations[0]
    if report.winner is not None:
        found = next(c for c in report.confirmations if c.trial == report.winner)
        return f"trial {found.trial} is better than the default: {confirmed(report, found)}"
    return f"no better than the default; the best of {len(report.trials)} trials, {first.trial}: {confirmed(report, first)}"


def confirmed(report: SearchReport, found: Confirmation) -> str:
    """What the confirmation says of a trial."""
    if found.gain is None or found.gain_interval is None:
        return f"not confirmed: {found.reason}"
    low, high = found.gain_interval
    return (
        f"{difference(report, found.gain)} ({difference(report, low)} to {difference(report, high)}) on {report.rows[1]:,} "
        f"confirmation rows, p {found.p_adjusted:.2g}"
    )


def optimism(report: SearchReport) -> str:
    """How much of the best trial's searched figure was luck."""
    first = report.confirmations[0]
    if first.optimism is None:
        return f"trial {first.trial} was not confirmed"
    return (
        f"{difference(report, first.optimism)}: trial {first.trial} was chosen at {figure(report, first.searched)} and comes to "
        f"{figure(report, first.figure)} on rows that did not choose it"
    )


def summary(report: SearchReport) -> str:
    """Headline, optimism, the confirmed trials, all trials and the notes."""
    if report.verdict is None:
        return "search: none declared\n"
    lines = [f"search: {headline(report)}", "", f"optimism of the search: {optimism(report)}", ""]
    lines.append(
        f"{'':<10}  {'searched':>9}  {'confirmed':>9}  {'gain':>9}  {'optimism':>9}  {'p rows':>7}  {'p seeds':>7}  {'p Holm':>7}"
    )
    seen = "–" if report.default_on_search_rows is None else figure(report, report.default_on_search_rows)
    lines.append(f"{'default':<10}  {seen:>9}  {figure(report, report.default):>9}")
    lines += [
        f"{f'trial {c.trial}':<10}  {figure(report, c.searched):>9}  {figure(report, c.figure):>9}  "
        f"{difference(report, c.gain):>9}  {difference(report, c.optimism):>9}  {p(c.p_rows):>7}  {p(c.p_seeds):>7}  "
        f"{p(c.p_adjusted):>7}{f'  {c.reason}' if c.reason else ''}"
        for c in report.confirmations
    ]
    lines.append("")
    for one in report.trials:
        why = f"  {one.reason.splitlines()[0]}" if one.reason else ""
        lines.append(f"trial {one.number:<4}  {figure(report, one.figure):>9}  {one.state:<8}  {parameters(one)}{why}")
    for note in report.notes:
        lines += ["", f"note: {note}"]
    # A name in the data must not command the terminal.
    return "\n".join(map(visible, lines)) + "\n"


def parameters(found: SearchTrial | Confirmation) -> str:
    """The parameters without the section that all of them are in."""
    shown = (f"{value:.4g}" if isinstance(value, float) else json.dumps(value) for value in found.parameters.values())
    return ", ".join(f"{path.removeprefix('training.')} {value}" for path, value in zip(found.parameters, shown))


def figure(report: SearchReport, value: float | None) -> str:
    """The objective: loss in nats, success in percent."""
    if value is None:
        return "–"
    return f"{value:.4f}" if report.objective == "dev_loss" else f"{100 * value:.1f} %"


def difference(report: SearchReport, value: float | None) -> str:
    """A difference of the objective, in nats or in points; positive is better."""
    if value is None:
        return "–"
    return f"{value:+.4f}".replace("-", "−") if report.objective == "dev_loss" else points(value)


def p(value: float | None) -> str:
    """A p-value."""
    return "–" if value is None else f"{value:.2g}"

"""The report of the data stage as one self-contained page: no network, no script, everything from data escaped."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from sft_pipeline.artifacts import QualityManifest, RejectedSample, Threshold
from sft_pipeline.report import excerpt
from sft_pipeline.report.data import plots as data_plots
from sft_pipeline.report.rendering import render

TYPES = 40
"""Most types that the page lists; manifest.json has all of them."""


def write(manifest: QualityManifest, out: Path) -> None:
    """Write report.html to the folder `out`."""
    (out / "report.html").write_text(page(manifest), "utf-8")


def page(manifest: QualityManifest) -> str:
    """The page as HTML."""
    filters = {
        "count": lambda number: f"{number:,.1f}".removesuffix(".0"),
        "cut": excerpt.cut,
        "limit_of": lambda threshold: _figure(threshold, threshold.limit),
        "percent": _percent,
        "shown": excerpt.shown,
        "value_of": lambda threshold: _figure(threshold, threshold.value),
        "words": lambda name: name.replace("_", " "),
    }
    names = [length.name for length in manifest.lengths]
    failed = [threshold.name.replace("_", " ") for threshold in manifest.thresholds if not threshold.passed]
    return render(
        "data.html.j2",
        filters,
        m=manifest,
        verdict="fail" if failed else "pass" if manifest.thresholds else "refused",
        headline=_headline(len(manifest.thresholds), failed),
        headline_length=next((n for n in ("response_tokens", "response_words") if n in names), ""),
        flow=_flow(manifest),
        unaccounted=_UNACCOUNTED,
        most=max((f.matched for f in manifest.filters), default=0) or 1,
        levels=_LEVELS,
        samples=[_Sample(**s.model_dump(), quoted=_quoted(s)) for s in manifest.samples],
        types=sorted(manifest.types.items(), key=lambda item: (-item[1], item[0]))[:TYPES],
        blank=Markup('<span class="blank">nothing but white space</span>'),
        # One picture each, so that a narrow screen shows them below one another.
        histograms=[base64.b64encode(data_plots.histogram(length)).decode() for length in manifest.lengths],
    )


_LEVELS = {"exact": "exact", "pair": "near, by pair", "instruction": "near, by instruction"}

_UNACCOUNTED = "not accounted for"


class _Stage(NamedTuple):
    """A line of the flow of counts: a bar from `start` over `length`, as shares of the rows read."""

    name: str
    rows: int
    share: float
    start: float
    length: float
    total: bool


def _flow(manifest: QualityManifest) -> list[_Stage]:
    lost = [("unreadable", manifest.rows_unreadable), ("filters", sum(f.dropped for f in manifest.filters))]
    lost += [(f"duplicates: {_LEVELS[d.level]}", d.dropped) for d in manifest.duplicates]
    missing = manifest.rows_read - sum(rows for _, rows in lost) - manifest.rows_kept
    if missing:
        lost.append((_UNACCOUNTED, missing))
    read = manifest.rows_read or 1
    stages = [_Stage("read", manifest.rows_read, manifest.rows_read / read, 0, manifest.rows_read / read, True)]
    left = manifest.rows_read
    for name, rows in lost:
        left -= rows
        stages.append(
            _Stage(name, rows, abs(rows) / read, max(0, min(left, left + rows)) / read, abs(rows) / read, False)
        )
    kept = manifest.rows_kept / read
    return [*stages, _Stage("kept", manifest.rows_kept, kept, 0, kept, True)]


class _Sample(RejectedSample):
    """A sample row as the page shows it; `quoted`: the matched text stands in neither of the texts."""

    quoted: bool


def _quoted(sample: RejectedSample) -> bool:
    found = any(excerpt.places(text, sample.matched) for text in (sample.instruction, sample.response))
    return bool(sample.matched.strip()) and not found


def _headline(judged: int, failed: Sequence[str]) -> str:
    if not judged:
        return "No threshold was judged"
    if not failed:
        return f"All {judged} thresholds hold" if judged > 1 else "The threshold holds"
    return f"{len(failed)} of {judged} thresholds {'fails' if len(failed) == 1 else 'fail'}: {', '.join(failed)}"


def _figure(threshold: Threshold, number: float) -> str:
    is_share = threshold.name.endswith("_share") or "acceptance" in threshold.name
    return _percent(number) if is_share else f"{number:,g}"


def _percent(share: float) -> str:
    """A share in percent, with as many digits as tell it from nothing and from everything."""
    digits = 1 if share in (0, 1) or 0.001 <= share <= 0.999 else 3
    return f"{100 * share:.{digits}f}".rstrip("0").rstrip(".") + " %"

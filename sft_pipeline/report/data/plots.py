"""Pictures of a quality manifest as PNG bytes; the same manifest gives the same bytes on the same machine."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sft_pipeline.artifacts import LengthDistribution, QualityManifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BAR, TAIL, INK, MARK = "#1f6f8b", "#9dbfcb", "#333940", "#b3432b"
"""Colours of a bar, of a bar that stands for more than it shows, of text and of the marked percentile."""


def lengths(shown: Sequence[LengthDistribution]) -> bytes:
    """A histogram of each length, two in a row, with median and 95th percentile; the last bar is all that is longer."""
    columns = min(2, len(shown)) or 1
    rows = max(1, -(-len(shown) // columns))
    figure = _figure(5 * columns, 2.4 * rows)
    for position, distribution in enumerate(shown):
        _histogram(figure.add_subplot(rows, columns, position + 1), distribution)
    if not shown:
        _nothing(figure.add_subplot(), "no row was kept")
    return _png(figure)


def rejected(manifest: QualityManifest) -> bytes:
    """Rows dropped by each filter and as duplicates, the most first."""
    counts = [("unreadable", manifest.rows_unreadable, manifest.rows_unreadable)]
    counts += [(outcome.name, outcome.dropped, outcome.matched) for outcome in manifest.filters]
    counts += [(f"duplicate: {level.level}", level.dropped, level.dropped) for level in manifest.duplicates]
    counts = sorted((count for count in counts if any(count[1:])), key=lambda count: (-count[1], count[0]))
    figure = _figure(7, 1.1 + 0.3 * max(2, len(counts)))
    axes = figure.add_subplot()
    if not counts:
        _nothing(axes, "no row was dropped")
        return _png(figure)
    positions = range(len(counts))
    axes.barh(positions, [matched for *_, matched in counts], height=0.62, color=TAIL, label="matched to")
    axes.barh(positions, [dropped for _, dropped, _ in counts], height=0.62, color=BAR, label="dropped by it first")
    most = max(max(numbers) for _, *numbers in counts)
    for position, (_, dropped, matched) in enumerate(counts):
        axes.text(max(dropped, matched) + 0.012 * most, position, f"{dropped:,}", va="center", fontsize=9, color=INK)
    # Names come from the specification and from the data: a dollar sign in one is no formula.
    axes.set_yticks(positions, [_short(name) for name, *_ in counts], parse_math=False)
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * most)
    axes.set_xlabel("rows")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    if any(matched > dropped for _, dropped, matched in counts):
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, reverse=True)
    _bare(axes, "top", "right", "left")
    return _png(figure)


def _histogram(axes: "Axes", distribution: LengthDistribution) -> None:
    edges, counts = distribution.edges, distribution.counts
    width = edges[1] - edges[0]
    is_open = edges[-1] - edges[-2] > width  # the bin of the tail, drawn as wide as the others
    colours = [BAR] * (len(counts) - is_open) + [TAIL] * is_open
    axes.bar(edges[:-1], counts, width=width, align="edge", color=colours, edgecolor="white", linewidth=0.5)
    end = edges[-2] + width
    top = 1.22 * max(counts)
    for value, name, style, at in (
        (distribution.median, "median", "-", 0.99),
        (distribution.p95, "95th percentile", "--", 0.87),
    ):
        place = min(value + 0.5, end)  # a length of n fills the bin from n to n + 1
        axes.axvline(place, color=MARK, linewidth=1.2, linestyle=style)
        left = place - edges[0] > 0.6 * (end - edges[0])
        axes.text(
            place, at * top, f" {name} {value:,g} ", va="top", ha="right" if left else "left", fontsize=8, color=MARK
        )
    axes.set_ylim(0, top)
    axes.set_xlim(edges[0], end)
    axes.set_title(_short(distribution.name.replace("_", " ")), fontsize=10, loc="left", parse_math=False)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="y", nbins=4, integer=True)
    axes.locator_params(axis="x", nbins=6, integer=True)
    axes.tick_params(labelsize=8)
    if is_open:
        axes.set_xlabel(f"last bar: {edges[-2]:,.0f} to {distribution.largest:,.0f}", fontsize=8, color=INK)
    _bare(axes, "top", "right")


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no global state, no display, nothing to close.
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _nothing(axes: "Axes", text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", color=INK)
    axes.set_axis_off()


def _bare(axes: "Axes", *sides: str) -> None:
    axes.spines[list(sides)].set_visible(False)


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= 28 else name[:27] + "…"


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()

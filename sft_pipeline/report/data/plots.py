"""Pictures of a quality manifest as PNG bytes; the same manifest gives the same bytes on the same machine."""

import io
from typing import TYPE_CHECKING

from sft_pipeline.artifacts import LengthDistribution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR, TAIL, INK, MARK = "#75639c", "#c0b7d3", "#333940", "#b3432b"
"""Not those of a model. Colours of a bar, of a bar that stands for more than it shows, of text and of the marked percentile."""


def histogram(distribution: LengthDistribution) -> bytes:
    """A histogram with median and 95th percentile; the last bar is all that is longer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # A figure of its own, not pyplot's: no global state, no display, nothing to close.
    figure = Figure(figsize=(5, 2.4), dpi=110)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.12, 0.17, 0.86, 0.72))
    _draw(axes, distribution)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _draw(axes: "Axes", distribution: LengthDistribution) -> None:
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
    axes.spines[["top", "right"]].set_visible(False)


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= 28 else name[:27] + "…"

"""The gate report as one self-contained page: no network, no file beside it, everything from data escaped."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline.artifacts import GateReport
from sft_pipeline.report import page_style
from sft_pipeline.report.gate_template import SCRIPT, STYLE, TEMPLATE
from sft_pipeline.report.gate_text import HEADLINE, ordered, points

SHOWN = 1500
"""Most items in the page's table, lost and won ones first; items.parquet has all of them."""

LONGEST = 2000
"""Characters of a text that the page shows."""


def page(
    report: GateReport, items: Sequence[Mapping[str, Any]], pictures: Mapping[str, bytes], facts: Mapping[str, Any]
) -> str:
    """The page as HTML.

    Args:
        report: the verdict and its statistics.
        items: rows of items.parquet.
        pictures: PNG bytes by file name.
        facts: content of gate.json, for the hashes of what was used.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["points"] = points
    by_outcome = sorted(items, key=lambda i: (_rank(i), i["type"], i["id"]))
    return environment.from_string(TEMPLATE).render(
        report=report,
        reasons=ordered(report),
        headline=HEADLINE[report.verdict],
        items=[{**item, "outcome": _OUTCOMES[_rank(item)]} for item in by_outcome[:SHOWN]],
        total=len(items),
        cut=_cut,
        pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
        facts=facts,
        # Only this script may run: whatever a model writes, the browser executes none of it.
        script=Markup(SCRIPT),
        script_hash=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
        style=Markup(page_style.STYLE + STYLE),
    )


_OUTCOMES = ("lost", "won", "both fail", "both succeed")


def _rank(item: Mapping[str, Any]) -> int:
    if item["base_success"] != item["sft_success"]:
        return 0 if item["base_success"] else 1
    return 3 if item["base_success"] else 2


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"

"""The gate page's table of items: which of them it shows, and how a text."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from sft_pipeline.report.excerpt import shown

SHOWN = 1500
"""Most items in the page's table, lost and won ones first; items.parquet has all of them."""

LEAST = 150
"""So many items of each outcome are shown in any case, where there are as many."""

LONGEST = 2000
"""Characters of a text that the page shows."""

SHORT = 420
"""Characters, and LINES lines, that are shown at once; the rest opens on demand."""

LINES = 12

END = 160
"""Characters of the end of a longer text, which are always shown."""

OUTCOMES = ("lost", "won", "not judged", "both fail", "both succeed")
"""From the one that a reader wants to see first."""


def outcome(item: Mapping[str, Any]) -> str:
    """Which of the outcomes the row of items.parquet has."""
    base, sft = item["base_success"], item["sft_success"]
    if base is None or sft is None:
        return "not judged"
    if base != sft:
        return "lost" if base else "won"
    return "both succeed" if base else "both fail"


def chosen(items: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[tuple[str, int, int]]]:
    """The items to show with their outcome, in the order of the outcomes; and by outcome how many of how many.

    Ids are hashes in a lineage, so that their order mixes the types.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in OUTCOMES}
    for item in sorted(items, key=lambda i: i["id"]):
        name = outcome(item)
        found[name].append({**item, "outcome": name})
    takes = {name: min(len(of_outcome), LEAST) for name, of_outcome in found.items()}
    for name, of_outcome in found.items():
        takes[name] += min(len(of_outcome) - takes[name], SHOWN - sum(takes.values()))
    picked = [item for name in OUTCOMES for item in found[name][: takes[name]]]
    return picked, [(name, takes[name], len(found[name])) for name in OUTCOMES]


def text(value: str) -> Markup:
    """A text for the table: escaped, hidden characters as signs, its beginning at once and a part of the rest on demand."""
    if not value:
        return Markup('<p class="note">no text</p>')
    if not value.strip():
        return Markup('<p class="note">white space only: {:,} characters</p>').format(len(value))
    lines = value.split("\n", LINES)
    head = min(SHORT, len(value) - len(lines[LINES]) if len(lines) > LINES else SHORT)
    # A few words more are no reason to hide them.
    head = len(value) if len(value) <= head + 80 and len(lines) <= LINES else head
    made = Markup('<pre dir="auto">{}</pre>').format(shown(value[:head]))
    rest = value[head:LONGEST]
    if rest:
        made += Markup('<details><summary>{:,} more characters</summary><pre dir="auto">{}</pre>').format(
            len(value) - head, shown(rest)
        )
        if len(value) > LONGEST:
            made += Markup('<p class="note">… and {:,} more characters, in items.parquet</p>').format(
                len(value) - LONGEST
            )
        made += Markup("</details>")
        # Most scorers judge how an answer ends.
        made += Markup('<pre class="end" dir="auto">… {}</pre>').format(shown(value[max(head, len(value) - END) :]))
    return made

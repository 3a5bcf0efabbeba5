"""The gate page's table of items: which of them it shows, and its template, style and script."""

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
    return made


TEMPLATE = """
<h2 id="h-items">Items</h2>
{% if items|length < total %}
<p class="note">{{ items|length|count }} of {{ total|count }} items are shown: {% for name, taken, of in outcomes if of %}{{ taken|count }} of {{ of|count }} {{ name }}{{ "" if loop.last else ", " }}{% endfor %}. All are in items.parquet.</p>
{% endif %}
<form class="filters" role="search" aria-label="Filter the items">
<label>Type <select id="type"><option value="">all</option>
{% for name in types %}
<option value="{{ name }}">{{ name|shown|striptags }}</option>
{% endfor %}
</select></label>
<label>Outcome <select id="outcome"><option value="">all</option>
{% for name, taken, of in outcomes if of %}
<option value="{{ name }}">{{ name }} ({{ taken|count }})</option>
{% endfor %}
</select></label>
<label>Text <input id="text" type="search" autocomplete="off"></label>
<output id="count">{{ items|length|count }} items</output>
</form>
{# The rows are grids, so that a browser leaves out those that are not in sight: the roles keep it a table for everybody. #}
<table class="items" role="table" aria-labelledby="h-items">
<thead role="rowgroup"><tr role="row">
{% for name in ("Item", "Instruction", "Base", "Fine-tuned") %}
<th scope="col" role="columnheader">{{ name }}</th>
{% endfor %}
</tr></thead>
<tbody id="items" role="rowgroup">
{% for item in items %}
<tr role="row" data-type="{{ item.type }}" data-outcome="{{ item.outcome }}">
<th scope="row" role="rowheader"><span class="tag {{ item.outcome|replace(" ", "-") }}">{{ item.outcome }}</span> <bdi>{{ item.type|shown }}</bdi><br><code>{{ item.id|shown }}</code></th>
<td role="cell" data-label="Instruction">{{ item.instruction|text }}</td>
{% for who, model in (("Base", "base"), ("Fine-tuned", "sft")) %}
{% set success = item[model ~ "_success"] %}
<td role="cell" data-label="{{ who }}">{{ item[model ~ "_output"]|text }}
<small class="{{ "good" if success else "" if success is none else "bad" }}">{{ "success" if success else "not judged" if success is none else "failure" }}
{%- if item[model ~ "_reason"] %}: {{ item[model ~ "_reason"]|shown }}{% endif %}</small>
{% for label in item[model ~ "_labels"] %}
<span class="label">{{ label|shown }}</span>
{% endfor %}
{% if item[model ~ "_cut"] %}
<span class="label">cut at the limit</span>
{% endif %}
</td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table>
<p id="none" hidden>No item shown here is like that.</p>
"""

STYLE = """
.filters { display: flex; flex-wrap: wrap; gap: .8rem 1.2rem; align-items: center; margin-bottom: .6rem }
select, input { font: inherit; padding: .2rem .4rem; max-width: 14rem }
.items { font-size: .9rem } .items, .items thead, .items tbody { display: block } .items code { font-size: .75rem; color: var(--soft) }
.items tr { display: grid; grid-template-columns: 10.5rem repeat(3, minmax(0, 1fr)); border-bottom: 1px solid var(--line) }
.items tbody tr { content-visibility: auto; contain-intrinsic-size: auto 12rem } .items tr[hidden] { display: none }
.items th, .items td { border: 0 }
.items tbody th { font-weight: 400; overflow-wrap: anywhere } .items pre { max-height: none; overflow: hidden } .items .note { margin: .2rem 0 }
.items summary { cursor: pointer; color: var(--held); font-size: .85rem; padding: .15rem 0 }
.label { display: inline-block; font-size: .75rem; line-height: 1.3; padding: 0 .35rem; border: 1px solid var(--soft); border-radius: .2rem; color: var(--soft); overflow-wrap: anywhere }
.tag.not-judged { background: #7a6000 }
@media (max-width: 44rem) {
  .items tr { grid-template-columns: minmax(0, 1fr); padding: .6rem 0 } .items tbody tr { contain-intrinsic-size: auto 30rem }
  .items td, .items tbody th { padding: .3rem 0 }
  .items thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
  .items td[data-label]::before { content: attr(data-label); display: block; color: var(--soft); font-size: .8rem }
}
@media print { .filters { display: none } .items tbody tr { content-visibility: visible } details::details-content { content-visibility: visible; block-size: auto } .items tr { break-inside: auto } }
"""

SCRIPT = """
const [type, outcome, text, count, none] = ["type", "outcome", "text", "count", "none"].map(id => document.getElementById(id));
const rows = [...document.getElementById("items").rows];
let words, waiting;
function filter() {
  const wanted = text.value.toLowerCase();
  if (wanted) words ??= rows.map(row => row.textContent.toLowerCase());
  let shown = 0;
  rows.forEach((row, k) => {
    const hide = Boolean((type.value && row.dataset.type !== type.value)
      || (outcome.value && row.dataset.outcome !== outcome.value)
      || (wanted && !words[k].includes(wanted)));
    if (row.hidden !== hide) row.hidden = hide;
    shown += !hide;
  });
  count.textContent = shown === rows.length ? `${shown} items` : `${shown} of ${rows.length} items`;
  none.hidden = shown > 0;
}
type.addEventListener("input", filter);
outcome.addEventListener("input", filter);
text.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 150); });
text.form.addEventListener("submit", event => event.preventDefault());
filter();
"""

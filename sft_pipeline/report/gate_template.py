"""Template, style and script of the gate page: text only, see gate_html.py and, for the common style, page_style.py."""

TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{{ script_hash }}'">
<title>Gate report: {{ report.verdict }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1 class="{{ report.verdict }}">{{ headline }}</h1>
<dl class="figures">
{% for label, successes, interval in (
  ("Base", report.overall.base_successes, report.overall.base_interval),
  ("Fine-tuned", report.overall.sft_successes, report.overall.sft_interval)) %}
<div><dt>{{ label }}</dt>
<dd>{{ "%.1f"|format(100 * successes / (report.overall.n or 1)) }} %
<small>{{ successes }} of {{ report.overall.n }}, interval {{ "%.1f to %.1f"|format(100 * interval[0], 100 * interval[1]) }}</small></dd></div>
{% endfor %}
<div><dt>Lift</dt>
<dd>{{ report.overall.lift|points }} points
<small>interval {{ report.overall.lift_interval[0]|points }} to {{ report.overall.lift_interval[1]|points }},
{{ report.overall.won }} won, {{ report.overall.lost }} lost</small></dd></div>
<div><dt>McNemar, {{ report.test }}</dt>
<dd>p = {{ "%.3g"|format(report.p) }} <small>decides at {{ "%g"|format(report.alpha) }}; Cohen's h {{ "%.2f"|format(report.overall.cohens_h) }}</small></dd></div>
</dl>

<h2>Reasons</h2>
<table class="reasons">
{% for reason in reasons %}
<tr><td><span class="tag {{ reason.outcome }}">{{ reason.outcome }}</span></td><th scope="row">{{ reason.criterion }}</th><td>{{ reason.detail }}</td></tr>
{% endfor %}
</table>

<h2>By type</h2>
<div class="scroll"><table class="numbers">
<thead><tr><th scope="col">type</th><th scope="col">n</th><th scope="col">base</th><th scope="col">fine-tuned</th><th scope="col">lift</th>
<th scope="col">95 % interval</th><th scope="col">lost</th><th scope="col">won</th><th scope="col">p exact</th><th scope="col">p mid</th>
<th scope="col">p corrected</th><th scope="col">p adjusted</th><th scope="col">h</th></tr></thead>
<tbody>
{% for group in (report.overall,) + report.types %}
<tr{% if loop.first %} class="all"{% endif %}><th scope="row">{{ "all items" if loop.first else group.name }}</th><td>{{ group.n }}</td>
<td>{{ "%.1f"|format(100 * group.base_rate) }} %</td><td>{{ "%.1f"|format(100 * group.sft_rate) }} %</td>
<td>{{ group.lift|points }}</td><td>{{ group.lift_interval[0]|points }} to {{ group.lift_interval[1]|points }}</td>
<td>{{ group.lost }}</td><td>{{ group.won }}</td>
<td>{{ "%.2g"|format(group.p_exact) }}</td><td>{{ "%.2g"|format(group.p_midp) }}</td><td>{{ "%.2g"|format(group.p_corrected) }}</td>
<td>{{ "" if group.p_adjusted is none else "%.2g"|format(group.p_adjusted) }}</td><td>{{ "%.2f"|format(group.cohens_h) }}</td></tr>
{% endfor %}
</tbody></table></div>
{% if report.protected %}
<h2>Protected</h2>
<div class="scroll"><table class="numbers">
<thead><tr><th scope="col">guarantee</th><th scope="col">verdict</th><th scope="col">types</th><th scope="col">n</th><th scope="col">lost</th><th scope="col">won</th>
<th scope="col">difference</th><th scope="col">95 % interval</th><th scope="col">margin</th><th scope="col">rates overlap</th></tr></thead>
<tbody>
{% for p in report.protected %}
<tr><th scope="row">{{ p.name }}</th><td><span class="tag {{ p.verdict }}">{{ p.verdict }}</span></td><td>{{ p.types|join(", ") }}</td>
<td>{{ p.result.n }}</td><td>{{ p.result.lost }}</td><td>{{ p.result.won }}</td><td>{{ p.result.lift|points }}</td>
<td>{{ p.result.lift_interval[0]|points }} to {{ p.result.lift_interval[1]|points }}</td><td>{{ (-p.margin)|points }}</td>
<td>{{ "yes" if p.overlap_rule else "no" }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">“Rates overlap” is the older rule that a fall is harmless while the two Wilson intervals overlap. It is shown for
comparison and decides nothing: with few items it lets real losses pass.</p>
{% endif %}

<h2>Pictures</h2>
<div class="pictures">
<figure><img src="data:image/png;base64,{{ pictures["rates.png"] }}" alt="Success rates of base and fine-tuned model by type with Wilson intervals"></figure>
<figure><img src="data:image/png;base64,{{ pictures["differences.png"] }}" alt="Paired differences by type and guarantee with Tango intervals"></figure>
</div>

<h2>Items</h2>
<form class="filters">
<label>Type <select id="type"><option value="">all</option>
{% for group in report.types %}
<option>{{ group.name }}</option>
{% endfor %}
</select></label>
<label>Outcome <select id="outcome"><option value="">all</option><option>lost</option><option>won</option><option>both fail</option><option>both succeed</option></select></label>
<label>Text <input id="text" type="search" autocomplete="off"></label>
<output id="count">{{ items|length }} items</output>
</form>
{% if items|length < total %}
<p class="note">{{ items|length }} of {{ total }} items, lost and won ones first; all are in items.parquet.</p>
{% endif %}
<table class="items">
<thead><tr><th scope="col">Item</th><th scope="col">Instruction</th><th scope="col">Base</th><th scope="col">Fine-tuned</th></tr></thead>
<tbody id="items">
{% for item in items %}
<tr data-type="{{ item.type }}" data-outcome="{{ item.outcome }}">
<td><span class="tag {{ item.outcome|replace(" ", "-") }}">{{ item.outcome }}</span> {{ item.type }}<br><code>{{ item.id }}</code></td>
<td data-label="Instruction"><pre>{{ cut(item.instruction) }}</pre></td>
{% for who, model in (("Base", "base"), ("Fine-tuned", "sft")) %}
<td data-label="{{ who }}"><pre>{{ cut(item[model ~ "_output"]) }}</pre>
<small class="{{ "good" if item[model ~ "_success"] else "bad" }}">{{ "success" if item[model ~ "_success"] else cut(item[model ~ "_reason"] or "failure") }}</small></td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table>

<h2>What was used</h2>
<dl class="inputs">
{% for name, value in facts["inputs"].items() %}
<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>
{% endfor %}
{% for name, value in facts["conditions"].items() %}
<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>
{% endfor %}
</dl>
</main>
<script>{{ script }}</script>
</body>
</html>
"""

STYLE = """
.filters { display: flex; flex-wrap: wrap; gap: .8rem 1.2rem; align-items: center; margin-bottom: .6rem }
select, input { font: inherit; padding: .2rem .4rem; max-width: 14rem }
.items { table-layout: fixed; font-size: .9rem } .items th:first-child { width: 11rem } .items code { font-size: .75rem; color: var(--soft) }
@media (max-width: 44rem) {
  .items tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line) }
  .items td { display: block; width: auto; border: 0; padding: .3rem 0 }
  .items thead { display: none }
  .items td[data-label]::before { content: attr(data-label); display: block; color: var(--soft); font-size: .8rem }
  .items tr[hidden] { display: none }
}
@media print { .filters { display: none } }
"""

SCRIPT = """
const [type, outcome, text, count] = ["type", "outcome", "text", "count"].map(id => document.getElementById(id));
const rows = [...document.getElementById("items").rows];
function filter() {
  const wanted = text.value.toLowerCase();
  let shown = 0;
  for (const row of rows) {
    row.hidden = (type.value && row.dataset.type !== type.value)
      || (outcome.value && row.dataset.outcome !== outcome.value)
      || (wanted && !row.textContent.toLowerCase().includes(wanted));
    shown += !row.hidden;
  }
  count.textContent = shown === rows.length ? `${shown} items` : `${shown} of ${rows.length} items`;
}
for (const control of [type, outcome, text]) control.addEventListener("input", filter);
text.form.addEventListener("submit", event => event.preventDefault());
filter();
"""

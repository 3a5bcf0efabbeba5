"""Template and style of the data report: text only, see data_html.py and, for the common style, page_style.py."""

TEMPLATE = """\
{% macro bar(start, length, kind="") %}
<span class="track">{% if length %}<span class="bar {{ kind }}" style="margin-left:{{ "%.2f"|format(100 * start) }}%;width:{{ "%.2f"|format(100 * length) }}%"></span>{% endif %}</span>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Data report: {{ headline }}</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1 class="{{ verdict }}">{{ headline }}</h1>
<p class="note"><bdi>{{ m.source|cut|shown }}</bdi>{% if m.source_schema %}, read as <bdi>{{ m.source_schema|cut|shown }}</bdi>{% endif %}</p>
<dl class="figures">
<div><dt>Rows read</dt><dd>{{ m.rows_read|count }} <small>{{ m.rows_unreadable|count }} of them unreadable</small></dd></div>
<div><dt>Rows kept</dt><dd>{{ m.rows_kept|count }} <small>{{ (m.rows_kept / (m.rows_read or 1))|percent }} of the rows read</small></dd></div>
<div><dt>Unique instructions</dt><dd>{{ m.unique_instructions|count }} <small>{{ (m.unique_instructions / (m.rows_kept or 1))|percent }} of the kept rows</small></dd></div>
{% for length in m.lengths if length.name == headline_length %}
<div><dt>Median {{ length.name|words }}</dt><dd>{{ length.median|count }} <small>95th percentile {{ length.p95|count }}, longest {{ length.largest|count }}</small></dd></div>
{% endfor %}
</dl>

<h2>Thresholds</h2>
{% if m.thresholds %}
<table class="reasons thresholds">
{% for t in m.thresholds|sort(attribute="passed") %}
<tr><td><span class="tag {{ "pass" if t.passed else "fail" }}">{{ "holds" if t.passed else "fails" }}</span></td>
<th scope="row"><bdi>{{ t.name|words|shown }}</bdi></th><td>{{ t|value_of }}, {{ t.direction }} {{ t|limit_of }}</td></tr>
{% endfor %}
</table>
{% else %}
<p class="note">No threshold was judged.</p>
{% endif %}

<h2>From the rows read to the rows kept</h2>
<table class="numbers bars">
<thead><tr><th scope="col">stage</th><th scope="col">rows</th><th scope="col">share</th><th scope="col"></th></tr></thead>
<tbody>
{% for stage in flow %}
<tr{% if stage.total %} class="all"{% endif %}><th scope="row">{{ stage.name }}</th>
<td>{{ "" if stage.total or not stage.rows else "−" if stage.rows > 0 else "+" }}{{ stage.rows|abs|count }}</td><td>{{ stage.share|percent }}</td>
<td>{{ bar(stage.start, stage.length, "" if stage.total else "lost") }}</td></tr>
{% endfor %}
</tbody></table>
{% if flow|selectattr("name", "equalto", unaccounted)|list %}
<p class="note">The counts of the stages do not add up to the rows read; what is missing stands in a line of its own.</p>
{% endif %}

{% if m.filters %}
<h2>Filters</h2>
<table class="numbers bars">
<thead><tr><th scope="col">filter</th><th scope="col">dropped</th><th scope="col">objected</th><th scope="col"></th></tr></thead>
<tbody>
{% for f in m.filters|sort(attribute="dropped", reverse=true) %}
<tr><th scope="row"><bdi>{{ f.name|words|shown }}</bdi></th><td>{{ f.dropped|count }}</td><td>{{ f.objected|count }}</td>
<td>{{ bar(0, f.objected / most, "also") }}{{ bar(0, f.dropped / most, "lost") }}</td></tr>
{% endfor %}
</tbody></table>
<p class="note">A row with several faults is dropped once, by the first filter that objects to it: strong bars are rows dropped, faint ones all rows objected to.</p>
{% endif %}

{% if m.duplicates %}
<h2>Duplicates</h2>
<div class="scroll"><table class="numbers">
<thead><tr><th scope="col">level</th><th scope="col">clusters</th><th scope="col">rows</th><th scope="col">largest</th><th scope="col">dropped</th></tr></thead>
<tbody>
{% for d in m.duplicates %}
<tr><th scope="row">{{ levels[d.level] }}</th><td>{{ d.clusters|count }}</td><td>{{ d.rows|count }}</td><td>{{ d.largest|count }}</td><td>{{ d.dropped|count }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">duplicates.parquet lists every cluster, which row of it was kept, and why.</p>
{% endif %}

<h2>Lengths of the kept rows</h2>
{% if m.lengths %}
<div class="scroll"><table class="numbers">
<thead><tr><th scope="col">text</th><th scope="col">median</th><th scope="col">mean</th><th scope="col">95 %</th><th scope="col">longest</th></tr></thead>
<tbody>
{% for length in m.lengths %}
<tr><th scope="row"><bdi>{{ length.name|words|shown }}</bdi></th><td>{{ length.median|count }}</td><td>{{ "{:,.1f}".format(length.mean) }}</td><td>{{ length.p95|count }}</td><td>{{ length.largest|count }}</td></tr>
{% endfor %}
</tbody></table></div>
<div class="pictures">
{% for picture in histograms %}
<figure><img src="data:image/png;base64,{{ picture }}" alt="Histogram of {{ m.lengths[loop.index0].name|words }} with median and 95th percentile"></figure>
{% endfor %}
</div>
{% else %}
<p class="note">No row was kept.</p>
{% endif %}

<h2>Samples of the dropped rows</h2>
{% for name, samples in samples|groupby("filter") %}
<details>
<summary><bdi>{{ name|words|shown }}</bdi> <small>{{ samples|length }} sample{{ "" if samples|length == 1 else "s" }}</small></summary>
{% for s in samples %}
<article>
<p><strong><bdi>{{ s.reason|cut|shown }}</bdi></strong> <small><code><bdi>{{ s.source_file|shown }}</bdi></code>, row {{ s.source_row }}</small></p>
{% if s.quoted %}
<h3>Matched</h3><pre dir="auto">{{ s.matched|cut|shown }}</pre>
{% endif %}
{% if s.instruction or s.response %}
<h3>Instruction</h3><pre dir="auto">{{ s.instruction|shown(s.matched) if s.instruction.strip() else blank }}</pre>
<h3>Response</h3><pre dir="auto">{{ s.response|shown(s.matched) if s.response.strip() else blank }}</pre>
{% endif %}
</article>
{% endfor %}
</details>
{% else %}
<p class="note">No row was dropped.</p>
{% endfor %}

{% if m.types %}
<h2>Types of the kept rows</h2>
<table class="numbers bars">
<thead><tr><th scope="col">type</th><th scope="col">rows</th><th scope="col">share</th><th scope="col"></th></tr></thead>
<tbody>
{% for name, rows in types %}
<tr><th scope="row"><bdi>{{ name|cut("", 80)|shown }}</bdi></th><td>{{ rows|count }}</td><td>{{ (rows / (m.rows_kept or 1))|percent }}</td><td>{{ bar(0, rows / (m.rows_kept or 1)) }}</td></tr>
{% endfor %}
</tbody></table>
{% if types|length < m.types|length %}
<p class="note">The {{ types|length }} most frequent of {{ m.types|length }} types; all are in manifest.json.</p>
{% endif %}
{% endif %}

{% if m.acceptance %}
<h2>Critics</h2>
<table class="numbers bars">
<thead><tr><th scope="col">critic</th><th scope="col">accepted</th><th scope="col"></th></tr></thead>
<tbody>
{% for critic, share in m.acceptance.items() %}
<tr><th scope="row"><bdi>{{ critic|words|shown }}</bdi></th><td>{{ share|percent }}</td><td>{{ bar(0, share) }}</td></tr>
{% endfor %}
</tbody></table>
<p class="note">Share of the rows that each critic judged.</p>
{% endif %}

{% if m.notes %}
<h2>Notes</h2>
<ul>
{% for note in m.notes %}
<li><bdi>{{ note|shown }}</bdi></li>
{% endfor %}
</ul>
{% endif %}

{% if m.libraries %}
<h2>Libraries that decided</h2>
<dl class="inputs">
{% for name, version in m.libraries.items() %}
<dt><bdi>{{ name|shown }}</bdi></dt><dd><code>{{ version|shown }}</code></dd>
{% endfor %}
</dl>
{% endif %}
</main>
</body>
</html>
"""

STYLE = """
:root { --paper: #fff; --pale: #f5f6f8; --lost: #b3432b; --also: #e7c3b9; --kept: #1f6f8b; --mark: #ffe08a; --control: #8a3ffc }
body { background: var(--paper); overflow-wrap: anywhere }
.numbers .all { background: var(--pale) }
.thresholds td:first-child { width: 5rem } .thresholds th { width: 16rem }
.bars { table-layout: fixed } .bars th:first-child { width: 32% } .bars th:last-child { width: 40% }
.bars td:last-child { position: relative }
.track { display: block; height: 1.35em } .bar { display: block; height: 100%; min-width: 1px; background: var(--kept) }
.bar.lost { background: var(--lost) } .bar.also { background: var(--also) }
.track + .track { position: absolute; inset: .35rem .6rem auto .6rem }
figure { margin: .8rem 0 0 } img { background: #fff; border-radius: .3rem }
details { border-bottom: 1px solid var(--line); padding: .45rem 0 } summary { cursor: pointer; font-weight: 600 }
summary small { font-weight: 400 }
article { margin: .8rem 0 1.2rem; padding-left: .8rem; border-left: 3px solid var(--line) } article p { margin: 0 }
h3 { font-size: .78rem; font-weight: 400; color: var(--soft); margin: .5rem 0 .1rem }
pre { background: var(--pale); padding: .4rem .6rem; border-radius: .2rem }
mark { background: var(--mark); color: inherit; border-radius: .15rem }
.control { color: var(--control); font-size: .85em; border: 1px solid currentcolor; border-radius: .15rem; padding: 0 .15em; margin: 0 .1em }
.blank { color: var(--soft); font-style: italic }
li { margin: .2rem 0 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #a2aab4; --line: #3a4149; --good: #2b7d55; --bad: #b8492f; --paper: #171a1e; --pale: #22262b;
    --lost: #d0644b; --also: #6b3d33; --kept: #4a9dbb; --mark: #6b5510; --control: #c9a3ff }
}
@media (max-width: 44rem) {
  .thresholds td:first-child, .thresholds th { width: auto }
  .bars th:first-child { width: 36% } .bars th:last-child { width: 22% }
  .bars tbody th { min-width: 0 }
  .numbers td, .numbers thead th { padding-left: .3rem; padding-right: .3rem }
  .track + .track { inset: .35rem .3rem auto .3rem }
}
@media print { details > * { display: block } }
"""

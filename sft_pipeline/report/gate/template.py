"""Template of the gate page: text only, see gate_html.py; the table of items stands in gate_items.py."""

HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{{ script_hash }}'; base-uri 'none'; form-action 'none'">
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
<small>{{ successes|count }} of {{ report.overall.n|count }}, interval {{ "%.1f to %.1f"|format(100 * interval[0], 100 * interval[1]) }}</small></dd></div>
{% endfor %}
<div><dt>Lift</dt>
<dd>{{ report.overall.lift|points }} points
<small>interval {{ report.overall.lift_interval|span }}, {{ report.overall.won|count }} won, {{ report.overall.lost|count }} lost{% if report.missing %},
{{ report.missing|count }} not judged{% endif %}</small></dd></div>
<div><dt>McNemar, {{ report.test }}</dt>
<dd>p = {{ "%.3g"|format(report.p) }} <small>decides at {{ "%g"|format(report.alpha) }}; Cohen's h {{ "%.2f"|format(report.overall.cohens_h) }}, odds ratio {{ (report.overall|odds)[0] }}{% if (report.overall|odds)[1] %} ({{ (report.overall|odds)[1] }}){% endif %}</small></dd></div>
</dl>

<h2 id="h-reasons">Reasons</h2>
<table class="reasons" aria-labelledby="h-reasons">
<thead class="unseen"><tr><th scope="col">outcome</th><th scope="col">criterion</th><th scope="col">finding</th></tr></thead>
<tbody>
{% for reason in reasons %}
<tr><td><span class="tag {{ reason.outcome }}">{{ reason.outcome }}</span></td><th scope="row">{{ reason.criterion|shown }}</th><td>{{ reason.detail|shown }}</td></tr>
{% endfor %}
</tbody></table>

<h2 id="h-types">By type</h2>
<div class="scroll" id="by-type" tabindex="0" role="region" aria-labelledby="h-types"><table class="numbers">
<thead><tr><th scope="col">type</th><th scope="col">n</th><th scope="col">base</th><th scope="col">fine-tuned</th><th scope="col">lift</th>
<th scope="col">95 % interval</th><th scope="col">lost</th><th scope="col">won</th><th scope="col">p exact</th><th scope="col">p mid</th>
<th scope="col">p corrected</th><th scope="col">p adjusted</th><th scope="col">h</th><th scope="col">odds ratio</th><th scope="col">detectable</th></tr></thead>
<tbody>
{% for group in (report.overall,) + report.types %}
<tr{% if loop.first %} class="all"{% endif %}><th scope="row">{% if loop.first %}all items{% else %}<bdi>{{ group.name|shown }}</bdi>{% endif %}</th><td>{{ group.n|count }}</td>
<td>{{ "%.1f"|format(100 * group.base_rate) }} %</td><td>{{ "%.1f"|format(100 * group.sft_rate) }} %</td>
<td>{{ group.lift|points }}</td><td>{{ group.lift_interval|span }}</td>
<td>{{ group.lost }}</td><td>{{ group.won }}</td>
<td>{{ "%.2g"|format(group.p_exact) }}</td><td>{{ "%.2g"|format(group.p_midp) }}</td><td>{{ "%.2g"|format(group.p_corrected) }}</td>
<td>{{ "" if group.p_adjusted is none else "%.2g"|format(group.p_adjusted) }}</td><td>{{ "%.2f"|format(group.cohens_h) }}</td>
<td>{{ (group|odds)[0] }}<br><small>{{ (group|odds)[1] }}</small></td><td>{{ "–" if group.detectable is none else group.detectable|points }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">p adjusted: Benjamini–Hochberg over the types, of the test that decides. Detectable: the smallest true lift, in points, that
so many items find with 80 % power at their share of discordant pairs.</p>
{% if report.protected %}
<h2 id="h-protected">Protected</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="h-protected"><table class="numbers">
<thead><tr><th scope="col">guarantee</th><th scope="col">verdict</th><th scope="col">types</th><th scope="col">n</th><th scope="col">lost</th><th scope="col">won</th>
<th scope="col">difference</th><th scope="col">95 % interval</th><th scope="col">margin</th><th scope="col">rates overlap</th></tr></thead>
<tbody>
{% for p in report.protected %}
<tr><th scope="row"><bdi>{{ p.name|shown }}</bdi></th><td><span class="tag {{ p.verdict }}">{{ p.verdict }}</span></td><td>{{ p.types|join(", ")|shown }}</td>
<td>{{ p.result.n|count }}</td><td>{{ p.result.lost }}</td><td>{{ p.result.won }}</td><td>{{ p.result.lift|points }}</td>
<td>{{ p.result.lift_interval|span }}</td><td>{{ (-p.margin)|points }}</td>
<td>{{ "yes" if p.overlap_rule else "no" }}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">“Rates overlap” is the older rule that a fall is harmless while the two Wilson intervals overlap. It is shown for
comparison and decides nothing: with few items it lets real losses pass.</p>
{% endif %}

<h2>Pictures</h2>
<div class="pictures">
{% for caption, alt, picture in pictures %}
<figure><figcaption>{{ caption }}</figcaption><img src="data:image/png;base64,{{ picture }}" alt="{{ alt }}"></figure>
{% endfor %}
</div>
"""

CHECKS = """
{% if treatments %}
<h2 id="h-stands">Does the lift stand?</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="h-stands"><table class="numbers">
<thead><tr><th scope="col">looked at in another way</th><th scope="col">n</th><th scope="col">base</th><th scope="col">fine-tuned</th><th scope="col">lift</th>
<th scope="col">95 % interval</th><th scope="col">p</th></tr></thead>
<tbody>
{% for t in treatments %}
<tr{% if loop.first %} class="all"{% endif %}><th scope="row">{{ t.name }}</th><td>{{ t.n|count }}</td><td>{{ t.base_successes|percent(t.n) }}</td><td>{{ t.sft_successes|percent(t.n) }}</td>
<td>{{ t.lift|points }}</td><td>{{ t.lift_interval|span }}</td><td>{{ "" if t.p is none else "%.2g"|format(t.p) }}</td></tr>
{% endfor %}
</tbody></table></div>
{% endif %}
{% if report.agreement %}
<p>Human labels agree with the scorers on {{ report.agreement.agreed|count }} of {{ report.agreement.n|count }} answers
({{ report.agreement.base_agreed|count }} of {{ report.agreement.base_n|count }} of the base, {{ report.agreement.sft_agreed|count }} of {{ report.agreement.sft_n|count }} of the fine-tuned model); Cohen's kappa
{% if report.agreement.kappa is none %}cannot be computed, for one side gives one label only.{% else %}{{ "%.2f"|format(report.agreement.kappa) }}{% if report.agreement.interval %}
(95 % interval {{ "%.2f to %.2f"|format(*report.agreement.interval) }}){% endif %}; at least {{ "%g"|format(figures.gate.min_kappa) }} is asked for.{% endif %}</p>
{% endif %}

<h2 id="h-answers">The answers</h2>
<div class="scroll" tabindex="0" role="region" aria-labelledby="h-answers"><table class="numbers few">
<thead><tr><th scope="col">figure</th><th scope="col">base</th><th scope="col">fine-tuned</th></tr></thead>
<tbody>
{% for name, base, sft in answers %}
<tr><th scope="row">{{ name|shown }}</th><td>{{ base }}</td><td>{{ sft }}</td></tr>
{% endfor %}
</tbody></table></div>
"""

USED = """
<h2>What was used</h2>
<dl class="inputs">
{% for section in (figures.inputs, figures.origin, figures.conditions) %}
{% for name, value in section.items() %}
<dt>{{ name|shown }}</dt><dd><code>{{ value|shown }}</code></dd>
{% endfor %}
{% endfor %}
{% for name, value in figures.trained_on.items() %}
<dt>trained on, {{ name|shown }}</dt><dd><code>{{ value|shown }}</code></dd>
{% endfor %}
<dt>criteria</dt><dd><code>{{ criteria|shown }}</code></dd>
</dl>
</main>
<script>{{ script }}</script>
</body>
</html>
"""

STYLE = """
figcaption { font-weight: 600; font-size: .95rem; margin-bottom: .3rem }
.pictures figure { max-width: 38rem }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
.few { width: auto; min-width: min(100%, 30rem) }
.control { color: #7a2fe0; font-size: .85em; border: 1px solid currentcolor; border-radius: .15rem; padding: 0 .15em; margin: 0 .1em }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--held); outline-offset: 2px }
h1, .reasons th, td, dd { overflow-wrap: anywhere } .numbers td { overflow-wrap: normal }
#by-type .numbers td, #by-type .numbers thead th { padding-left: .3rem; padding-right: .3rem } #by-type small { font-size: .75rem }
@media print {
  .scroll { overflow: visible } .numbers { font-size: .62rem } .numbers td, .numbers th, .numbers thead th { padding-left: .25rem; padding-right: 0; white-space: normal }
  figure, .reasons tr { break-inside: avoid } h2 { break-after: avoid }
}
"""

"""The comparison of several models as one self-contained page: no network, no script, everything from data escaped."""

import base64

from sft_pipeline.artifacts import ComparisonReport
from sft_pipeline.report import page_style
from sft_pipeline.report.compare.text import by_type, clustered, cut, finding, headline, interval, notes
from sft_pipeline.report.gate import plots as gate_plots
from sft_pipeline.report.gate.text import points


def page(report: ComparisonReport, picture: bytes) -> str:
    """The page as HTML.

    Args:
        report: the comparison.
        picture: the forest plot as PNG.
    """
    from markupsafe import Markup

    environment = page_style.environment(
        points=points, interval=interval, finding=lambda comparison: finding(comparison, report)
    )
    return environment.from_string(TEMPLATE).render(
        report=report,
        headline=headline(report),
        notes=notes(report),
        types=by_type(report),
        clustered=clustered(report),
        picture=base64.b64encode(picture).decode(),
        style=Markup(page_style.STYLE + STYLE),
    )


def differences(report: ComparisonReport) -> bytes:
    """Forest plot of the paired differences with Tango 95 % intervals, as PNG."""
    results = [comparison.result for comparison in report.comparisons]
    figure, axes = gate_plots.forest(results, "paired difference, points (95 % Tango interval)")
    figure.set_figheight(1.4 + 0.5 * len(results))
    labels = [f"{cut(c.model)}\nminus {cut(c.baseline)}" for c in report.comparisons]
    axes.set_yticks(range(len(results)), labels, parse_math=False)
    return gate_plots.png(figure)


TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Comparison of {{ report.models|length }} models</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1>{{ headline }}</h1>
<dl class="figures">
{% for rate in report.rates if rate.type is none %}
<div><dt><bdi>{{ rate.model }}</bdi>{{ " (baseline)" if rate.model == report.baseline }}</dt>
<dd>{{ "%.1f"|format(100 * rate.successes / (rate.n or 1)) }} %
<small>{{ rate.successes }} of {{ rate.n }}, interval {{ "%.1f to %.1f"|format(100 * rate.interval[0], 100 * rate.interval[1]) }}</small></dd></div>
{% endfor %}
</dl>
{% for note in notes %}
<p class="note">{{ note }}</p>
{% endfor %}

<h2>Paired comparisons</h2>
<div class="scroll"><table class="numbers">
<thead><tr><th scope="col">model</th><th scope="col">lift</th><th scope="col">95 % interval</th>
{% if clustered %}
<th scope="col">by cluster</th>
{% endif %}
<th scope="col">won</th><th scope="col">lost</th><th scope="col">odds ratio</th><th scope="col">p</th><th scope="col">p Holm</th><th scope="col">finding</th></tr></thead>
<tbody>
{% for c in report.comparisons %}
<tr><th scope="row"><bdi>{{ c.model }}</bdi><br><small>against <bdi>{{ c.baseline }}</bdi></small></th>
<td>{{ c.result.lift|points }}</td><td>{{ c.result.lift_interval|interval }}</td>
{% if clustered %}
<td>{{ c.result.cluster_interval|interval }}</td>
{% endif %}
<td>{{ c.result.won }}</td><td>{{ c.result.lost }}</td>
<td>{{ "–" if c.result.odds_ratio is none else "%.2f"|format(c.result.odds_ratio) }}</td>
<td>{{ "%.2g"|format(c.p) }}</td><td>{{ "%.2g"|format(c.p_adjusted) }}</td>
<td><span class="tag {{ c|finding|replace(" ", "-") }}">{{ c|finding }}</span></td></tr>
{% endfor %}
</tbody></table></div>
<figure><img src="data:image/png;base64,{{ picture }}" alt="Paired differences with Tango intervals"></figure>

{% if types %}
<h2>By type</h2>
<div class="scroll"><table class="numbers">
<thead><tr><th scope="col">type</th><th scope="col">n</th>{% for model in report.models %}<th scope="col"><bdi>{{ model }}</bdi></th>{% endfor %}</tr></thead>
<tbody>
{% for type, rates in types.items() %}
<tr><th scope="row"><bdi>{{ type }}</bdi></th><td>{{ rates[0].n }}</td>
{% for rate in rates %}
<td>{{ "%.1f"|format(100 * rate.successes / (rate.n or 1)) }} %<br><small>{{ "%.1f to %.1f"|format(100 * rate.interval[0], 100 * rate.interval[1]) }}</small></td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% endif %}

<h2>What was used</h2>
<dl class="inputs">
{% for model, digest in report.inputs.items() %}
<dt><bdi>{{ model }}</bdi></dt><dd><code>{{ digest }}</code></dd>
{% endfor %}
</dl>
</main>
</body>
</html>
"""

STYLE = """
.tag.better { background: var(--good) } .tag.worse { background: var(--bad) }
.figures dt { overflow-wrap: anywhere } .inputs dt { overflow-wrap: anywhere }
.numbers tbody th { min-width: 10rem } .numbers th small { font-weight: 400 }
figure { margin-top: 1.2rem }
"""

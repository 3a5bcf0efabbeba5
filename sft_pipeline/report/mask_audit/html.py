"""The mask audit as one self-contained page: token by token, what carries loss, and what was cut or left out.

No network, no script; everything from data is escaped, and white space and what is invisible are shown as signs.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from sft_pipeline.report import excerpt, page_style

SHOWN = 1600
"""Most tokens of a sample that the page shows, from its beginning and its end."""

IDS = 20
"""Most ids that a figure lists; mask_audit.txt names the first five of each."""


class Token(NamedTuple):
    """Text of one token, or of several that make a character only together.

    Attributes:
        text: the decoded text.
        ids: the token ids.
        learned: whether it carries loss.
        special: whether it is a special token.
        end: whether it is the end-of-sequence token.
    """

    text: str
    ids: tuple[int, ...]
    learned: bool
    special: bool
    end: bool


class Sample(NamedTuple):
    """A training row: its id, why it is shown, and its tokens."""

    id: str
    why: str
    tokens: tuple[Token, ...]


class Audit(NamedTuple):
    """What the page says.

    Attributes:
        rows: rows of the training split.
        tokens: tokens of the rows that are trained on, after cutting.
        learned: tokens among them that carry loss.
        ends: rows in which the end-of-sequence token is learned: once, at the end.
        cut: ids of the rows cut at `max_length`.
        masked: ids of the rows without any loss, which are left out.
        merged: ids of the rows in which tokens would merge across prompt and response.
        max_length: the limit in tokens.
        problems: why these rows cannot be trained on.
        samples: rows to look at.
    """

    rows: int
    tokens: int
    learned: int
    ends: int
    cut: Sequence[str]
    masked: Sequence[str]
    merged: Sequence[str]
    max_length: int
    problems: Sequence[str]
    samples: Sequence[Sample]


def page(audit: Audit) -> str:
    """The page as HTML."""
    environment = page_style.environment(visible=visible, count=lambda number: f"{number:,}")
    share = audit.learned / audit.tokens if audit.tokens else 0.0
    samples = [
        {
            "id": sample.id,
            "why": sample.why,
            "tokens": sum(len(token.ids) for token in sample.tokens),
            "learned": sum(len(token.ids) for token in sample.tokens if token.learned),
            "parts": _parts(sample.tokens),
        }
        for sample in audit.samples
    ]
    lists = [
        ("Cut at max_length", audit.cut, f"longer than {audit.max_length:,} tokens"),
        ("Without any loss, left out", audit.masked, "the prompt alone reaches max_length"),
        ("Tokens would merge at the border", audit.merged, "prompt and response are encoded apart there"),
    ]
    return environment.from_string(_TEMPLATE).render(
        a=audit, share=share, samples=samples, lists=lists, most=IDS, style=Markup(page_style.STYLE + _STYLE)
    )


def _parts(tokens: Sequence[Token]) -> list[tuple[Sequence[Token], int]]:
    """The tokens to show, with the number of those left out before each stretch."""
    if len(tokens) <= SHOWN:
        return [(tokens, 0)]
    half = SHOWN // 2
    return [(tokens[:half], 0), (tokens[-half:], len(tokens) - 2 * half)]


_SIGNS = {" ": "␣<wbr>", "\n": "↵\n", "\t": "⇥\t"}


def visible(text: str) -> Markup:
    """`text` escaped, with a sign for white space and for everything that would not be seen."""
    parts = []
    for part in re.split(r"(\s)", text):
        if part in _SIGNS:
            parts.append(Markup('<span class="white">' + _SIGNS[part] + "</span>"))
        elif part.isspace():
            parts.append(Markup('<span class="control">U+{:04X}</span>').format(ord(part)))
        else:
            parts.append(excerpt.shown(part))
    return Markup("").join(parts)


_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Mask audit</title>
<style>{{ style }}</style>
</head>
<body>
<main>
<h1 class="{{ "fail" if a.problems else "pass" }}">{{ "These rows cannot be trained on" if a.problems else "What carries loss" }}</h1>
{% if a.problems %}
<ul class="problems">
{% for problem in a.problems %}
<li>{{ problem }}</li>
{% endfor %}
</ul>
{% endif %}
<dl class="figures">
<div><dt>Rows</dt><dd>{{ a.rows|count }} <small>{{ (a.rows - a.masked|length)|count }} of them carry loss</small></dd></div>
<div><dt>Tokens</dt><dd>{{ a.tokens|count }} <small>after cutting</small></dd></div>
<div><dt>Tokens with loss</dt><dd>{{ a.learned|count }} <small>{{ "%.1f"|format(100 * share) }} %</small></dd></div>
<div><dt>End of sequence learned</dt><dd>{{ a.ends|count }} <small>rows, once in each and last; a cut row must not teach to stop</small></dd></div>
{% for name, ids, meaning in lists %}
<div><dt>{{ name }}</dt><dd>{{ ids|length|count }} <small>{{ meaning }}</small>
{% if ids %}<small class="ids">{{ ids[:most]|join(", ") }}{% if ids|length > most %}, …{% endif %}</small>{% endif %}</dd></div>
{% endfor %}
</dl>
<h2>Samples</h2>
<p class="key"><span class="t learned">carries loss</span> <span class="t">carries none</span>
<span class="t special">special token</span> <span class="t learned special end">end of sequence</span>
<span><span class="white">␣</span> space</span> <span><span class="white">↵</span> line feed</span> <span><span class="white">⇥</span> tab</span>
<span class="note">A frame is one token; point at it for its id.</span></p>
{% for s in samples %}
<section>
<h3><code>{{ s.id }}</code> <span class="tag">{{ s.why }}</span> <small>{{ (s.tokens - s.learned)|count }} tokens without and {{ s.learned|count }} with loss</small></h3>
<pre dir="ltr">
{%- for tokens, left_out in s.parts %}
{%- if left_out %}<span class="left">… {{ left_out|count }} tokens …</span>{% endif %}
{%- for t in tokens %}<span class="t{{ " learned" if t.learned }}{{ " special" if t.special }}{{ " end" if t.end }}" title="{{ t.ids|join(" ") }}">{{ t.text|visible }}</span>{% endfor %}
{%- endfor %}</pre>
</section>
{% else %}
<p>No row carries loss.</p>
{% endfor %}
</main>
</body>
</html>
"""

_STYLE = """
h3 { font-size: 1rem; font-weight: 400; margin: 1.4rem 0 .4rem } h3 code { overflow-wrap: anywhere }
.problems { margin: 0 0 1.2rem; padding-left: 1.2rem; color: var(--bad); overflow-wrap: anywhere }
.ids { overflow-wrap: anywhere; font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .75rem; color: var(--soft) }
.key { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: baseline; font-size: .9rem }
pre { max-height: 24rem; padding: .5rem .6rem; background: #fafbfc; line-height: 1.75 }
.t { color: #6a727b; border: 1px solid #e3e6ea; border-radius: .15rem; padding: .05rem 0 }
.t.learned { color: #0d4a2d; background: #d5efdf; border-color: #8fc7a6; font-weight: 600 }
.t.special { color: #fff; background: #5b636d; border-color: #5b636d; padding: .05rem .3rem }
.t.learned.special { background: #1d6b45; border-color: #1d6b45 }
.t.end { outline: 2px solid #b3432b; outline-offset: 1px }
.white { color: #a2a9b1; font-weight: 400 } .t.learned .white { color: #5fa27e }
.control { color: #8a3ffc; font-size: .85em; border: 1px solid currentcolor; border-radius: .15rem; padding: 0 .15em }
.left { color: var(--soft); font-style: italic; padding: 0 .6rem }
"""

"""What all report pages share: the style, to which each adds its own, and the templates' environment."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


STYLE = """
:root { --ink: #22272e; --soft: #5b636d; --line: #dfe2e6; --good: #1d6b45; --bad: #a33a22; --grey: #5b636d; --held: #1f6f8b }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; color: var(--ink); background: #fff }
main { max-width: 74rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; padding-left: .8rem; border-left: .4rem solid var(--grey) }
h1.pass { border-color: var(--good) } h1.fail { border-color: var(--bad) } h1.refused { border-color: #8a6d00 }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem }
small, .note { color: var(--soft); font-size: .85rem }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 1rem; margin: 0 }
.figures div { border-top: 1px solid var(--line); padding-top: .4rem }
.figures dt { color: var(--soft); font-size: .85rem } .figures dd { margin: 0; font-size: 1.25rem }
.figures small { display: block }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600 }
.reasons th { white-space: nowrap } .reasons td:first-child { width: 6rem }
.reasons td { overflow-wrap: anywhere }
.scroll { overflow-x: auto }
.numbers { font-variant-numeric: tabular-nums; font-size: .9rem }
.numbers td, .numbers th { white-space: nowrap }
.numbers td { text-align: right; padding-left: .6rem } .numbers thead th { text-align: right; padding-left: .6rem; color: var(--soft) }
.numbers tbody th { white-space: normal; min-width: 7rem; max-width: 16rem; overflow-wrap: anywhere }
.numbers thead th:first-child { text-align: left; padding-left: 0 } .numbers .all { background: #f5f6f8 }
.tag { display: inline-block; font-size: .78rem; line-height: 1.3; padding: .08rem .45rem; border-radius: .2rem; color: #fff; background: var(--grey); white-space: nowrap }
.tag.pass, .tag.won { background: var(--good) } .tag.held { background: var(--held) }
.tag.fail, .tag.lost, .tag.violated { background: var(--bad) } .tag.refused, .tag.undecided { background: #7a6000 }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem; align-items: start }
figure { margin: 0 } img { max-width: 100%; height: auto; display: block }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 14rem; overflow-y: auto; font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace }
small.good { color: var(--good) } small.bad { color: var(--bad); overflow-wrap: anywhere }
.inputs { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; font-size: .85rem }
.inputs dt { color: var(--soft) } .inputs dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 44rem) {
  body { font-size: 15px } main { padding: 1rem .9rem 3rem }
  .reasons tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line) }
  .reasons td, .reasons th { display: block; width: auto; border: 0; padding: .1rem 0 }
  .reasons td:first-child, .reasons th { display: inline-block; width: auto; margin-right: .4rem }
  .inputs { grid-template-columns: 1fr } .inputs dd { margin-bottom: .4rem }
}
@media print { pre { max-height: none } }
"""


def environment(**filters: Callable) -> "Environment":
    """Where templates are rendered: all values are escaped, an unknown one is an error."""
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= filters
    return made

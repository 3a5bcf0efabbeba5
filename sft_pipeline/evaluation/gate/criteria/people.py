"""What people prefer, by a human review of the same answers."""

from collections.abc import Iterator

from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria.criterion import Finding
from sft_pipeline.evaluation.gate.criteria.formatting import interval, signed
from sft_pipeline.provenance.hashing import hash_value


def preference(c: Comparison) -> Iterator[Finding]:
    """The declared claim about people's preference; without one it is only reported."""
    p, asked = c.preference, c.gate.people
    if p is None:
        if asked:
            yield Finding("the specification asks what people prefer, and no rating was returned", "refused")
        return
    texts = {pair.id: hash_value([pair.base.output, pair.sft.output]) for pair in c.pairs}
    if other := sorted(id for id, judged in p.answers.items() if texts.get(id) != judged):
        yield Finding(
            f"people judged other answers than these to {len(other)} of {len(p.answers)} items, such as {other[0]}",
            "refused" if asked else "info",
        )
        return
    detail = (
        f"people's net preference for the fine-tuned model is {signed(p.net.value)} points ({interval(p.net.interval)}), sign "
        f"test p = {p.p:.3g}, over {p.n} judged pairs"
    )
    if asked is None:
        yield Finding(detail, "info")
    elif asked == "prefer":
        holds = p.net.value > 0 and p.p <= c.gate.alpha
        yield Finding(f"{detail}; it must be positive at alpha = {c.gate.alpha:g}", "pass" if holds else "fail")
    else:
        holds = p.net.interval[0] > -c.gate.people_margin
        yield Finding(
            f"{detail}; its lower bound must lie above {signed(-c.gate.people_margin)} points",
            "pass" if holds else "fail",
        )

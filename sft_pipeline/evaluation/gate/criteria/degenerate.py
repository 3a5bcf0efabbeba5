"""Degenerate repetition: a model that goes round in circles, or gives one answer to everything."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.gate.criteria.formatting import lift, percent
from sft_pipeline.evaluation.gate.criteria.significance import depends_on
from sft_pipeline.evaluation.gate.pairs import Pair, group
from sft_pipeline.evaluation.scorers.text import bare, excerpt
from sft_pipeline.experiment import Gate

MOST_ALIKE = 0.5
"""Share of the items that may have one and the same answer, and of the items that expect another one than that."""

ONE_SIDED = 0.1
"""Share of all items that may wrongly have that answer in any case: a model that is right on nine of ten may always err
towards the answer that most items expect."""


def repetition(pairs: Sequence[Pair], gate: Gate) -> Reason:
    """Refused where the fine-tuned model's answers are often degenerate: whatever such answers score is no quality.

    A base often is; that is what it is, and the reason says how often.
    """
    n = len(pairs)
    base, sft = (sum(getattr(p, f"{m}_repetitive") for p in pairs) for m in ("base", "sft"))
    broken = n and sft / n > gate.max_repetitive_share
    return Reason(
        criterion="repetition",
        outcome="refused" if broken else "pass",
        detail=f"repeated 4-grams make up over half of the text in {base} of {n} answers of the base and in {sft} of the "
        f"fine-tuned model; at most {percent(gate.max_repetitive_share)} of the latter are accepted"
        + (
            ": it goes round in circles. Train on complete answers that end, or decode with stop strings"
            if broken
            else ""
        ),
    )


def one_answer(pairs: Sequence[Pair], overall: GroupResult, gate: Gate, trusted: bool) -> list[Reason]:
    """A lift that hangs on one text given to most items is refused: whatever was scored, it is no answer to them.

    Not so where the text tells the items apart, because those that expect another answer seldom get it. Nor where human
    labels agree with the scores (`trusted`): a model that is to refuse may do so in the same words.
    """
    if overall.lift <= 0 or not (found := _given_to_most(pairs, "sft")):
        return []
    same, detail = found
    rest = group("other answers", [p for p in pairs if p.id not in same])
    detail = f"the fine-tuned model gives {detail}"
    if rest.n:
        detail += f"; without these {len(same)} the lift is {lift(rest)}"
    hangs = depends_on(overall, rest, gate) and not trusted
    if hangs:
        detail += (
            ": the lift is one of a text that answers no question. Look at the items; where it is right, give the expected "
            "answers or human labels"
        )
    elif trusted:
        detail += "; human labels agree with the scores"
    return [Reason(criterion="one answer", outcome="refused" if hangs else "info", detail=detail)]


def one_base_answer(pairs: Sequence[Pair]) -> list[Reason]:
    """A base that gives one text to most items: small ones honestly do, and so does a server that failed.

    It decides nothing; a reader has to look. Of empty answers empty.py tells.
    """
    found = _given_to_most(pairs, "base")
    if not found or not next(p for p in pairs if p.id in found[0]).base_length:
        return []
    detail = (
        f"the base gives {found[1]} ({percent(len(found[0]) / len(pairs))} of its answers); make sure that it was asked as it "
        "should be"
    )
    return [Reason(criterion="one answer of the base", outcome="info", detail=detail)]


def _given_to_most(pairs: Sequence[Pair], model: str) -> tuple[set[str], str] | None:
    """The ids of the items to which one text is given although they do not ask for it, and how a reason says so.

    The text stands for the expected answer at which it succeeds most often: “It is B.” for B.
    """
    texts = {p.id: bare(text) for p in pairs if (text := getattr(p, f"{model}_text")) is not None}
    if not texts:
        return None
    [(most, count)] = Counter(texts.values()).most_common(1)
    given = [p for p in pairs if texts.get(p.id) == most]
    met = Counter(
        bare(p.expected)
        for p in given
        if getattr(p, model) and p.expected and getattr(p, f"{model}_has_answer") is not False
    )
    answer = met.most_common(1)[0][0] if met else None
    wrong, others = (sum(answer is None or bare(p.expected) != answer for p in part) for part in (given, pairs))
    if count <= MOST_ALIKE * len(pairs) or wrong <= max(MOST_ALIKE * others, ONE_SIDED * len(pairs)):
        return None
    shown = excerpt(getattr(given[0], f"{model}_text").strip())
    detail = f"one and the same text, “{shown}”, to {count} of {len(pairs)} items, "
    detail += (
        f"also to {wrong} of the {others} that expect another one" if met else "of which none is known to expect it"
    )
    return {p.id for p in given}, detail


MANY = 0.5
"""Share of empty answers of the base above which they are pointed out."""


def empty(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """Both reasons about empty answers."""
    return [*_wins(pairs, overall, gate), *_base(pairs)]


def _wins(pairs: Sequence[Pair], overall: GroupResult, gate: Gate) -> list[Reason]:
    """Wins of an answer without a character but white space; refused where the lift hangs on them, whoever judged.

    No item can ask for such an answer: an expected one that is empty is not taken (scorers/item.py).
    """
    silent = [p for p in pairs if p.won and not p.sft_length]
    if not silent:
        return []
    rest = group("empty wins as failures", [replace(p, sft=False) if p.won and not p.sft_length else p for p in pairs])
    hangs = depends_on(overall, rest, gate)
    return [
        Reason(
            criterion="empty answers",
            outcome="refused" if hangs else "info",
            detail=f"in {len(silent)} of {overall.won} won pairs the fine-tuned model's answer is empty; with these as failures "
            f"the lift is {lift(rest)}"
            + (
                ": it is one of saying nothing. Judge empty answers as failures, or correct what left them out"
                if hangs
                else ""
            ),
        )
    ]


def _base(pairs: Sequence[Pair]) -> list[Reason]:
    """Small bases honestly say nothing, and so does a server that failed: a reader has to look."""
    silent = sum(not p.base_length for p in pairs)
    if silent <= MANY * len(pairs):
        return []
    return [
        Reason(
            criterion="empty answers of the base",
            outcome="info",
            detail=f"{percent(silent / len(pairs))} of the base's answers are empty ({silent} of {len(pairs)}); make sure that the "
            "base was asked as it should be",
        )
    ]

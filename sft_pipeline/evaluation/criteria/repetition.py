"""Degenerate repetition: a model that goes round in circles, or gives one answer to everything."""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.criteria.significance import hangs_on
from sft_pipeline.evaluation.criteria.wording import lift, percent
from sft_pipeline.evaluation.pair import Pair, group
from sft_pipeline.evaluation.scorers.text import UNSPACED, bare, excerpt
from sft_pipeline.experiment import Gate

HALF = 0.5
"""Share of repeated n-grams above which a text counts as degenerate."""

RUN = 30
"""Characters that no word has: a longer run of a script written without spaces is looked at by characters."""

_UNSPACED = re.compile(f"[{UNSPACED}]")

MOST_ALIKE = 0.5
"""Share of the items that may have one and the same answer, and of the items that expect another one than that."""

ONE_SIDED = 0.1
"""Share of all items that may wrongly have that answer in any case: a model that is right on nine of ten may always err
towards the answer that most items expect."""


def repetitive(text: str) -> bool:
    """Whether repeated n-grams make up over half of the text: 1 - distinct / all n-grams.

    They are 4-grams of words between white space. Where there is next to none, as in Chinese or Thai, they are n-grams of as
    many characters as some four words have: 8 of the wide East Asian ones, of which two are about a word, and else 16.
    """
    words = text.split()
    grams: list[Hashable]
    joined = "".join(words)
    if 2 * sum(len(_UNSPACED.findall(word)) for word in words if len(word) > RUN) > len(joined):
        wide = sum(unicodedata.east_asian_width(character) in "WF" for character in joined)
        n = 8 if 2 * wide > len(joined) else 16
        grams = [joined[i : i + n] for i in range(len(joined) - n + 1)]
    else:
        grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
    return bool(grams) and 1 - len(set(grams)) / len(grams) > HALF


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
    hangs = hangs_on(overall, rest, gate) and not trusted
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

"""Degenerate repetition: a model that goes round in circles, or gives one answer to everything."""

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence

from sft_pipeline.artifacts import GroupResult, Reason
from sft_pipeline.evaluation.criteria.wording import percent
from sft_pipeline.evaluation.pair import Pair
from sft_pipeline.evaluation.scorers.text import UNSPACED
from sft_pipeline.experiment import Gate

HALF = 0.5
"""Share of repeated n-grams above which a text counts as degenerate."""

RUN = 30
"""Characters that no word has: a longer run of a script written without spaces is looked at by characters."""

_UNSPACED = re.compile(f"[{UNSPACED}]")

MOST_ALIKE = 0.5
"""Share of the items that may have one and the same answer, unless one is expected as often."""


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


def one_answer(pairs: Sequence[Pair], overall: GroupResult, trusted: bool) -> list[Reason]:
    """A lift of a model that gives one text to most items is refused: whatever was scored, it is no answer to them.

    Not so where as many items expect one and the same answer, or where human labels agree with the scores (`trusted`):
    a model that is to refuse may do so in the same words.
    """
    texts = Counter(p.sft_text for p in pairs if p.sft_text is not None)
    if overall.lift <= 0 or not texts:
        return []
    count = texts.most_common(1)[0][1]
    asked = Counter(p.expected for p in pairs if p.expected)
    alike = asked.most_common(1)[0][1] if asked else 0
    if count <= MOST_ALIKE * len(pairs) or alike > MOST_ALIKE * count:
        return []
    detail = f"the fine-tuned model gives one and the same text to {count} of {len(pairs)} items"
    if trusted:
        return [Reason(criterion="one answer", outcome="info", detail=f"{detail}; human labels agree with the scores")]
    detail += (
        f", at most {percent(MOST_ALIKE)} are accepted unless the expected answers repeat as well: that answers no question. "
        "Look at the items; where it is right, give the expected answers or human labels"
    )
    return [Reason(criterion="one answer", outcome="refused", detail=detail)]

"""The answer names one of several declared choices, and the right one."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import bare, excerpt, folded, has_words, whole_words

OPTIONS = {"choices"}
VERIFIER = True


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Exactly one choice must be named, as whole words; the choices are reference["choices"] or the scorer's option.

    A single letter counts only as a capital: the article "a" does not name choice A. A choice that is part of a longer
    one ("York", "New York") is not named by the longer one.

    Raises:
        DataError: there are fewer than two choices, or the expected answer is none of them.
    """
    choices = item.reference.get("choices", options.get("choices"))
    if not isinstance(choices, list | tuple) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        raise item.wrong("reference.choices", "must be a list of at least two texts, here or as the option `choices`")
    right = next((c for c in choices if bare(c) == bare(item.answer)), None)
    if right is None:
        raise item.wrong("reference.answer", f"{excerpt(item.answer)!r} is none of the choices {', '.join(choices)}")

    letters, words = unicodedata.normalize("NFKC", output), folded(output)
    named = []
    for choice in sorted(choices, key=len, reverse=True):
        if len(choice) == 1 and choice.upper() != choice.lower():
            found = has_words(letters, choice)
        else:
            words, found = re.subn(whole_words(folded(choice)), "\0", words)
        named += [choice] if found else []
    if named == [right]:
        return Score(True)
    if len(named) > 1:
        return Score(False, f"names {len(named)} choices: {', '.join(named)}")
    return Score(False, f"chose {named[0]!r}, expected {right!r}" if named else "names none of the choices")

"""The answer names one of several declared choices, and the right one."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from sft_pipeline.evaluation.scorers.item import Item, Score
from sft_pipeline.evaluation.scorers.text import bare, excerpt, folded, has_words, places, stands

OPTIONS = {"choices"}
VERIFIER = True

SEVERAL = "several_choices"
"""The label of an answer that names the right choice and others, and does not say which of them is its answer."""

_SAID = re.compile(
    r"\b(?:answer|(?:correct|right|best) (?:choice|option))(?: (?:choice|option|letter|to [^.:\n]{1,80}?))?[*_]*"
    r"(?: (?:is|was|must be|should be|would be)\b|\s?:)|答案(?:是|为|為|:)|\\boxed\{|####",
    re.IGNORECASE,
)
"""What comes before the choice where an answer says which one it means."""
_OPENING = re.compile(
    r"(?:(?!\\text)[\W_]){0,6}(?:\\text\w*\W{1,3})?(?:(?:option|choice|letter) [\W_]{0,3})?", re.IGNORECASE
)
_ARTICLE = re.compile(r" (?!(?:as|and|because|but|due|for|is|or|since|which|with)\b)[a-z]")
"""What makes an article of the A of "Answer: A": in "A river" it may well be choice B."""
_JOINED = re.compile(r"[^\w.;\n]*(?:(?:or|and)\b[^\w.;\n]*)?", re.IGNORECASE)


def score(item: Item, output: str, options: Mapping[str, Any]) -> Score:
    """Exactly one choice must be named, as whole words; the choices are reference["choices"] or the scorer's option.

    Of several the one counts that the answer says it means: "the answer is (B)", "Answer: B", \\boxed{B}, #### B. Where it
    says so of two it is undecided, as where it says so of none.

    A single letter counts only as a capital: the article "a" does not name choice A. A choice that is part of a longer
    one ("York", "New York") is not named by the longer one.

    Raises:
        DataError: there are fewer than two choices, or the expected answer is none of them.
    """
    choices = item.reference.get("choices", options.get("choices"))
    if (
        not isinstance(choices, list | tuple)
        or len(choices) < 2
        or not all(isinstance(c, str) and c.strip() for c in choices)
    ):
        raise item.wrong("reference.choices", "must be a list of at least two texts, here or as the option `choices`")
    right = next((c for c in choices if bare(c) == bare(item.answer)), None)
    if right is None:
        raise item.wrong("reference.answer", f"{excerpt(item.answer)!r} is none of the choices {', '.join(choices)}")

    letters, words = unicodedata.normalize("NFKC", output), folded(output)
    named = []
    for choice in sorted(choices, key=len, reverse=True):
        if _is_letter(choice):
            found = has_words(letters, choice)
        else:
            words, found = _without(words, folded(choice))
        named += [choice] if found else []
    if named == [right]:
        return Score(True)
    if len(named) > 1:
        meant = _meant(letters, choices)
        if meant == {(right,)}:
            return Score(True)
        if len(meant) != 1:
            reason = f"names {len(named)} choices: {', '.join(named)}"
            return Score(False, reason, (SEVERAL,) if right in named else ())
        [named] = meant
        if len(named) > 1:
            return Score(False, f"says that it means {len(named)} choices: {', '.join(named)}")
    if not named:
        return Score(False, "names none of the choices", readable=False)
    return Score(False, f"chose {named[0]!r}, expected {right!r}")


def _without(text: str, words: str) -> tuple[str, bool]:
    """`text` with a mark in each place of `words`, and whether there was one."""
    parts, end = [], 0
    for start in places(text, words):
        parts.append(text[end:start])
        end = start + len(words)
    return "\0".join([*parts, text[end:]]), bool(parts)


def _meant(text: str, choices: Sequence[str]) -> set[tuple[str, ...]]:
    """What a text says is its answer, wherever it says so: the choices of each place; `text` is normalised, with its case."""
    longest_first = sorted(choices, key=len, reverse=True)
    found = set()
    for said in _SAID.finditer(text):
        at, here = _OPENING.match(text, said.end()).end(), set()
        while at is not None and (begun := _begun(text, at, longest_first)):
            here.add(begun[0])
            joined = _JOINED.match(text, begun[1]).end()  # "A or B" is neither
            at = joined if joined > begun[1] else None
        if here:
            found.add(tuple(sorted(here)))
    return found


def _begun(text: str, at: int, choices: Sequence[str]) -> tuple[str, int] | None:
    """The first of `choices` that stands in the text at this place, and where it ends."""
    for choice in choices:
        words = choice if _is_letter(choice) else unicodedata.normalize("NFKC", choice)
        end = at + len(words)
        same = text[at:end] == words if _is_letter(choice) else text[at:end].lower() == words.lower()
        if same and stands(text, at, words) and not (choice == "A" and _ARTICLE.match(text, end)):
            return choice, end
    return None


def _is_letter(choice: str) -> bool:
    return len(choice) == 1 and choice.upper() != choice.lower()

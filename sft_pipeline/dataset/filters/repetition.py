"""Responses that say nothing new: the same over and over, or the instruction once more."""

import re
from collections import Counter

from sft_pipeline.dataset.filters.base import Hit, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.text import repetition_grams, repetition_units, words
from sft_pipeline.experiment import Quality


def repetition(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that says the same over and over: its share of repeated n-grams is above the threshold.

    The n-grams are those of `repetition_units`, without regard to case. Tables, vectors, formulas and notes repeat by
    nature: unless it is one word all over, at least half of a response must be words of letters for this to be judged.
    """
    if hit := _characters(row["response"], quality.max_repeated_share):
        return hit
    units, n = repetition_units(row["response"].lower())
    different = len(set(units))
    # Each unit that is new ends an n-gram that is new, so that many different ones rule out many equal n-grams.
    if len(units) < n + 2 or different - n + 1 >= (1 - quality.max_repeated_share) * (len(units) - n + 1):
        return None
    one_word = different == 1 and any(map(str.isalnum, units[0]))
    if not one_word and not isinstance(units, str) and sum(map(_lettered, units)) < len(units) / 2:
        return None
    grams = Counter(repetition_grams(units, n))
    share = (grams.total() - len(grams)) / grams.total()
    if share <= quality.max_repeated_share:
        return None
    gram, count = grams.most_common(1)[0]
    return Hit(
        f"{share:.0%} of the response's {'character' if isinstance(units, str) else 'word'} {n}-grams are repetitions (most often, {count} times: {gram[:100]!r})",
        gram,
    )


def repeats_instruction(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that has the same words as the instruction."""
    if not quality.repeats_instruction:
        return None
    instruction, response = row["instruction"], row["response"]
    first, other = response[:1], instruction[:1]
    if first.isalnum() and other.isalnum() and (first + other).isascii() and first.lower() != other.lower():
        return None  # cheap, and decides nearly always
    if words(response) == words(instruction) != []:
        return Hit("the response repeats the instruction", response)
    return None


# One to eight letters over and over without a space ("aaaa", "hahaha"): nine times and more. Four and more marks above or
# below one letter: no orthography stacks so many.
_RUN = re.compile("([a-zA-Z\u00c0-\u02af\u0370-\u1fff\u2c00-\u2dff\u3040-\ud7ff\uf900-\ufaff]{1,8}?)\\1{8,}")
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4,}")


def _characters(response: str, most: float) -> Hit | None:
    """A response of which repeated letters, or heaps of combining marks, make up more than the share `most`."""
    words = response.split()
    long = [word for word in words if len(word) > 8]  # a run has no space in it: few texts have much of such words
    total = sum(map(len, words))
    if sum(map(len, long)) <= most * total:
        return None
    runs = [found[0] for word in long for pattern in (_RUN, _MARKS) for found in pattern.finditer(word)]
    length = sum(map(len, runs))
    if length <= most * total:
        return None
    return Hit(f"{length} of the response's {len(response)} characters repeat one another ({runs[0][:40]!r})", runs[0])


def _lettered(token: str) -> bool:
    """Whether a token holds two letters, or one that is a word of its own script."""
    return sum(map(str.isalpha, token)) > 1 or (token.isalpha() and not token.isascii())

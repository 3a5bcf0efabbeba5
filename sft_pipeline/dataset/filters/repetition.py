"""Responses that say nothing new: the same over and over, or the instruction once more."""

import re
from collections import Counter

from sft_pipeline.dataset.filters.base import Hit, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.text import words
from sft_pipeline.experiment import Quality


def repetition(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that says the same over and over: 1 - distinct / all word 4-grams above the threshold.

    Words stand between white space; in Chinese and Japanese each character is one. Tables, vectors, formulas and notes
    repeat by nature: unless it is one word all over, at least half of a response must be words of letters for this to
    be judged.
    """
    response = row["response"]
    tokens = response.lower().split()
    unspaced = not response.isascii() and len(_UNSPACED.findall(response)) > len(response) / 2
    if unspaced:
        tokens = words(response)
    different = len(set(tokens))
    # Each word that is new ends a 4-gram that is new, so that many different words rule out many equal 4-grams.
    if len(tokens) < 6 or different - 3 >= (1 - quality.max_repeated_share) * (len(tokens) - 3):
        return None
    one_word = different == 1 and any(map(str.isalnum, tokens[0]))
    if not one_word and not unspaced and sum(map(_lettered, tokens)) < len(tokens) / 2:
        return None
    grams = Counter(" ".join(tokens[i : i + 4]) for i in range(len(tokens) - 3))
    share = (grams.total() - len(grams)) / grams.total()
    if share <= quality.max_repeated_share:
        return None
    gram, count = grams.most_common(1)[0]
    return Hit(
        f"{share:.0%} of the response's word 4-grams are repetitions (most often, {count} times: {gram[:100]!r})", gram
    )


def repeats_instruction(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that has the same words as the instruction."""
    if not quality.repeats_instruction:
        return None
    instruction, response = row["instruction"], row["response"]
    if instruction.isascii() and response.isascii():
        # Cheap, and decides nearly always: the first words differ.
        first, other = _ASCII_WORD.search(response), _ASCII_WORD.search(instruction)
        if first is None or other is None or first[0].lower() != other[0].lower():
            return None
    if words(response) == words(instruction) != []:
        return Hit("the response repeats the instruction", response)
    return None


_ASCII_WORD = re.compile(r"\w+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def _lettered(token: str) -> bool:
    """Whether a token holds two letters, or one that is a word of its own script."""
    return sum(map(str.isalpha, token)) > 1 or (token.isalpha() and not token.isascii())

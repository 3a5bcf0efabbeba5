"""What a text is when it is compared: normal form, words, shingles and n-grams.

Every comparison of the data stage (duplicates, split, leakage proof) goes through these functions, so that all of them
mean the same by "the same text".
"""

import re
import unicodedata
from collections.abc import Sequence

# Scripts written without spaces: one character counts as one word, or a whole sentence would be a single word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
# Lower-case letters, digits and the underscore for themselves, all else a space: for ASCII the same words in half the time.
_ASCII_WORDS = "".join(chr(c).lower() if re.match(r"\w", chr(c)) else " " for c in range(128))


# What stands above or below the line in a formula; its compatibility form is a plain digit, sign or letter.
_RAISED = re.compile("([\u00b2\u00b3\u00b9\u2070-\u209c]+)")


def normalise(text: str) -> str:
    """Unicode compatibility form, without case, runs of white space as one space; punctuation stays.

    Two texts are exact duplicates when their normal forms are equal. Punctuation stays because it can be the whole
    difference ("3 > 2" and "3 < 2"), and so do the exponents and indices of formulas ("2⁵" is not "25").
    """
    return " ".join(_fold(text).split())


def words(text: str) -> list[str]:
    """The words of `text` in compatibility form and without case; punctuation separates and is left out."""
    if text.isascii():
        return text.translate(_ASCII_WORDS).split()
    return _WORD.findall(_fold(text))


def shingles(text: str, n: int) -> frozenset[str]:
    """The set of all runs of `n` words of `text`; a shorter text is one shingle, never an empty set.

    A text without words (only emoji or punctuation) is one shingle too: its normal form.
    """
    found = words(text)
    if not found:
        return frozenset([normalise(text)])
    return frozenset(" ".join(found[i : i + n]) for i in range(max(1, len(found) - n + 1)))


def ngrams(found: Sequence[str], n: int) -> list[str]:
    """All runs of exactly `n` words in their order; none where there are fewer than `n` words."""
    return [" ".join(found[i : i + n]) for i in range(len(found) - n + 1)]


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity of two sets that are not both empty: size of the intersection over size of the union."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    if _RAISED.search(text):
        return "".join(part if i % 2 else _fold(part) for i, part in enumerate(_RAISED.split(text)))
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())

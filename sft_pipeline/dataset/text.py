"""What a text is when it is compared or judged: normal form, words, shingles, n-grams, repetition, visible characters.

Every comparison of the data stage (duplicates, split, leakage proof) goes through these functions, so that all of them
mean the same by "the same text"; the evaluation builds on them too.
"""

import math
import re
import unicodedata
from collections.abc import Sequence

import regex

# For a class of a regular expression each.
IDEOGRAPHS = "\u3005-\u3007\u3040-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Kana and ideographs: written without spaces, about two characters to a word."""
SOUTH_ASIAN = "\u0e00-\u109f\u1780-\u17ff"
"""Thai, Lao, Tibetan, Myanmar and Khmer: written without spaces, about five characters to a word."""
HANGUL = "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"
"""Korean: written with spaces between words, but particles follow a word without one."""
UNSPACED = SOUTH_ASIAN + HANGUL + IDEOGRAPHS
"""Scripts in which no space shows where a word begins or ends."""

_CHARACTERS_OF_A_WORD = {2: re.compile(f"[{IDEOGRAPHS}]"), 5: re.compile(f"[{SOUTH_ASIAN}]")}
_UNSPACED = re.compile(f"[{UNSPACED}]")

# Of scripts written without spaces one character counts as one word, or a whole sentence would be a single word: of the
# ideographs, the kana, Yi, and those whose words only a dictionary finds (class SA of UAX #14: Thai, Lao, Khmer, …).
_CHARACTER = r"[[[\p{Ideographic}\p{scx=Hira}\p{scx=Kana}\p{sc=Yiii}\p{LB=SA}\p{sc=Java}\p{sc=Bali}]&&[\p{Alphabetic}\p{N}]]--\p{M}]"
# Vowel signs and other marks belong to the character before them (UAX #29); alone or after a symbol they are no word.
_SIGNS = r"[\p{M}\p{Join_Control}]"
# \w of this library is Unicode's word character (UTS #18, annex C): letters, marks, digits, connectors, joiners.
_WORD = regex.compile(rf"(?V1){_CHARACTER}{_SIGNS}*|[[\w\p{{N}}]--{_CHARACTER}--{_SIGNS}][[\w\p{{N}}]--{_CHARACTER}]*")
# Latin, Greek and Cyrillic letters without combining marks, and the punctuation and symbols that stand with them: there a
# word is what the standard library's \w says, in a quarter of the time.
_USUAL = re.compile(
    "[\x00-\u02ff\u0370-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u203e\u2041-\u2053\u20a0-\u20bf\u2190-\u22ff]*"
)
_USUAL_WORD = re.compile(r"\w+")
# Soft hyphens, zero-width spaces, variation selectors: nobody sees them. Joiners stay, for they change how a word reads.
# Arabic's tatweel only makes a line longer.
_INVISIBLE = regex.compile(r"(?V1)[[\p{Default_Ignorable_Code_Point}--\p{Join_Control}]\u0640]+")

_RUN = 30
"""Characters that no word has: a longer run of a script written without spaces is divided into characters."""

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), the control characters and the blank Braille
# pattern. A joiner or a variation selector inside an emoji belongs to something that shows; alone it does not.
_IGNORABLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SHOWS = re.compile(rf"[^\s{_IGNORABLE}]")
# What may stand before or behind a text unseen: of the above, all but the letters of a flag's tag.
_AROUND = "".join(map(chr, range(0x21))) + "\x7f\x85\xa0\u00ad\u061c\u2028\u2029\u2800\u3000\u3164\ufe0f\ufeff"
_AROUND += "".join(map(chr, (*range(0x2000, 0x2010), *range(0x202A, 0x2030), *range(0x205F, 0x2070))))

# Lower-case letters, digits and the underscore for themselves, all else a space: for ASCII the same words in half the time.
ASCII_WORDS = "".join(chr(c).lower() if re.match(r"\w", chr(c)) else " " for c in range(128))


# What stands above or below the line in a formula; its compatibility form is a plain digit, sign or letter.
_RAISED = re.compile("([\u00b2\u00b3\u00b9\u2070-\u209c]+)")


def normalise(text: str) -> str:
    """Unicode compatibility form, without case and invisible characters, runs of white space as one space.

    Two texts are exact duplicates when their normal forms are equal. Punctuation stays because it can be the whole
    difference ("3 > 2" and "3 < 2"), and so do the exponents and indices of formulas ("2⁵" is not "25").
    """
    return " ".join(_fold(text).split())


def words(text: str) -> list[str]:
    """The words of `text` in compatibility form and without case; punctuation separates and is left out.

    A word is a run of letters, digits and underscores with their marks; of a script written without spaces, it is one
    character with its marks.
    """
    if text.isascii():
        return text.translate(ASCII_WORDS).split()
    folded = _fold(text)
    return (_USUAL_WORD if _USUAL.fullmatch(folded) else _WORD).findall(folded)


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


def word_count(text: str) -> int:
    """The number of words between white space; where no spaces part them it is guessed from the number of characters."""
    parts = unicodedata.normalize("NFKC", text).split()
    guesses = (sum(len(found.findall(part)) / n for n, found in _CHARACTERS_OF_A_WORD.items()) for part in parts)
    return sum(max(1, math.ceil(guess)) for guess in guesses)


def repetition_units(text: str) -> tuple[Sequence[str], int]:
    """What a text repeats where it is degenerate, and n: the share of repeated n-grams of these units is the measure.

    They are words between white space, n = 4. Where there is next to no white space, as in Chinese or Thai, they are
    characters, as many as some four words have: n = 8 of the wide East Asian ones, of which two are about a word, else 16.
    """
    words = text.split()
    if text.isascii():
        return words, 4
    joined = "".join(words)
    if 2 * sum(len(_UNSPACED.findall(word)) for word in words if len(word) > _RUN) <= len(joined):
        return words, 4
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in joined)
    return joined, 8 if 2 * wide > len(joined) else 16


def repetition_grams(units: Sequence[str], n: int) -> list[str]:
    """All n-grams of `repetition_units`; none where there are fewer than n units."""
    between = "" if isinstance(units, str) else " "
    return [between.join(units[i : i + n]) for i in range(len(units) - n + 1)]


def repeated_share(text: str) -> float:
    """The share of repeated n-grams (1 - distinct / all) by `repetition_units`; 0 where the text is shorter than one."""
    grams = repetition_grams(*repetition_units(text))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def shows(text: str) -> bool:
    """Whether any character of `text` is visible, so that it is not empty to a reader."""
    return _SHOWS.search(text) is not None


def trimmed(text: str) -> str:
    """`text` without white space and invisible characters at its ends."""
    return text.strip(_AROUND)


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity of two sets that are not both empty: size of the intersection over size of the union."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    if _RAISED.search(text):
        return "".join(part if i % 2 else _fold(part) for i, part in enumerate(_RAISED.split(text)))
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold())

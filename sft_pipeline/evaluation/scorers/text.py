"""Text normalisation that the scorers share."""

import re
import unicodedata

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'"})


def folded(text: str) -> str:
    """`text` in NFKC, without case, with plain apostrophes and single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().translate(_APOSTROPHES).split())


def bare(text: str) -> str:
    """`folded` text without punctuation and symbols around it; text of nothing else is left as it is."""
    text = folded(text)
    start, end = 0, len(text)
    while start < end and _surrounding(text[start]):
        start += 1
    while end > start and _surrounding(text[end - 1]):
        end -= 1
    return text[start:end] or text


def _surrounding(character: str) -> bool:
    # A sign or a unit belongs to the answer: -5 is not 5 and 5 % is not 5.
    return character == " " or (unicodedata.category(character)[0] == "P" and character not in "-%")


def has_words(text: str, words: str) -> bool:
    """Whether `words` stand in `text` as whole words, one after the other; both must be folded."""
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None


def excerpt(text: str, limit: int = 60) -> str:
    """`text` on one line, cut for a message."""
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"

"""The part of a long text that shows why it was matched."""

import re
from functools import lru_cache

LONGEST = 400
"""Characters of an excerpt."""


def places(text: str, matched: str) -> list[tuple[int, int]]:
    """Where `matched` stands in `text`, as (start, end): as it is, or else in other case and with other white space.

    Filters quote what they object to as they compare it, which is not always as it is written.
    """
    if not matched.strip():
        return []
    exact = [(found.start(), found.end()) for found in re.finditer(re.escape(matched), text)]
    return exact or [(found.start(), found.end()) for found in _loose(matched).finditer(text)]


def cut(text: str, matched: str = "", longest: int = LONGEST) -> str:
    """`text` if it has at most `longest` characters, else so many around the first match, or from the beginning.

    An ellipsis marks the ends at which something is left out; it does not count.
    """
    if len(text) <= longest:
        return text
    start = 0
    if found := places(text, matched):
        first, last = found[0]
        start = max(0, min(first - max(0, longest - (last - first)) // 2, len(text) - longest))
    end = start + longest
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


@lru_cache(maxsize=64)
def _loose(matched: str) -> re.Pattern[str]:
    return re.compile(r"\s+".join(map(re.escape, matched.split())), re.IGNORECASE)

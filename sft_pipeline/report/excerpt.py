"""Foreign text as a page or a terminal shows it: why it was matched, cut, and with signs for what it hides."""

import re
from functools import lru_cache

from markupsafe import Markup, escape

LONGEST = 400
"""Characters of an excerpt."""


# C0 and C1 controls (except tab and line feed), soft hyphen, zero-width space, marks, embeddings, overrides and isolates
# of the writing direction, word joiner and other invisible operators and fillers, byte order mark, variation selectors
# (but for the two of emoji), tag characters, halves of a surrogate pair. The zero-width joiners stay where emoji and
# several scripts are written with them; beside Latin letters they only hide.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e01ef]"
    "|(?<=[ -\u024f])[\u200c\u200d]|[\u200c\u200d](?=[ -\u024f])"
)
"""A character that is invisible or turns the writing direction."""


def sign(character: str) -> str:
    """What stands for a hidden character: U+202E."""
    return f"U+{ord(character):04X}"


def visible(text: str) -> str:
    """`text` with a sign for everything hidden, in pointed brackets, for a terminal or another plain text."""
    return HIDDEN.sub(lambda found: f"⟨{sign(found[0])}⟩", text)


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


def shown(text: str, matched: str = "") -> Markup:
    """`text` escaped, with `matched` highlighted and with what is invisible or turns the writing direction as a sign.

    A control character could hide a part of the text, or make it read as what it is not.
    """
    parts = []
    end = 0
    for first, last in places(text, matched):
        parts += [_visible(text[end:first]), Markup("<mark>{}</mark>").format(_visible(text[first:last]))]
        end = last
    return Markup("").join([*parts, _visible(text[end:])])


def _visible(text: str) -> Markup:
    return Markup(HIDDEN.sub(_sign, str(escape(text))))


def _sign(found: re.Match[str]) -> str:
    return f'<span class="control">{sign(found[0])}</span>'


@lru_cache(maxsize=64)
def _loose(matched: str) -> re.Pattern[str]:
    return re.compile(r"\s+".join(map(re.escape, matched.split())), re.IGNORECASE)

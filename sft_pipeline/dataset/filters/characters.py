"""Which characters show nothing, so that a text of them alone is empty and a text that ends with one ends before it."""

import re

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), the control characters and the blank Braille
# pattern. A joiner or a variation selector inside an emoji belongs to something that shows; alone it does not.
_IGNORABLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_VISIBLE = re.compile(rf"[^\s{_IGNORABLE}]")
# What may stand before or behind a text unseen: of the above, all but the letters of a flag's tag.
_AROUND = "".join(map(chr, range(0x21))) + "\x7f\x85\xa0\u00ad\u061c\u2028\u2029\u2800\u3000\u3164\ufe0f\ufeff"
_AROUND += "".join(map(chr, (*range(0x2000, 0x2010), *range(0x202A, 0x2030), *range(0x205F, 0x2070))))


def visible(text: str) -> bool:
    """Whether any character of `text` shows."""
    return _VISIBLE.search(text) is not None


def bare(text: str) -> str:
    """`text` without white space and invisible characters at its ends."""
    return text.strip(_AROUND)

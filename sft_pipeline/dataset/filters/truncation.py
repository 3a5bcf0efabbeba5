"""Responses that stop before their end."""

import re

from sft_pipeline.dataset.filters.base import Hit, Row
from sft_pipeline.dataset.filters.continuations import CODE, ITEM, SENTENCE_END, Continuations, unfinished
from sft_pipeline.dataset.text import trimmed
from sft_pipeline.experiment import Quality


def truncated(row: Row, quality: Quality, continuations: Continuations) -> Hit | None:
    """A response that ends in the middle of a sentence, of a list or of a JSON value.

    Names, lists, titles, code, verse and hashtags end without a full stop and are whole, and people leave it out at the
    end of their answers, so a missing full stop alone is no sign: something must show that more was to come. That is a
    last word such as "the" or "because", half a year, an open bracket, a list that stops before its number. Where the
    unfinished responses of a type are its longest, a limit cut them, and the missing full stop counts too. Last words
    are known for English; of other languages only commas, brackets and the other rows of the type speak.
    """
    if not quality.truncation:
        return None
    response = trimmed(row["response"])
    if not response:
        return None
    if response[0] in "{[" and _JSON.match(response) and _open_brackets(response):
        return Hit("the response ends inside a JSON value", response[-100:])
    last = response[response.rfind("\n") + 1 :].strip()
    if found := _incomplete_list(row["instruction"], last):
        return Hit(f"the list stops at item {found[0]} of the {found[1]} that were asked for", last[-160:])
    if not (response[-1].isalnum() or response[-1] in ",-–.)*•，、،"):
        return None
    only_line = "\n" not in response
    if not only_line and len(last) < 20 and _BULLET.fullmatch(last):
        return Hit("the response ends with an item that has no text", response[-100:])
    if response[-1] in ".)*•" or len(last) > _LONGEST:
        return None
    return _in_a_sentence(row, response, last, only_line, continuations) or _beginning(
        row["type"], response, only_line, continuations
    )


def _in_a_sentence(row: Row, response: str, last: str, only_line: bool, continuations: Continuations) -> Hit | None:
    tail = last[-160:]
    text = ITEM.sub("", last)
    tokens = text.split()
    code = CODE.search(last) is not None
    prose = len(tokens) >= 6 and not code
    bullet = _BULLET.match(last) is not None
    if found := _CUT_YEAR.search(tail):
        return Hit(f"the response ends inside a year: {found[0]!r}", tail)
    in_list = any(token.endswith((",", "|", ";", ":")) for token in tokens[-3:-1])
    before = response[: -len(last)].rstrip()
    verse = not only_line and not SENTENCE_END.search(response) and not _BULLET.match(before[before.rfind("\n") + 1 :])
    # An item of a list may end with a preposition ("someone to talk with"), a sentence hardly ever does, unless a word
    # before it is what the preposition is about ("what it is made of").
    seldom = (
        frozenset() if not _STRANDING.isdisjoint(tokens[-8:-1]) else _SELDOM_LAST - (_PREPOSITIONS if bullet else set())
    )
    if prose and tokens[-1] in _OPEN_WORDS | seldom and not in_list and not verse:
        return Hit(f"the response ends with {tokens[-1]!r}, in the middle of a sentence", tail)
    sentences = SENTENCE_END.split(text)
    if not code and len(sentences) > 1 and sentences[-1].lower() in _OPEN_WORDS:
        return Hit("the response stops after the first word of a sentence", tail)
    if prose and _CUT_NAME.search(tail):
        return Hit("the response ends inside a name", tail)
    if only_line and response[-1] in ",，、،" and (len(tokens) >= 12 or response[-1] != "," and len(text) >= 12):
        return Hit("the response ends with a comma", tail)
    if continuations.cut_by_limit(row["type"], row["response"]) and (reason := unfinished(response)):
        return Hit(f"{reason}, and is as long as others of its type that do", tail)
    return None


def _incomplete_list(instruction: str, last: str) -> tuple[int, int] | None:
    """Number of the last item of a numbered list and how many were asked for, where that is at least ten and more."""
    if not (item := _ITEM_NUMBER.match(last)) or not (asked := _ASKED.search(instruction[:300])):
        return None
    number, wanted = int(item[1]), int(asked[1])
    return (number, wanted) if wanted >= 10 and wanted / 2 < number < wanted else None


def _beginning(type: str, response: str, only_line: bool, continuations: Continuations) -> Hit | None:
    if only_line and len(response.split(maxsplit=1)) == 2 and (whole := continuations.go_on(type, response)):
        return Hit(f"the response stops where others of its type go on (such as {whole!r})", response[-160:])
    return None


_LONGEST = 20_000
"""Characters of a last line that is still looked at: no prose has a longer paragraph."""

_JSON = re.compile(r'[{\[]\s*["{\[]')
_BULLET = re.compile(r"\s*(?:[-*•–]|\d{1,9}[.)])\s*")
_ITEM_NUMBER = re.compile(r"(\d{1,3})[.)]\s")
_ASKED = re.compile(
    r"\b(?:list|name|generate|give|create|make|provide|suggest|write|find|recommend|brainstorm|come up with|compile)"
    r"(?: \w+){0,4}? (\d{2,3}) (?!words?\b|sentences?\b|minutes?\b|hours?\b|days?\b|years?\b|people\b|lines?\b|percent\b)"
    r"(?=[a-z])",
    re.IGNORECASE,
)
_OPEN_WORDS = frozenset(
    ("a", "an", "the", "and", "or", "because", "than", "whose", "their", "your", "my", "our", "its", "his", "if")
    + ("although", "unless", "until", "into", "including", "very", "every", "via", "per", "upon", "during", "toward")
    + ("towards", "among", "but", "while", "it's", "we've", "they've", "i've")
)
"""Words that end no sentence."""
_PREPOSITIONS = frozenset(("of", "to", "from", "against", "using", "as", "between"))
_SELDOM_LAST = _PREPOSITIONS | frozenset(
    (
        "such",
        "is",
        "was",
        "were",
        "has",
        "having",
        "could",
        "would",
        "should",
        "may",
        "might",
        "which",
        "that",
        "who",
        "where",
        "when",
        "these",
        "those",
        "they",
        "we",
        "he",
    )
    + ("she",)
)
"""Words that end a sentence only where an earlier word is what they are about (`_STRANDING`).

With, for, by, not, be and have are not among them: people end sentences with them, and leave the full stop out."""
_STRANDING = frozenset(
    ("who", "whom", "what", "which", "where", "how", "why", "someone", "something", "anyone", "anything", "everyone")
    + ("everything", "nobody", "nothing", "somewhere", "things", "whatever", "whoever", "wherever", "whether")
)
_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?"
)
# "in 20", "since April 20", "November 3, 20", "from 2014-20": nobody counts to twenty there. "July 20" is a day.
_CUT_YEAR = re.compile(
    rf"(?:(?<!\b\d )\b(?:in|since|until|during) (?:{_MONTH} )?|\bas of (?:{_MONTH} )?"
    rf"|\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?(?:, ?| of | )|\b(?:19|20)\d\d ?(?:[-–]|to|and) ?)20\Z"
)
_CUT_NAME = re.compile(r",? \b(?:and|or|of|in|on) the [A-Z]\Z")


def _open_brackets(text: str) -> bool:
    """Whether a text that begins like JSON ends before its brackets are closed."""
    depth, quoted = 0, False
    for found in _STRUCTURE.finditer(text):
        character = found[0]
        if character == '"':
            quoted = not quoted
        elif not quoted and character[0] != "\\":
            depth += 1 if character in "{[" else -1
    return depth > 0


_STRUCTURE = re.compile(r'\\.|["{}\[\]]', re.DOTALL)

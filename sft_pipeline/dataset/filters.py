"""The quality filters: each a function that returns None to keep a row, or the reason and the matched text.

The order of `FILTERS` is the order in which a row's faults are named; `cleaning.py` applies them.
"""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from sft_pipeline.dataset.text import words
from sft_pipeline.experiment import Quality


class Hit(NamedTuple):
    """Why a row is dropped, and the text that says so."""

    reason: str
    matched: str


Row = Mapping[str, Any]


class Continuations:
    """Which beginnings of responses go on, in many rows of the same type: what a truncated response looks like.

    A single text cannot tell a short answer from a cut one; the responses of its type can.
    """

    MINIMUM = 10
    """Rows that must go on."""

    CLOSED = 0.9
    """Share of a type's responses that must end with a punctuation mark. In a type whose answers are names, titles or
    lists, a short answer that begins a longer one is nothing unusual."""

    def __init__(self, rows: Iterable[Row]) -> None:
        by_type: dict[str, Counter[str]] = defaultdict(Counter)
        closed: Counter[str] = Counter()
        for row in rows:
            by_type[row["type"]][" ".join(words(row["response"]))] += 1
            closed[row["type"]] += row["response"].rstrip().endswith((".", "!", "?", "。"))
        self._texts = {
            type: sorted(counts.items())
            for type, counts in by_type.items()
            if closed[type] >= self.CLOSED * counts.total()
        }

    def go_on(self, type: str, response: str) -> str | None:
        """A response of `type` that begins with `response` and goes on, when at least `MINIMUM` rows do."""
        texts = self._texts.get(type, [])
        start = " ".join(words(response)) + " "
        first = bisect_left(texts, (start,))
        found = 0
        for text, count in texts[first:]:
            if not text.startswith(start):
                return None
            found += count
            if found >= self.MINIMUM:
                return texts[first][0]
        return None


def empty(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """An instruction or a response of nothing but white space."""
    for field in ("instruction", "response"):
        if not row[field].strip():
            return Hit(f"the {field} is empty", row[field])
    return None


def placeholder(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that only says that there is none, or that begins with such a word in angle brackets."""
    response = row["response"].strip()
    bare = re.sub(r"^\W+|\W+$", "", response).casefold() if len(response) < 60 else ""
    # "none" is an answer where the question offers it.
    offered = bare in row["instruction"].casefold() and not response.startswith("<")
    if bare in _placeholders(quality.placeholders) and not offered:
        return Hit("the response is a placeholder", response)
    if response.startswith("<") and (found := _bracketed(quality.placeholders).match(response)):
        return Hit("the response begins with a placeholder", found[0])
    return None


def delimiter(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A marker of some training format inside the text."""
    for field in ("instruction", "response"):
        for marker in quality.delimiters:
            if (at := row[field].find(marker)) >= 0:
                return Hit(f"the {field} holds the delimiter {marker}", row[field][max(0, at - 100) : at + 100])
    return None


def runaway(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that goes on to a new prompt: a later line starts with a marker, numbered or not.

    Length is no sign of a runaway. A response that begins with a speaker or a label of its own ("User: Hi",
    "Topic: Travel") is a dialogue or a form, in which such lines belong.
    """
    if not quality.runaway_markers:
        return None
    response = row["response"].strip()
    numbered, plain = _marked_line(quality.runaway_markers)
    if (found := numbered.search(response)) and not numbered.match("\n" + response):
        return Hit("a later line of the response goes on to a numbered prompt", response[found.start() :].strip())
    if (found := plain.search(response)) and not _LABEL.match(response):
        return Hit("a later line of the response goes on to a new prompt", response[found.start() :].strip())
    return None


def repetition(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that says the same over and over: 1 - distinct / all word 4-grams above the threshold.

    Tables, vectors, formulas and notes repeat by nature: unless it is one word all over, at least half of a response
    must be words of letters for this to be judged.
    """
    tokens = row["response"].lower().split()
    lettered = sum(sum(map(str.isalpha, token)) > 1 for token in tokens)
    if len(tokens) < 6 or (lettered < len(tokens) / 2 and len(set(tokens)) > 1):
        return None
    grams = Counter(" ".join(tokens[i : i + 4]) for i in range(len(tokens) - 3))
    share = 1 - len(grams) / grams.total()
    if share <= quality.max_repeated_share:
        return None
    gram, count = grams.most_common(1)[0]
    return Hit(
        f"{share:.0%} of the response's word 4-grams are repetitions (most often, {count} times: {gram!r})", gram
    )


def repeats_instruction(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A response that has the same words as the instruction."""
    if quality.repeats_instruction and words(row["response"]) == words(row["instruction"]) != []:
        return Hit("the response repeats the instruction", row["response"])
    return None


def truncated(row: Row, quality: Quality, continuations: Continuations) -> Hit | None:
    """A response that ends in the middle of a sentence, of a list or of a JSON value.

    Names, lists, titles, code, verse and hashtags end without a full stop and are whole, so a missing full stop alone
    is no sign: something must show that more was to come.
    """
    response = row["response"].strip()
    if not quality.truncation or not response:
        return None
    if response[0] in "{[" and re.match(r'[{\[]\s*["{\[]', response) and _open_brackets(response):
        return Hit("the response ends inside a JSON value", response[-100:])
    *before, last = response.split("\n")
    last = last.strip()
    if before and _BULLET.fullmatch(last):
        return Hit("the response ends with an item that has no text", response[-100:])
    if not (response[-1].isalnum() or response[-1] in ",-–"):
        return None
    tail = last[-160:]
    text = re.sub(r"^\W*(\d+[.)]\s*)?", "", last)
    tokens = text.split()
    prose = len(tokens) >= 6 and not _CODE.search(last)
    # An item of a list may end with a preposition ("someone to talk with"), a sentence hardly ever does.
    open_words = _OPEN_WORDS if _BULLET.match(last) else _OPEN_WORDS | _PREPOSITIONS
    in_list = any(token.endswith((",", "|", ";", ":")) for token in tokens[-3:-1])
    verse = before and not _SENTENCE_END.search(response) and not _BULLET.match(before[-1])
    if prose and tokens[-1] in open_words and not in_list and not verse:
        return Hit(f"the response ends with {tokens[-1]!r}, in the middle of a sentence", tail)
    if not before and response.endswith(",") and len(tokens) >= 12:
        return Hit("the response ends with a comma", tail)
    sentences = _SENTENCE_END.split(text)
    fragment = sentences[-1].split()
    if (
        len(sentences) > 1
        and len(fragment) >= 2
        and len(sentences[-2].split()) >= 4
        and not _CODE.search(last)
        and not re.search(r"(?<!\w)\d+[.)]\s", text)
        and not _ENDS_WHOLE.search(sentences[-1])
        and sum(token.islower() for token in fragment) >= 0.6 * len(fragment)
    ):
        return Hit("the response stops in the middle of its last sentence", tail)
    if not before and len(tokens) >= 2 and (whole := continuations.go_on(row["type"], response)):
        return Hit(f"the response stops where others of its type go on (such as {whole!r})", tail)
    return None


def scope(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """A row that one of the declared patterns takes out of scope."""
    for name, pattern in quality.scope.items():
        if found := re.search(pattern, f"{row['instruction']}\n{row['response']}"):
            return Hit(f"out of scope: {name}", found[0])
    return None


FILTERS = (empty, placeholder, delimiter, runaway, repetition, repeats_instruction, truncated, scope)


_LABEL = re.compile(r"(?!(?:answer|a|response|output|instruction)\b)[^\W\d][\w .'/-]{0,40}?\d*[:：]", re.IGNORECASE)
_BULLET = re.compile(r"\s*(?:[-*•–]|\d+[.)])\s*")
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\"”][.!?])[\"”)]?\s+(?=[A-Z\"“])")
_CODE = re.compile(r"[{}=;<>\\|#@_]|\w\(|//|https?:|www\.")
# What ends without a full stop and is whole: a quotation with its author, a label with its value, a formula.
_ENDS_WHOLE = re.compile(r"[:=→]|[\"”]\s*[-–—]|^[-–—~]|\s[-–—]\s*[A-Z]|\d\)|^[\"“A-Z]?\)?\s*\d|^[A-H]\)")
_OPEN_WORDS = frozenset(
    ("a", "an", "the", "and", "or", "as", "into", "than", "because", "is", "are", "was", "were", "be", "been", "which")
    + ("whose", "their", "your", "my", "our", "its", "his", "if", "when", "while")
)
_PREPOSITIONS = frozenset(("of", "to", "from", "with", "at", "by"))


@cache
def _placeholders(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.casefold() for name in names)


@cache
def _bracketed(names: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(names, key=len, reverse=True)
    return re.compile(rf"<\s*(?:{'|'.join(map(re.escape, longest_first))})\b[^\n>]*>?", re.IGNORECASE)


@cache
def _marked_line(markers: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    any_marker = "|".join(map(re.escape, markers))
    return re.compile(rf"\n[^\S\n]*\d+\.[^\S\n]*(?:{any_marker})"), re.compile(rf"\n[^\S\n]*(?:{any_marker})")


def _open_brackets(text: str) -> bool:
    """Whether a text that begins like JSON ends before its brackets are closed."""
    depth, quoted, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
        elif quoted:
            escaped = character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        else:
            depth += (character in "{[") - (character in "}]")
    return depth > 0

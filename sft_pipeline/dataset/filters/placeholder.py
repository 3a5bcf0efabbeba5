"""Rows without an answer: nothing at all, a word for nothing, or something that stands in for what is not there."""

import re
from functools import cache

from sft_pipeline.dataset.filters import bracketed_placeholders
from sft_pipeline.dataset.filters.base import Hit, Row
from sft_pipeline.dataset.filters.continuations import Continuations
from sft_pipeline.dataset.text import shows, trimmed
from sft_pipeline.experiment import Quality


def empty(row: Row, quality: Quality, _: Continuations) -> Hit | None:
    """An instruction or a response of nothing but white space and invisible characters."""
    for field in ("instruction", "response"):
        if not shows(row[field]):
            return Hit(f"the {field} is empty", row[field])
    return None


def placeholder(row: Row, quality: Quality, continuations: Continuations) -> Hit | None:
    """A response that only says that there is none, or a text whose place something else holds.

    That is: one of the declared words alone ("none" and "null" only in brackets, or where the type's answers are
    sentences), or in angle brackets at the beginning, or with an excuse behind it ("No
    output, as this needs a picture"); a bracketed stand-in such as "[Insert chart]" or an invented link to an image as
    the whole response; the remark of whoever wrote the data that a model cannot do the task; and an instruction whose
    input is a stand-in ("Summarise this article.\\n[Link to article]").
    """
    if not quality.placeholders:
        return None
    response = trimmed(row["response"])
    names, bracketed, excuse, inside = _patterns(quality.placeholders)
    if len(response) < 60:
        word = _EDGES.sub("", response).casefold()
        # "none" is an answer where the question offers it, and where the type's answers are words and values.
        bare = not response.startswith(("<", "[", "(", "{"))
        offered = bare and word in row["instruction"].casefold()
        valued = bare and word in _VALUES and not continuations.in_sentences(row["type"])
        if word in names and not offered and not valued:
            return Hit("the response is a placeholder", response)
    if response.startswith("<") and (found := bracketed.match(response)):
        return Hit("the response begins with a placeholder", found[0])
    if found := excuse.match(response):
        return Hit("the response begins with a placeholder", found[0])
    if len(response) < 400 and (text := bracketed_placeholders.of_response(response, row["instruction"])):
        return Hit("the response stands in for something that is not there", text)
    if (
        len(response) < 400
        and ("model" in response or "we cannot" in response)
        and _ABOUT_THE_TASK.match(response)
        and not _ABOUT_MODELS.search(row["instruction"])
    ):
        return Hit("the response is a remark that the task cannot be done", response)
    # A response of several lines may be a runaway that goes on to "Input: <noinput>", which says more about it.
    if "<" in response and "\n" not in response and (found := inside.search(response)):
        return Hit("the response holds a placeholder", found[0])
    if "<" in row["instruction"] and (found := inside.search(row["instruction"])):
        return Hit("the instruction holds a placeholder", found[0])
    last = trimmed(row["instruction"][row["instruction"].rfind("\n") + 1 :])
    if last[:1] in ("<", "[", "(") and len(last) < 120 and len(last) < len(row["instruction"]):
        if _EDGES.sub("", last).casefold() in names:
            return Hit("the instruction ends with a placeholder", last)
        if text := bracketed_placeholders.of_input(last, row["instruction"]):
            return Hit("the instruction's input stands in for something that is not there", text)
    return None


_VALUES = ("none", "null")
"""Words for nothing that are right answers, too: what a function returns, what is left over."""

# For short texts only: on a long run of marks, the second half would be tried at each of them.
_EDGES = re.compile(r"\A\W+|\W+\Z")

# What whoever wrote the data says about the task, not what an assistant says to its user.
_MODEL = r"(?:the |an? |this )?(?:(?:GPT|language|AI) )+(?:language )?models?"
_ABOUT_THE_TASK = re.compile(
    r"(?:sorry,? |unfortunately,? )?(?:the|this)(?: type of)? (?:task|instruction)\b[^\n]{0,160}?"
    rf"\b(?:the model|{_MODEL}|we cannot complete)\b"
    rf"|[^\n]{{0,160}}?\b(?:cannot|can't|not possible|outside the scope|not suitable)\b[^\n]{{0,60}}?"
    rf"\b(?:by|for|with) (?:the model|{_MODEL})\b"
    rf"|[^\n]{{0,160}}?\b{_MODEL} (?:cannot|can't|is not able|are not able|are not designed|is not designed)",
    re.IGNORECASE,
)
_ABOUT_MODELS = re.compile(r"\b(?:GPT|AI|models?|tasks?|instructions?|systems?|assistants?|chatbots?)\b", re.IGNORECASE)


@cache
def _patterns(
    placeholders: tuple[str, ...],
) -> tuple[frozenset[str], re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """The declared words; at the beginning in angle brackets; there with an excuse behind them; anywhere in brackets.

    For the last two, only words that are no words of English: "None of them" and "<null>" have their uses.
    """
    longest_first = sorted(placeholders, key=len, reverse=True)
    apart = [name for name in longest_first if re.fullmatch(r"no ?(?:in|out)put|n/a", name, re.IGNORECASE)]
    anything = "|".join(map(re.escape, longest_first))
    excuses = "|".join(map(re.escape, apart)) or r"(?!)"
    return (
        frozenset(name.casefold() for name in placeholders),
        re.compile(rf"<\s*(?:{anything})\b[^\n>]*>?", re.IGNORECASE),
        re.compile(
            rf"(?:{excuses})(?:\s*[,(:;–-]| (?:as|because|since|expected|possible|required|needed|can|could)\b)[^\n]*",
            re.IGNORECASE,
        ),
        # What stands in quotation marks is talked about.
        re.compile(rf"(?<![\"'“‘`])<\s?(?:{excuses})\s?>", re.IGNORECASE),
    )
